import sys
from pathlib import Path

import pytest

from extproc.demo.fleet import Fleet, _options, _ports, fleet_at
from extproc.demo.processes import ChildFailedError, child, free_ports
from extproc.routing.values import Pool

SERVER = """
import http.server, sys, threading
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
threading.Timer(float(sys.argv[2]), server.shutdown).start()
server.serve_forever()
sys.exit("out of paper")
"""


def test_part_that_ends_early_is_named(tmp_path: Path) -> None:
    """A part that stops by itself is told apart from one that runs, with its status and the end of its output."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    (port,) = free_ports(1)
    command = [sys.executable, str(script), str(port), "0.5"]
    with child("printer", command, answers_at=f"tcp://127.0.0.1:{port}") as printer:
        running = Fleet(url="", baseline_url="", metrics_url="", admin_url="", pool_urls={}, children=(printer,))
        assert running.ended() is None
        running.check()
        printer.process.wait(10)
        assert running.ended() is printer
        with pytest.raises(ChildFailedError, match=r"printer ended with status 1:[\s\S]*out of paper"):
            running.check()


def test_deployment_of_somebody_else_is_only_reached() -> None:
    """It has no part to watch and no second listener; the long pool is asked through Envoy."""
    there = fleet_at("http://envoy:10000", "http://extproc:9464/metrics")
    assert there.ended() is None
    assert there.baseline_url == ""
    assert there.pool_urls[Pool.LONG] == there.url == "http://envoy:10000"


def test_envoy_holds_what_the_threshold_asks_for() -> None:
    """A larger threshold makes longer bodies worth a look, and its Envoy shows them whole."""
    assert _options(_ports(None), 8192).buffer_limit_bytes == 2**20
    assert _options(_ports(None), 131_072).buffer_limit_bytes == 2**22
