import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from extproc.envoyconfig.binary import find_envoy
from extproc.errors import MissingPartError

pytestmark = pytest.mark.e2e
DEMO = (sys.executable, "-m", "extproc", "demo")


@pytest.fixture(autouse=True)
def _envoy() -> None:
    """These tests run a real Envoy."""
    try:
        find_envoy()
    except MissingPartError as error:
        pytest.skip(str(error))


def test_json_summary() -> None:
    """A short demo routes both ways, fails nothing, and says so as one JSON object on standard output."""
    done = subprocess.run([*DEMO, "--json", "--requests", "60"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["requests"], summary["failed"]) == (60, 0)
    assert summary["routed"]["short"] > 0
    assert summary["routed"]["long"] > 0
    assert summary["routed"]["short"] + summary["routed"]["long"] == 60
    assert summary["landed_elsewhere"] == 0
    assert summary["misrouted"]["under"] == 0
    assert sum(summary["stages"].values()) == 60
    assert summary["under_routing"] == {"promised": 0.001, "realised": 0.0, "realised_by_metrics": 0.0}
    assert {line["reason"] for line in summary["decisions"]} >= {"fits_whatever_tokenizer", "not_inference"}
    assert summary["ratios"]["prose"].keys() >= {"learned", "true"}
    assert summary["ratios"]["prose"]["true"] > 3
    assert summary["added_latency_ms"].keys() == {"p50", "p99"}


@pytest.mark.timeout(300)
def test_every_ratio_converges_to_the_truth() -> None:
    """After the default demo every category has 200 answers behind it and lies within 5 % of the mock's tokenizer.

    Every stage without a tokenizer settled some, and no more was sent short that does not fit than was promised, give
    or take chance: of 3,150 requests three are expected, and more than nine in one run of a thousand.
    """
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert len(summary["ratios"]) == 9
    for category, ratio in summary["ratios"].items():
        assert ratio["samples"] >= 200, category
        assert ratio["learned"] == pytest.approx(ratio["true"], rel=0.05), category
    assert summary["failed"] == summary["drift_alarms"] == 0
    assert min(summary["stages"][stage] for stage in ("bounds", "memory", "size", "sample", "text")) > 50
    assert summary["misrouted"]["under"] <= 9
    assert summary["misrouted"]["over"] <= 0.03 * summary["requests"]
    by_truth, by_metrics = (summary["under_routing"][name] for name in ("realised", "realised_by_metrics"))
    assert by_metrics == pytest.approx(by_truth, abs=0.005), (
        "the service counts a share of what the truth counts all of"
    )


def test_deployment_that_runs_already(stage_factory: Callable[..., AbstractContextManager[Any]]) -> None:
    """With a URL the demo starts nothing of its own, and shows what that deployment routed and learned."""
    with stage_factory() as stage:
        at = ["--url", stage.url, "--metrics-url", f"http://{stage.service.metrics}/metrics"]
        done = subprocess.run([*DEMO, "--json", "--requests", "60", *at], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["requests"], summary["failed"], summary["latency_ms"]) == (60, 0, {"pairs": 0})
    assert min(summary["routed"].values()) > 0
    assert summary["ratios"]["prose"]["samples"] > 0


def test_bodies_from_a_file(tmp_path: Path) -> None:
    """Bodies of a file are sent instead of the corpus, whichever form its lines have."""
    body = {"model": "any", "messages": [{"role": "user", "content": "Well met. " * 100}], "max_tokens": 8}
    path = tmp_path / "bodies.jsonl"
    path.write_text("\n".join([json.dumps(body), json.dumps({"body": body}), json.dumps({"body": json.dumps(body)})]))
    done = subprocess.run([*DEMO, "--json", "--bodies", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["routed"] == {"short": 3, "long": 0}


def test_kept_demo_ends_clean_on_sigterm(tmp_path: Path) -> None:
    """Kept running, it shows what to try; a SIGTERM ends it and every program it started."""
    log = tmp_path / "output.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*DEMO, "--keep", "--requests", "10"],
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as demo,
    ):
        try:
            _wait_for(log, "curl -i", demo)
            parts = psutil.Process(demo.pid).children(recursive=True)
            assert len(parts) >= 4
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(30) == 130
            assert not [part for part in parts if part.is_running()]
        finally:
            demo.kill()


def test_ctrl_c_in_mid_traffic_ends_clean(tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches every part at once: the demo ends with 130, no traceback, and nothing left."""
    log = tmp_path / "output.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([*DEMO, "--requests", "2000"], stdout=output, stderr=output, start_new_session=True) as demo,
    ):
        try:
            parts = _wait_for_traffic(demo)
            os.killpg(demo.pid, signal.SIGINT)
            assert demo.wait(30) == 130, log.read_text()
            assert not [part for part in parts if part.is_running()]
            assert "Traceback" not in log.read_text()
        finally:
            demo.kill()


def _wait_for_traffic(demo: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The parts, once the demo has connections of its own to Envoy."""
    give_up_s = time.monotonic() + 60
    process = psutil.Process(demo.pid)
    while True:
        assert demo.poll() is None
        assert time.monotonic() < give_up_s
        parts = process.children(recursive=True)
        if len(parts) >= 4 and len(process.net_connections("tcp")) >= 8:
            return parts
        time.sleep(0.05)


def _wait_for(log: Path, text: str, demo: "subprocess.Popen[bytes]") -> None:
    give_up_s = time.monotonic() + 60
    while text not in log.read_text():
        assert demo.poll() is None, log.read_text()
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.1)
