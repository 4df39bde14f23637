"""The service as a process: it listens, reports health, drains on SIGTERM, and says plainly why it cannot start."""

import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc._proto.core_pb2 import HeaderMap, HeaderValue
from extproc._proto.external_processor_pb2 import HttpHeaders, ProcessingRequest, ProcessingResponse
from extproc.routing.exchange import certain_long_bytes
from extproc.routing.request import read_request
from extproc.routing.values import Pool, Reason
from extproc.server import wire
from extproc.server.app import build_router
from extproc.settings import Settings

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A running `dualpool serve`, its gRPC address and its metrics port."""
    listen, metrics = f"127.0.0.1:{free_port()}", free_port()
    command = [sys.executable, "-m", "extproc", "serve", "--listen", listen]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "ready on" in process.stderr.readline()
        try:
            yield process, listen, metrics
        finally:
            process.kill()


def health_of(channel: grpc.Channel, name: str) -> int:
    """What the health service says of one name."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    return int(health.Check(health_pb2.HealthCheckRequest(service=name)).status)


def open_stream(channel: grpc.Channel, messages: Iterator[ProcessingRequest]) -> Iterator[ProcessingResponse]:
    """One ext_proc stream."""
    method = channel.stream_stream(
        f"/{wire.SERVICE}/{wire.METHOD}",
        request_serializer=ProcessingRequest.SerializeToString,
        response_deserializer=ProcessingResponse.FromString,
    )
    return iter(method(messages))


def headers(method: str, path: str) -> ProcessingRequest:
    """Request headers."""
    pairs = ((":method", method), (":path", path))
    values = [HeaderValue(key=key, raw_value=value.encode()) for key, value in pairs]
    return ProcessingRequest(request_headers=HttpHeaders(headers=HeaderMap(headers=values)))


def test_health_and_metrics_answer_while_it_serves() -> None:
    """All three health names serve, and a decision shows on the Prometheus endpoint."""
    with service() as (_, listen, metrics), grpc.insecure_channel(listen) as channel:
        assert {health_of(channel, name) for name in ("", "liveness", "readiness", wire.SERVICE)} == {SERVING}
        next(open_stream(channel, iter([headers("GET", "/v1/models")])))
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
            text = answer.read().decode()
        (decisions,) = [line for line in text.splitlines() if line.startswith("dualpool_decisions_total{")]
        assert all(part in decisions for part in ('pool="long"', 'reason="not_inference"', 'provenance="fallback"'))
        assert decisions.endswith(" 1.0")


def test_sigterm_finishes_what_is_in_flight_and_exits_cleanly() -> None:
    """After SIGTERM an open stream still gets its answers, new streams are refused, and the exit status is 0."""
    with service("--threshold-tokens", "100") as (process, listen, _), grpc.insecure_channel(listen) as channel:
        in_flight = threading.Event()
        replies = open_stream(channel, iter(_gated(process, in_flight)))
        assert next(replies).mode_override == wire.ASK_BODY_MODE
        in_flight.set()
        assert next(replies).WhichOneof("response") == "request_body"
        assert process.wait(timeout=10) == 0
        with pytest.raises(grpc.RpcError):
            health_of(channel, "readiness")


def _gated(process: subprocess.Popen[str], in_flight: threading.Event) -> Iterator[ProcessingRequest]:
    """Request headers; once they are answered SIGTERM to the service; then the body."""
    yield headers("POST", "/v1/completions")
    assert in_flight.wait(timeout=10)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert "draining" in process.stderr.readline()
    body = ProcessingRequest()
    body.request_body.body = b'{"prompt":"hello"}'
    body.request_body.end_of_stream = True
    yield body


@pytest.mark.parametrize("option", ["--listen", "--metrics-listen"])
def test_a_taken_port_is_one_clear_line(option: str) -> None:
    """Starting on a port in use exits with 2 and names the address, without a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--metrics-listen" if option == "--listen" else "--listen"
        command = [sys.executable, "-m", "extproc", "serve", option, address, other, f"127.0.0.1:{free_port()}"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert address in run.stderr
    assert "Traceback" not in run.stderr


def test_settings_reach_the_core() -> None:
    """The threshold and the rule for undeclared output decide as the operator set them."""
    chat = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    request = read_request("/v1/chat/completions", chat)
    strict = build_router(Settings()).route(request, draw=0.5)
    assert (strict.pool, strict.reason) == (Pool.LONG, Reason.OUTPUT_UNDECLARED)
    easy = build_router(Settings(undeclared_output=1000)).route(request, draw=0.5)
    assert (easy.pool, easy.reason) == (Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER)
    small = build_router(Settings(undeclared_output=1000, threshold_tokens=1000)).route(request, draw=0.5)
    assert (small.pool, small.reason) == (Pool.LONG, Reason.OUTPUT_EXCEEDS)


def test_the_certain_long_bound_follows_the_threshold() -> None:
    """What Envoy must be able to buffer grows with the threshold; the default needs less than a mebibyte."""
    assert certain_long_bytes(8192) == 196_608 < 2**20
