"""Conversations over real gRPC: streams that run their course, break off, or meet a bug of ours."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from io import StringIO
from pathlib import Path
from random import Random
from time import time_ns
from typing import Literal

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from extproc._proto.core_pb2 import HeaderMap, HeaderValue
from extproc._proto.external_processor_pb2 import (
    BodyResponse,
    CommonResponse,
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)
from extproc.routing.estimators import EmaEstimator, Estimator
from extproc.routing.exchange import Outcome
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import Decision, Estimate, Pool, Provenance, Reason, RequestFacts, Stage, Usage
from extproc.server import wire
from extproc.server.notes import Notes
from extproc.server.servicer import Servicer
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.logs import configure_logging
from extproc.telemetry.spans import Spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
TEXT = "word " * 200
CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}],"max_tokens":16}' % TEXT.encode()
ANSWER = b'{"usage":{"prompt_tokens":250,"completion_tokens":3}}'

Method = grpc.aio.StreamStreamMultiCallable[ProcessingRequest, ProcessingResponse]


class BrokenEstimator(EmaEstimator):
    """An estimator with a bug: it fails on every estimate, or on every answer."""

    def __init__(self, *, on_learn: bool) -> None:
        super().__init__()
        self._on_learn = on_learn

    def estimate(self, request: Request, room_tokens: int) -> Estimate:
        """Fail, unless it is learning that is broken."""
        if not self._on_learn:
            raise ZeroDivisionError(TEXT)
        return super().estimate(request, room_tokens)

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:
        """Fail."""
        raise ZeroDivisionError(TEXT)


class Fixture:
    """A service on loopback and what it counted."""

    def __init__(self, estimator: Estimator, access_log: AccessLog | None, spans: Spans | None) -> None:
        self.address = ""
        self.ledger = Ledger()
        self.router = Router(estimator=estimator, policy=TokenBudgetPolicy(8192))
        self.notes = Notes(self.ledger, access_log=access_log, spans=spans)
        self.servicer = Servicer(self.router, self.ledger, random=Random(1), notes=self.notes)


@asynccontextmanager
async def served(
    estimator: Estimator | None = None, access_log: AccessLog | None = None, spans: Spans | None = None
) -> AsyncIterator[tuple[Fixture, Method]]:
    """A running service, and a function that opens a stream to it."""
    fixture = Fixture(estimator or EmaEstimator(), access_log, spans)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((fixture.servicer.handler(),))
    fixture.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(fixture.address) as channel:
        method: Method = channel.stream_stream(
            f"/{wire.SERVICE}/{wire.METHOD}",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )
        yield fixture, method
    await server.stop(grace=1.0)


def headers(**values: str) -> HttpHeaders:
    """Headers of a message."""
    names = {"method": ":method", "path": ":path", "status": ":status", "content_type": "content-type"}
    names["traceparent"] = "traceparent"
    return HttpHeaders(
        headers=HeaderMap(
            headers=[HeaderValue(key=names[name], raw_value=value.encode()) for name, value in values.items()]
        )
    )


REQUEST = ProcessingRequest(request_headers=headers(method="POST", path="/v1/chat/completions"))
BODY = ProcessingRequest(request_body=HttpBody(body=CHAT, end_of_stream=True))
RESPONSE = ProcessingRequest(response_headers=headers(status="200", content_type="application/json"))
RESPONSE_BODY = ProcessingRequest(response_body=HttpBody(body=ANSWER, end_of_stream=True))


async def converse(open_stream: Method, *messages: ProcessingRequest) -> None:
    """A stream with these messages, each answered, until the service ends it."""
    call = open_stream()
    for message in messages:
        await call.write(message)
        assert isinstance(await call.read(), ProcessingResponse)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_whole_exchange_teaches() -> None:
    """Four messages in, four replies out, then the service ends the stream with OK and has learned."""
    async with served() as (fixture, open_stream):
        await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
        fixture.notes.write()
        ratio = fixture.router.ratios()[0]
        assert (ratio.samples, ratio.bytes_per_token) == (1, len(TEXT) / 250)
        expected = (Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER, Provenance.CERTAIN, Stage.BOUNDS)
        assert fixture.ledger.decisions == {expected: 1}
        assert fixture.ledger.streams == 0


async def test_a_cancelled_stream_is_completed() -> None:
    """Envoy resets the stream when a client leaves: the decision is recorded and nothing stays counted as observed."""
    async with served() as (fixture, open_stream):
        call = open_stream()
        await call.write(REQUEST)
        await call.read()
        await call.write(BODY)
        await call.read()
        fixture.notes.write()
        assert fixture.router.observing == 1
        assert sum(fixture.ledger.decisions.values()) == 1, "counted when made, not when its answer ends"
        call.cancel()
        await _until(lambda: fixture.ledger.streams == 0)
        fixture.notes.write()
        assert fixture.router.observing == 0
        assert sum(fixture.ledger.decisions.values()) == 1
        assert fixture.ledger.internal_errors == 0


class Gone:
    """A call whose other end leaves while it is answered."""

    async def read(self) -> bytes:
        """The request's headers."""
        return REQUEST.SerializeToString()

    async def write(self, message: bytes) -> None:
        """Nobody takes it."""
        raise grpc.aio.InternalError


async def test_an_envoy_that_leaves_while_it_is_answered_is_no_error() -> None:
    """The exchange ends without a decision, as if Envoy had cancelled it, and is not taken for a bug of ours."""
    ledger = Ledger()
    servicer = Servicer(Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192)), ledger, random=Random(1))
    with pytest.raises(asyncio.CancelledError):
        await servicer._process(None, Gone())  # type: ignore[arg-type]
    servicer.notes.write()
    assert (ledger.streams, ledger.internal_errors, sum(ledger.undecided.values())) == (0, 0, 1)


async def test_a_half_closed_stream_is_completed() -> None:
    """A peer that stops writing ends the exchange."""
    async with served() as (fixture, open_stream):
        call = open_stream()
        await call.write(REQUEST)
        await call.read()
        await call.done_writing()
        assert await call.read() == ProcessingResponse(), "to nobody: gRPC wants a last answer"
        assert await call.read() is grpc.aio.EOF
        fixture.notes.write()
        assert sum(fixture.ledger.undecided.values()) == 1


async def test_our_bug_lets_the_request_pass(caplog: pytest.LogCaptureFixture) -> None:
    """A bug while deciding ends the RPC with no change to the request, is counted, and logged once without words."""
    async with served(BrokenEstimator(on_learn=False)) as (fixture, open_stream):
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                call = open_stream()
                await call.write(REQUEST)
                await call.read()
                await call.write(BODY)
                assert await call.read() == ProcessingResponse(request_body=BodyResponse(response=CommonResponse()))
                assert await call.read() is grpc.aio.EOF
                assert await call.code() is grpc.StatusCode.OK
        fixture.notes.write()
        assert fixture.ledger.internal_errors == 3
        assert fixture.router.observing == 0, "an answer that nobody waits for must not take up a place"
        assert len(caplog.records) == 1
        assert "ZeroDivisionError" in caplog.text
        assert "word" not in caplog.text


async def test_what_was_decided_stays_so_when_a_later_message_breaks() -> None:
    """Envoy has the route by then: one decision, which ends without an answer, and no stream without a decision."""
    async with served() as (fixture, _), grpc.aio.insecure_channel(fixture.address) as channel:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{wire.SERVICE}/{wire.METHOD}"
        )
        call = method()
        for message in (REQUEST.SerializeToString(), BODY.SerializeToString(), b"\xff\xff"):
            await call.write(message)
            await call.read()
        await _until(lambda: fixture.ledger.streams == 0)
        fixture.notes.write()
        assert (fixture.ledger.internal_errors, fixture.router.observing) == (1, 0)
        assert sum(fixture.ledger.decisions.values()) == 1
        assert sum(fixture.ledger.undecided.values()) == 0


async def test_bytes_that_are_no_message_end_the_stream_in_peace() -> None:
    """A peer that speaks another protocol is counted as an error, and the RPC ends with OK."""
    async with served() as (fixture, _), grpc.aio.insecure_channel(fixture.address) as channel:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{wire.SERVICE}/{wire.METHOD}"
        )
        call = method()
        await call.write(b"\xff\xff")
        assert await call.read() == b""
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert fixture.ledger.internal_errors == 1


async def test_a_bug_in_learning_does_not_reach_the_exchange() -> None:
    """All replies were sent before learning fails; the decision and the failure are counted."""
    async with served(BrokenEstimator(on_learn=True)) as (fixture, open_stream):
        await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
        fixture.notes.write()
        assert fixture.ledger.internal_errors == 1
        assert fixture.router.observing == 0
        assert sum(fixture.ledger.decisions.values()) == 1


async def test_every_phase_is_timed() -> None:
    """Once for each message."""
    async with served() as (fixture, open_stream):
        await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
        fixture.notes.write()
        assert [sum(durations.counts) for durations in fixture.ledger.phases.values()] == [1, 1, 1, 1]
        assert 0.0 < sum(durations.total for durations in fixture.ledger.phases.values()) < 60.0


async def test_an_exchange_is_written_down_when_it_ends(tmp_path: Path) -> None:
    """With when it arrived."""
    before_ns = time_ns()
    with AccessLog(tmp_path / "log", 10**6, Ledger()) as access_log:
        async with served(access_log=access_log) as (fixture, open_stream):
            await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
            fixture.notes.write()
    (line,) = (tmp_path / "log").read_text().splitlines()
    said = json.loads(line)
    assert (said["pool"], said["prompt_tokens"]) == ("short", 250)
    assert before_ns <= 1e9 * datetime.fromisoformat(said["time"]).timestamp() + 1e6
    assert "word" not in line


class BrokenLog(AccessLog):
    """An access log with a bug."""

    def record(self, outcome: Outcome, *, arrived_ns: int) -> None:
        """Fail."""
        raise ZeroDivisionError(TEXT)


async def test_a_bug_in_writing_it_down_does_not_reach_the_exchange(tmp_path: Path) -> None:
    """It is counted, and what the answer taught is kept."""
    with BrokenLog(tmp_path / "log", 10**6, Ledger()) as access_log:
        async with served(access_log=access_log) as (fixture, open_stream):
            await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
            fixture.notes.write()
            assert (fixture.ledger.internal_errors, fixture.ledger.learned) == (1, 1)


class BrokenLedger(Ledger):
    """A ledger with a bug."""

    def record_decision(self, decision: Decision) -> None:
        """Fail."""
        raise ZeroDivisionError(TEXT)


async def test_a_bug_in_counting_does_not_reach_the_exchange() -> None:
    """The request goes where it was decided to, its answer teaches, and the bug is counted."""
    async with served() as (fixture, open_stream):
        fixture.ledger = BrokenLedger()
        fixture.servicer._ledger, fixture.notes = fixture.ledger, Notes(fixture.ledger)
        fixture.servicer.notes = fixture.notes
        await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
        fixture.notes.write()
        assert (fixture.ledger.internal_errors, fixture.ledger.learned) == (1, 1)
        assert fixture.ledger.streams == 0


async def test_a_caller_s_trace_gets_a_span() -> None:
    """From the header that came with the request, though more messages came after it."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider, share=0.0, random=Random(1))
    traced = ProcessingRequest(
        request_headers=headers(method="POST", path="/v1/chat/completions", traceparent=f"00-{TRACE}-{'b' * 16}-01")
    )
    async with served(spans=spans) as (fixture, open_stream):
        await converse(open_stream, traced, BODY, RESPONSE, RESPONSE_BODY)
        await converse(open_stream, REQUEST, BODY, RESPONSE, RESPONSE_BODY)
        fixture.notes.write()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.attributes is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert (span.attributes["dualpool.pool"], span.attributes["gen_ai.usage.input_tokens"]) == ("short", 250)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


@pytest.mark.parametrize("style", ["text", "json"])
async def test_nothing_a_user_typed_is_told_anywhere(tmp_path: Path, style: Literal["text", "json"]) -> None:
    """Not in logs, metrics, spans or the access log: in exchanges that go well, break off or meet bugs of ours."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider, share=1.0, random=Random(1))
    root, stream = logging.getLogger(), StringIO()
    before, level = root.handlers[:], root.level
    configure_logging(style, "debug", stream=stream)
    scrapes = []
    with AccessLog(tmp_path / "log", 10**6, Ledger()) as access_log:
        for estimator in (EmaEstimator(), BrokenEstimator(on_learn=False), BrokenEstimator(on_learn=True)):
            async with served(estimator, access_log, spans) as (fixture, open_stream):
                telemetry = Telemetry(fixture.ledger, fixture.router)
                for messages in ((BODY,), (REQUEST, BODY), (REQUEST, BODY, RESPONSE, RESPONSE_BODY)):
                    await _break_off(open_stream, *messages)
                await _until(lambda fixture=fixture: fixture.ledger.streams == 0)  # type: ignore[misc]
                fixture.notes.write()
                logging.getLogger("grpc").error("Exception calling application: %s", TEXT)
                scrapes.append(generate_latest(telemetry.registry).decode())
                telemetry.close()
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    told = [stream.getvalue(), *scrapes, (tmp_path / "log").read_text()]
    told += [span.to_json() for span in exporter.get_finished_spans()]
    assert "ZeroDivisionError" in told[0]
    assert len(told) > 10
    assert not [text for text in told if "word" in text]


async def _break_off(open_stream: Method, *messages: ProcessingRequest) -> None:
    """A stream with these messages, which the other side leaves, unless the service has ended it before."""
    call = open_stream()
    for message in messages:
        try:
            await call.write(message)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            break  # the service ended the stream, which grpcio calls its own error: the message cannot be sent
        if await call.read() is grpc.aio.EOF:
            break
    call.cancel()


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another task will do soon."""
    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.01)
