"""The service as a process: it listens, reports health, drains on SIGTERM, and says plainly why it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc._proto.core_pb2 import HeaderMap, HeaderValue
from extproc._proto.external_processor_pb2 import HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse
from extproc.assembly import build_router
from extproc.errors import ConfigurationError
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.estimators import EmaEstimator, Estimator, FixedRatioEstimator
from extproc.routing.policy import certain_long_bytes
from extproc.routing.request import read_request
from extproc.routing.values import Pool, Provenance, Reason, Stage
from extproc.server import wire
from extproc.server.app import warnings_of
from extproc.server.notes import SOON_S
from extproc.settings import Settings

JSON = "application/json"
CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}],"max_tokens":9}' % (b"some words " * 600)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(*arguments: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A running `dualpool serve`, its gRPC address and its metrics port."""
    listen, metrics = f"127.0.0.1:{free_port()}", free_port()
    command = [sys.executable, "-m", "extproc", "serve", "--listen", listen]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", *arguments]
    environment = os.environ | {f"DUALPOOL_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        while "ready on" not in (line := process.stderr.readline()):
            assert line, "it ended before it was ready"
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


def header_map(values: dict[str, str]) -> HeaderMap:
    """Headers of a message."""
    return HeaderMap(headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in values.items()])


def headers(method: str, path: str) -> ProcessingRequest:
    """Request headers."""
    return ProcessingRequest(request_headers=HttpHeaders(headers=header_map({":method": method, ":path": path})))


def metric(port: int, sample: str) -> float:
    """One sample of the Prometheus endpoint, by its name and labels, when what went before is written down."""
    time.sleep(3 * SOON_S)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))


def test_health_and_metrics_answer_while_it_serves() -> None:
    """All three health names serve, and a decision shows on the Prometheus endpoint."""
    with service() as (_, listen, metrics), grpc.insecure_channel(listen) as channel:
        assert {health_of(channel, name) for name in ("", "liveness", "readiness", wire.SERVICE)} == {SERVING}
        next(open_stream(channel, iter([headers("GET", "/v1/models")])))
        time.sleep(3 * SOON_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
            text = answer.read().decode()
        (decisions,) = [line for line in text.splitlines() if line.startswith("dualpool_decisions_total{")]
        labels = ('pool="long"', 'reason="not_inference"', 'provenance="fallback"', 'stage="none"')
        assert all(label in decisions for label in labels)
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


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [({}, AnytimeEstimator), ({"estimator": "ema"}, EmaEstimator), ({"estimator": "fixed"}, FixedRatioEstimator)],
)
def test_the_estimator_is_the_operators_choice(chosen: dict[str, Any], kind: type[Estimator]) -> None:
    """Ours by default; the published one and its baseline by name."""
    assert type(build_router(Settings(**chosen)).estimator) is kind


def anytime(**chosen: Any) -> AnytimeEstimator:
    """The estimator that these settings make."""
    estimator = build_router(Settings(**chosen)).estimator
    assert isinstance(estimator, AnytimeEstimator)
    return estimator


def test_promise_and_memory_reach_the_estimator() -> None:
    """What is promised is what was set, and no memory is kept where none is wanted."""
    assert (anytime().promised_share, anytime(promise=0.01).promised_share) == (0.001, 0.01)
    assert (anytime().remembered, anytime(conversation_memory=0).remembered) == (0, None)


@pytest.mark.parametrize("promise", [0.5, 0.001, 1e-6])
def test_outputs_are_learned_for_any_promise(promise: float) -> None:
    """However small the promise, enough answers are remembered to keep it; nothing is learned where a rule stands."""
    router = build_router(Settings(promise=promise))
    assert router.outputs is not None
    assert router.outputs.learning("m", None)
    for rule in (1000, "long"):
        assert build_router(Settings(promise=promise, undeclared_output=rule)).outputs is None


def test_a_small_promise_keeps_a_request_from_going_short() -> None:
    """The same request, too near the threshold for the promise, goes short where more is allowed to fail."""
    tight, loose = (
        build_router(Settings(promise=promise, threshold_tokens=1400)).route(
            read_request("/v1/chat/completions", CHAT), draw=0.9
        )
        for promise in (0.001, 0.5)
    )
    assert (tight.pool, tight.provenance) == (Pool.LONG, Provenance.COLD)
    assert (loose.pool, loose.provenance) == (Pool.SHORT, Provenance.COLD)


def test_a_tokenizer_counts_what_is_too_close(tmp_path: Path) -> None:
    """With a tokenizer named, a request near the threshold is settled by its count, and goes long without one."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"some": 0, "words": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counting, guessing = (
        build_router(Settings(tokenizer_json=path, threshold_tokens=1500)).route(
            read_request("/v1/chat/completions", CHAT), draw=0.9
        )
        for path in (str(tmp_path / "tokenizer.json"), Settings().tokenizer_json)
    )
    assert (counting.stage, counting.pool) == (Stage.EXACT, Pool.SHORT)
    assert (guessing.stage, guessing.pool) == (Stage.TEXT, Pool.LONG)


def test_a_tokenizer_that_is_none_is_an_error_at_start(tmp_path: Path) -> None:
    """The operator hears of it before any request does."""
    with pytest.raises(ConfigurationError, match=r"missing\.json"):
        build_router(Settings(tokenizer_json=str(tmp_path / "missing.json")))


@pytest.mark.parametrize(
    ("chosen", "warned"),
    [
        ({}, None),
        ({"observe_share": 0.0}, None),
        ({"learning_samples": 0}, None),
        ({"learning_samples": 0, "observe_share": 0.0}, None),
        ({"learning_samples": 0, "observe_share": 0.0, "undeclared_output": "long"}, None),
        (
            {"learning_samples": 0, "observe_share": 0.0, "undeclared_output": "long", "conversation_memory": 0},
            "margins stay as wide",
        ),
        (
            {"learning_samples": 0, "observe_share": 0.0, "undeclared_output": 512, "estimator": "ema"},
            "all that might not fit goes long",
        ),
        ({"learning_samples": 0, "observe_share": 0.0, "undeclared_output": 512, "estimator": "fixed"}, None),
        ({"tokenizer_json": "t.json", "estimator": "ema"}, "tokenizer_json is used by estimator anytime alone"),
    ],
)
def test_settings_that_are_hardly_meant_are_warned_of(chosen: dict[str, Any], warned: str | None) -> None:
    """Nothing could ever be learned, or a setting would not be heeded; a warning where something is learned is none."""
    warnings = warnings_of(Settings(**chosen))
    assert len(warnings) == (warned is not None)
    assert all(str(warned) in warning for warning in warnings)


@pytest.mark.parametrize(("estimator", "count"), [("anytime", 1), ("ema", 0)])
def test_loops_that_stay_interpreted_are_warned_of(estimator: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system lets nothing be compiled and the estimator would be, an operator is told why it is slow."""
    monkeypatch.setattr("extproc.compiled.CAN_COMPILE", False)
    warnings = warnings_of(Settings.model_validate({"estimator": estimator}))
    assert len(warnings) == count
    assert all("interpreted" in warning for warning in warnings)


ANSWERED = (
    ProcessingRequest(request_body=HttpBody(body=CHAT, end_of_stream=True)),
    ProcessingRequest(response_headers=HttpHeaders(headers=header_map({":status": "200", "content-type": JSON}))),
    ProcessingRequest(response_body=HttpBody(body=b'{"usage":{"prompt_tokens":1300}}', end_of_stream=True)),
)


def test_what_was_learned_outlives_the_process(tmp_path: Path) -> None:
    """An answer taught, SIGTERM, a new process with the same file: it knows what the old one learned."""
    state = tmp_path / "state"
    samples = []
    for taught in (True, False):
        with service(state_file=str(state)) as (process, listen, metrics):
            if taught:
                with grpc.insecure_channel(listen) as channel:
                    replies = open_stream(channel, iter([headers("POST", "/v1/chat/completions"), *ANSWERED]))
                    assert len(list(replies)) == 4
            samples.append(metric(metrics, 'dualpool_model_samples{model="m"}'))
            process.terminate()
            assert process.wait(timeout=10) == 0
    assert samples == [1.0, 1.0]
    assert json.loads(_shown(state))["models"][0]["samples"] == 1


def _shown(state: Path) -> str:
    command = [sys.executable, "-m", "extproc", "state", "show", str(state), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_a_spoilt_state_does_not_keep_the_service_from_starting(tmp_path: Path) -> None:
    """It starts cold, and is told apart from a first start by the file that was kept aside."""
    state = tmp_path / "state"
    state.write_bytes(b"dualpool state 1 beef\nnot it")
    with service(state_file=str(state)) as (_, listen, _), grpc.insecure_channel(listen) as channel:
        assert health_of(channel, "readiness") == SERVING
    assert (tmp_path / "state.bad").exists()


def test_the_certain_long_bound_follows_the_threshold() -> None:
    """What Envoy must be able to buffer grows with the threshold; the default needs less than a mebibyte."""
    assert certain_long_bytes(8192) == 196_608 < 2**20
