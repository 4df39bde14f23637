"""Shadow mode behind an Envoy that an operator already has: routes, requests and answers stay as they were."""

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from extproc.cli import app
from extproc.demo.processes import LOOPBACK, child, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from tests.e2e.conftest import DUALPOOL

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
CONTEXT = 8192
BYTES_PER_TOKEN = 4.5
FULL = f"{CHAT}?full"
"""Asks for an answer whose usage fills the short pool's context to the last token."""


class Instance(socketserver.StreamRequestHandler):
    """A model server that keeps every request byte for byte; what it answers hangs on the request alone."""

    server: "Fleet"

    def handle(self) -> None:
        """Requests of one connection."""
        while head := self._head():
            chunked = b"transfer-encoding: chunked" in head.lower()
            body = self._chunks() if chunked else self.rfile.read(_length(head))
            self.server.seen.append((head, body))
            self.wfile.write(_answer(self.server.name, head, body))

    def _head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return b""
            head += line
        return head

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Fleet(socketserver.ThreadingTCPServer):
    """Instances behind one address."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: Address, name: str) -> None:
        super().__init__((address.host, address.port), Instance)
        self.name = name
        self.seen: list[tuple[bytes, bytes]] = []


def _length(head: bytes) -> int:
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0]) if lengths else 0


def _answer(name: str, head: bytes, body: bytes) -> bytes:
    """As vLLM answers: an error, events, or one JSON object."""
    date = b"date: Thu, 01 Jan 2026 00:00:00 GMT"
    who = b"server: fleet-%s\r\n%s\r\nx-dualpool-pool: theirs\r\nX-Mixed-Case: Kept\r\n" % (name.encode(), date)
    if b"?refused" in head:
        return b"HTTP/1.1 400 Bad Request\r\n%scontent-length: 4\r\n\r\nlong" % who
    prompt_tokens = CONTEXT - 192 if b"?full" in head else 1 + int(len(body) / BYTES_PER_TOKEN)
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 192, "total_tokens": prompt_tokens + 192}
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "x"}}
    document = {"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    if b'"stream":true' not in body:
        text = json.dumps(document).encode()
        lead = b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (who, len(text))
        return lead + text
    events = [b"data: %s\n\n" % json.dumps({**document, "choices": []}).encode(), b"data: [DONE]\n\n"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    lead = b"HTTP/1.1 200 OK\r\n%scontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" % who
    return lead + chunks + b"0\r\n\r\n"


@dataclass
class Shadowed:
    """An operator's Envoy with the filter at one door and without it at the other, in front of the same fleets."""

    watched: Address
    plain: Address
    metrics: Address
    fleets: dict[str, Fleet]
    log: Path
    service: Any = field(default=None)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        text = httpx.get(f"http://{self.metrics}/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def settle(self) -> None:
        """Wait until every exchange is closed."""
        self.until(lambda: not self.metric("dualpool_streams"))

    def until(self, holds: Any) -> None:
        """Wait until something holds."""
        give_up_s = time.monotonic() + 20.0
        while not holds():
            assert time.monotonic() < give_up_s
            time.sleep(0.05)

    def both(self, request: bytes) -> tuple[tuple[Any, bytes], tuple[Any, bytes]]:
        """What a fleet sees and a client gets, without us and with us."""
        found = []
        for door in (self.plain, self.watched):
            before = {name: len(fleet.seen) for name, fleet in self.fleets.items()}
            answer = send(door, request)
            seen = [(name, fleet.seen[before[name] :]) for name, fleet in self.fleets.items()]
            found.append((seen, answer))
        return found[0], found[1]


def send(door: Address, request: bytes) -> bytes:
    """All bytes of the answer."""
    with socket.create_connection((door.host, door.port), timeout=20.0) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    return answer


def post(body: bytes, *headers: str, path: str = CHAT, chunked: bool = False) -> bytes:
    """A request as a client writes it; the connection ends with the answer."""
    lines = [f"POST {path} HTTP/1.1", "Host: fleet", "Connection: close", "Content-Type: application/json", *headers]
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    if chunked:
        half = len(body) // 2
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(text: str, **fields: Any) -> bytes:
    """A chat of one message, written as some clients do, with white space that a rewrite would lose."""
    written = json.dumps({"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": text}], **fields})
    return written.replace(": true", ":true").encode()


def _configuration(stage: Shadowed, grpc: Address, admin: Address) -> str:
    """Their routes, fleets and headers; of ours only the filter and the cluster it asks."""
    short, long = (Address(*fleet.server_address) for fleet in stage.fleets.values())
    ours = EnvoyOptions(listen=stage.watched, admin=admin, extproc=(grpc,), short=(short,), long=(long,))
    rendered = yaml.safe_load(bootstrap_yaml(ours))["static_resources"]
    manager = rendered["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    asked = [each for each in manager["http_filters"] if each["name"] == "envoy.filters.http.ext_proc"]
    cluster = [each for each in rendered["clusters"] if each["name"] == "dualpool_extproc"]
    theirs = [_cluster(name, Address(*fleet.server_address)) for name, fleet in stage.fleets.items()]
    listeners = [_listener(stage.watched, asked), _listener(stage.plain, [])]
    page = {"address": _address(admin)}
    return yaml.safe_dump({"admin": page, "static_resources": {"listeners": listeners, "clusters": theirs + cluster}})


def _address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _cluster(name: str, address: Address) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(address)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "1s", "type": "STATIC", "load_assignment": assignment}


def _listener(address: Address, filters: list[Any]) -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{types}.http.router.v3.Router", "suppress_envoy_headers": True}
    to_team = {"match": {"prefix": "/", "headers": [{"name": "x-team", "string_match": {"exact": "two"}}]}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "theirs",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {**to_team, "route": {"cluster": "two"}},
                        {"match": {"prefix": "/"}, "route": {"cluster": "one"}},
                    ],
                }
            ]
        },
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"address": _address(address), "filter_chains": [{"filters": [network]}]}


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[Shadowed]:
    watched, plain, admin, grpc, metrics, one, two = (Address(LOOPBACK, port) for port in free_ports(7))
    fleets = {"one": Fleet(one, "one"), "two": Fleet(two, "two")}
    stage = Shadowed(watched, plain, metrics, fleets, folder / "access.jsonl")
    settings = {
        "DUALPOOL_SHADOW": "true",
        "DUALPOOL_EXPLAIN_HEADERS": "true",
        "DUALPOOL_ACCESS_LOG": str(stage.log),
        "DUALPOOL_OBSERVE_SHARE": "1.0",
    }
    command = [*DUALPOOL, "serve", "--listen", str(grpc), "--metrics-listen", str(metrics)]
    with contextlib.ExitStack() as stack:
        for fleet in fleets.values():
            threading.Thread(target=fleet.serve_forever, daemon=True).start()
            stack.callback(fleet.server_close)
            stack.callback(fleet.shutdown)
        started = child("service", command, answers_at=f"http://{metrics}/metrics", environment=os.environ | settings)
        stage.service = stack.enter_context(started)
        stack.enter_context(envoy(find_envoy(), _configuration(stage, grpc, admin), concurrency=1))
        stage.until(lambda: send(watched, post(chat("hello"))) and stage.metric("dualpool_decisions_total"))
        yield stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shadowed]:
    """A deployment in shadow mode; shared by the tests of this module."""
    with _running(tmp_path_factory.mktemp("shadow")) as running:
        yield running


REQUESTS = {
    "a short chat": post(chat("hello")),
    "a chat that is estimated": post(chat(PROSE * 200)),
    "a chat that is long by its size": post(chat("x" * 300_000)),
    "an event stream": post(chat(PROSE, stream=True, stream_options={"include_usage": True})),
    "a body in chunks": post(chat(PROSE * 20), chunked=True),
    "a long body in chunks": post(chat(PROSE * 60_000), chunked=True),
    "a compressed body": post(b"\x1f\x8b\x08rest", "Content-Encoding: gzip"),
    "a body that is no JSON": post(b"{not json"),
    "an error": post(chat("hello"), path=f"{CHAT}?refused"),
    "a list of models": b"GET /v1/models HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n",
    "a route of their own": post(chat("hello"), "X-Team: two"),
    "our header, of their own": post(chat("hello"), "x-dualpool-pool: mine", "X-Dualpool-Reason: mine"),
}


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
def test_nothing_changes_for_anybody(stage: Shadowed, request_bytes: bytes) -> None:
    """The same fleet sees the same bytes, headers in their order and spelling, and so does the client."""
    (seen_without, answer_without), (seen_with, answer_with) = stage.both(request_bytes)
    assert sum(len(requests) for _, requests in seen_without) == 1
    assert seen_with == seen_without
    assert answer_with == answer_without


def test_decisions_are_made_and_answers_teach(stage: Shadowed) -> None:
    """What routing would do is counted as it would be, by pool and reason; usage is read and learned from."""
    names = {"short": "fits_whatever_tokenizer", "long": "output_exceeds"}
    before = {pool: stage.metric("dualpool_decisions_total", pool=pool, reason=names[pool]) for pool in names}
    learned = stage.metric("dualpool_learned_total")
    read = stage.metric("dualpool_answers_read_total", outcome="usage")
    send(stage.watched, post(chat(PROSE * 40)))
    send(stage.watched, post(chat("hello", max_tokens=9000)))
    stage.settle()
    for pool, reason in names.items():
        assert stage.metric("dualpool_decisions_total", pool=pool, reason=reason) == before[pool] + 1
    assert stage.metric("dualpool_answers_read_total", outcome="usage") == read + 2
    assert stage.metric("dualpool_learned_total") > learned
    assert stage.metric("dualpool_internal_errors_total") == 0


def test_no_truncation_is_seen_where_no_short_pool_answered(stage: Shadowed) -> None:
    """An answer that ends exactly at the short pool's context came from an instance with more of it."""
    send(stage.watched, post(chat(PROSE * 100, max_tokens=500), path=FULL))
    stage.settle()
    assert stage.metric("dualpool_truncations_total") == 0
    assert stage.metric("dualpool_escalations_total") == 0
    assert stage.metric("dualpool_shadow") == 1


def test_the_log_tells_what_routing_would_have_done(stage: Shadowed) -> None:
    """One line for each request, none with a word of it, and a report that says it was shadow."""
    stage.settle()
    decided = stage.metric("dualpool_decisions_total")
    stage.until(lambda: stage.metric("dualpool_access_log_lines_total", outcome="written") >= decided)
    assert "quick brown" not in stage.log.read_text()
    shown = CliRunner().invoke(app, ["report", str(stage.log), "--json"], catch_exceptions=False)
    found = json.loads(shown.stdout)
    assert (found["requests"], found["shadow_share"], found["malformed"]) == (decided, 1.0, 0)
    assert found["coverage"]["read"] == stage.metric("dualpool_answers_read_total", outcome="usage")
    assert found["verdict"][0].startswith("Routing would have sent")


def test_without_the_service_nothing_changes_either(tmp_path: Path) -> None:
    """It is killed, and requests go on as they went before it was there."""
    with _running(tmp_path) as stage:
        stage.service.process.kill()
        (seen_without, answer_without), (seen_with, answer_with) = stage.both(REQUESTS["a chat that is estimated"])
    assert (seen_with, answer_with) == (seen_without, answer_without)
