import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from extproc.assembly import build_router
from extproc.cli import app
from extproc.errors import ConfigurationError
from extproc.routing.request import read_request
from extproc.routing.values import Usage
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import Running, Status, status_of
from extproc.telemetry.web import Site

CHAT = b'{"model":"a\\u001b[2Jb","messages":[{"role":"user","content":"%s"}],"max_tokens":9}' % (b"some words " * 600)
NOBODY = "127.0.0.1:1"


def status(number: int) -> Status:
    """Of a worker that has learned from one answer, of a model whose name would clear the screen."""
    settings, ledger = Settings(), Ledger()
    router = build_router(settings)
    decision = router.route(read_request("/v1/chat/completions", CHAT), draw=0.0)
    ledger.record_decision(decision)
    router.complete(decision, Usage(1300))
    return status_of(Running(settings, 0.0, worker=number), router, ledger, now_s=90.0)


@pytest.fixture
def sites() -> Iterator[list[str]]:
    """Two workers, as HOST:PORT."""
    made = [
        Site("127.0.0.1", 0, registry=CollectorRegistry(), status=lambda number=number: status(number))  # type: ignore[misc]
        for number in range(2)
    ]
    yield [f"127.0.0.1:{site.port}" for site in made]
    for site in made:
        site.close()


def shown(*arguments: str) -> Result:
    """The command, with errors raised."""
    return CliRunner().invoke(app, ["status", *arguments], catch_exceptions=False)


def test_each_worker_has_a_screen(sites: list[str]) -> None:
    """Mode, threshold, decisions, what was learned; a model's name cannot steer the terminal."""
    text = shown(*sites).stdout
    for number, site in enumerate(sites):
        assert f"at http://{site}: routing, worker {number}, up 1 min 30 s" in text
    for said in ("8\u00a0192 tokens, pinned", "fits whatever tokenizer", "no fresh readings", "nothing learned yet"):
        assert said in text
    assert "\x1b" not in text
    assert r"'a\x1b[2Jb'" in text


@pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/", "http://{}/status"])
def test_an_address_may_be_written_in_any_way(sites: list[str], form: str) -> None:
    """As `metrics_listen` has it, or as a browser does; as JSON it is what the service said."""
    found = json.loads(shown(form.format(sites[1]), "--json").stdout)
    assert found == {"url": f"http://{sites[1]}", **status(1)}


def test_nothing_there_is_one_clear_line() -> None:
    """Where it was looked for, and what may be wrong."""
    with pytest.raises(ConfigurationError, match=r"nothing answers at http://127.0.0.1:1 .*metrics_listen"):
        shown(NOBODY)


def test_those_that_answer_are_shown_all_the_same(sites: list[str]) -> None:
    """One of several workers may be starting anew; the exit status says that one did not answer."""
    result = CliRunner().invoke(app, ["status", sites[0], NOBODY])
    assert f"at http://{sites[0]}" in result.stdout
    assert isinstance(result.exception, ConfigurationError)


class _Other(BaseHTTPRequestHandler):
    """Some other server."""

    answer: bytes

    def do_GET(self) -> None:
        """Anything."""
        self.send_response(200 if self.answer else 404)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "answers 404"),
        (b"<html>", "is not dualpool"),
        (b"[]", "is not dualpool"),
        (b'{"decisions": {}}', "another version"),
    ],
)
def test_another_server_is_told_from_ours(answer: bytes, complaint: str) -> None:
    """Prometheus's own port, a web site, a service of another version."""
    with HTTPServer(("127.0.0.1", 0), type("_This", (_Other,), {"answer": answer})) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(ConfigurationError, match=complaint):
            shown(f"127.0.0.1:{server.server_port}")
        thread.join()
