"""The site answers reads, refuses everything else, and no client can keep it from answering the next."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from email.message import Message
from http.client import HTTPConnection, HTTPException
from time import sleep
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Gauge

from extproc.assembly import build_router
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import Running, Status, status_of
from extproc.telemetry.web import CONNECTIONS_MAX, Site

HOST = "127.0.0.1"


def a_status() -> Status:
    """Of a service that has done nothing."""
    return status_of(Running(Settings(), 0.0), build_router(Settings()), Ledger(), now_s=5.0)


def registry() -> CollectorRegistry:
    """With one metric."""
    made = CollectorRegistry()
    Gauge("answers", "All of them.", registry=made).set(42)
    return made


@pytest.fixture
def site() -> Iterator[Site]:
    """Listening on loopback."""
    made = Site(HOST, 0, registry=registry(), status=a_status)
    yield made
    made.close()


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Message
    body: bytes


def ask(site: Site, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request, and all of its answer."""
    connection = HTTPConnection(HOST, site.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def test_each_path_answers_in_its_own_form(site: Site) -> None:
    """Metrics as text, the status as JSON, the page as HTML, and a word for whoever asks if the process lives."""
    assert "answers 42.0" in ask(site, "/metrics").body.decode()
    status = ask(site, "/status")
    assert (status.headers["Content-Type"], json.loads(status.body)["mode"]) == ("application/json", "routing")
    page = ask(site, "/?from=a-bookmark")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.body.startswith(b"<!doctype html>")
    assert ask(site, "/healthz").body == b"ok\n"


def test_metrics_are_negotiated(site: Site) -> None:
    """OpenMetrics for who asks for it, as Prometheus does, and packed."""
    openmetrics = ask(site, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")
    assert ask(site, "/metrics", **{"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/healthz"])
def test_nothing_can_be_changed(site: Site, path: str, method: str) -> None:
    """Every other method is refused, and what is allowed is named."""
    answer = ask(site, path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_heads_are_answered_without_a_body(site: Site) -> None:
    """The same headers, nothing after them."""
    answer = ask(site, "/status", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "/status.json", "/../etc/passwd", "/%00"])
def test_other_paths_are_not_there(site: Site, path: str) -> None:
    """And what is asked for is not given back."""
    answer = ask(site, path)
    assert answer.status == 404
    assert path not in answer.body.decode()


def test_the_page_may_load_and_run_nothing(site: Site) -> None:
    """Whatever got into it, the browser is told not to."""
    headers = ask(site, "/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


def test_a_status_that_cannot_be_made_is_an_error_of_that_answer_alone() -> None:
    """It says which kind of error and none of its text, and the metrics are there as before."""

    def broken() -> Status:
        raise RuntimeError("a prompt")

    site = Site(HOST, 0, registry=registry(), status=broken)
    try:
        answer = ask(site, "/status")
        assert answer.status == 500
        assert answer.body == b"RuntimeError: try again\n"
        assert ask(site, "/metrics").status == 200
    finally:
        site.close()


def test_without_a_status_there_are_metrics() -> None:
    """Whoever has nothing else to show shows these."""
    site = Site(HOST, 0, registry=registry())
    try:
        assert [ask(site, path).status for path in ("/metrics", "/healthz", "/status", "/")] == [200, 200, 404, 404]
    finally:
        site.close()


def test_a_client_that_says_nothing_is_let_go() -> None:
    """It is hung up on, rather than holding a thread for ever."""
    site = Site(HOST, 0, registry=registry(), silence_s=0.1)
    with socket.create_connection((HOST, site.port)) as silent:
        silent.settimeout(30)
        assert silent.recv(1) == b""
    site.close()


def test_too_many_connections_are_refused_and_end(site: Site) -> None:
    """One more than are allowed is closed at once, unanswered; when the others have left there is room again."""
    with ExitStack() as taken:
        for _ in range(CONNECTIONS_MAX):
            connection = taken.enter_context(socket.create_connection((HOST, site.port)))
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        with socket.create_connection((HOST, site.port)) as refused:
            refused.settimeout(4)
            assert refused.recv(1) == b""
    while ask_if_it_can(site) != 200:
        sleep(0.05)


def ask_if_it_can(site: Site) -> int:
    """The status of an answer, 0 without one."""
    try:
        return ask(site, "/healthz").status
    except (OSError, HTTPException):
        return 0


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200]
)
def test_what_is_no_request_harms_nobody(site: Site, raw: bytes) -> None:
    """TLS on a plain port, half a request line, too many headers: the next one is answered."""
    with socket.create_connection((HOST, site.port)) as connection:
        connection.sendall(raw)
    assert ask(site, "/healthz").status == 200


def test_a_taken_port_is_an_error(site: Site) -> None:
    """The second site on an address is told so."""
    with pytest.raises(OSError, match="in use"):
        Site(HOST, site.port, registry=registry())


def test_it_listens_on_ipv6_too() -> None:
    """By the family of the address."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        site = Site("::1", 0, registry=registry())
    except OSError:
        pytest.skip("no IPv6 loopback here")
    try:
        with urllib.request.urlopen(f"http://[::1]:{site.port}/healthz") as answer:
            assert answer.read() == b"ok\n"
    finally:
        site.close()


def test_after_closing_nobody_answers() -> None:
    """The port is free again."""
    site = Site(HOST, 0, registry=registry())
    port = site.port
    site.close()
    Site(HOST, port, registry=registry()).close()
