"""Conversations over real gRPC: streams that run their course, break off, or meet a bug of ours."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import grpc
import pytest

from extproc._proto.core_pb2 import HeaderMap, HeaderValue
from extproc._proto.external_processor_pb2 import HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse
from extproc.routing.estimators import EmaEstimator, Estimator
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import Estimate, Pool, Provenance, Reason, RequestFacts, Stage, Usage
from extproc.server import wire
from extproc.server.servicer import Servicer
from extproc.telemetry.ledger import Ledger

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

    def __init__(self, estimator: Estimator) -> None:
        self.address = ""
        self.ledger = Ledger()
        self.router = Router(estimator=estimator, policy=TokenBudgetPolicy(8192))
        self.servicer = Servicer(self.router, self.ledger, random=Random(1), explain=False)


@asynccontextmanager
async def served(estimator: Estimator | None = None) -> AsyncIterator[tuple[Fixture, Method]]:
    """A running service, and a function that opens a stream to it."""
    fixture = Fixture(estimator or EmaEstimator())
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
    return HttpHeaders(
        headers=HeaderMap(
            headers=[HeaderValue(key=names[name], raw_value=value.encode()) for name, value in values.items()]
        )
    )


REQUEST = ProcessingRequest(request_headers=headers(method="POST", path="/v1/chat/completions"))
BODY = ProcessingRequest(request_body=HttpBody(body=CHAT, end_of_stream=True))
RESPONSE = ProcessingRequest(response_headers=headers(status="200", content_type="application/json"))
RESPONSE_BODY = ProcessingRequest(response_body=HttpBody(body=ANSWER, end_of_stream=True))


async def test_a_whole_exchange_teaches() -> None:
    """Four messages in, four replies out, then the service ends the stream with OK and has learned."""
    async with served() as (fixture, open_stream):
        call = open_stream()
        for message in (REQUEST, BODY, RESPONSE, RESPONSE_BODY):
            await call.write(message)
            assert isinstance(await call.read(), ProcessingResponse)
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
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
        assert fixture.router.observing == 1
        assert sum(fixture.ledger.decisions.values()) == 1, "counted when made, not when its answer ends"
        call.cancel()
        await _until(lambda: fixture.ledger.streams == 0)
        assert fixture.router.observing == 0
        assert sum(fixture.ledger.decisions.values()) == 1
        assert fixture.ledger.internal_errors == 0


async def test_a_half_closed_stream_is_completed() -> None:
    """A peer that stops writing ends the exchange."""
    async with served() as (fixture, open_stream):
        call = open_stream()
        await call.write(REQUEST)
        await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert sum(fixture.ledger.undecided.values()) == 1


async def test_our_bug_ends_the_stream_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    """A bug while deciding ends the RPC with OK, is counted, and is logged once without a word of the request."""
    async with served(BrokenEstimator(on_learn=False)) as (fixture, open_stream):
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                call = open_stream()
                await call.write(REQUEST)
                await call.read()
                await call.write(BODY)
                assert await call.read() is grpc.aio.EOF
                assert await call.code() is grpc.StatusCode.OK
        assert fixture.ledger.internal_errors == 3
        assert fixture.router.observing == 0, "an answer that nobody waits for must not take up a place"
        assert len(caplog.records) == 1
        assert "ZeroDivisionError" in caplog.text
        assert "word" not in caplog.text


async def test_bytes_that_are_no_message_end_the_stream_in_peace() -> None:
    """A peer that speaks another protocol is counted as an error, and the RPC ends with OK."""
    async with served() as (fixture, _), grpc.aio.insecure_channel(fixture.address) as channel:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{wire.SERVICE}/{wire.METHOD}"
        )
        call = method()
        await call.write(b"\xff\xff")
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert fixture.ledger.internal_errors == 1


async def test_a_bug_in_learning_does_not_reach_the_exchange() -> None:
    """All replies were sent before learning fails; the decision and the failure are counted."""
    async with served(BrokenEstimator(on_learn=True)) as (fixture, open_stream):
        call = open_stream()
        for message in (REQUEST, BODY, RESPONSE, RESPONSE_BODY):
            await call.write(message)
            await call.read()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert fixture.ledger.internal_errors == 1
        assert fixture.router.observing == 0
        assert sum(fixture.ledger.decisions.values()) == 1


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another task will do soon."""
    import asyncio

    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.01)
