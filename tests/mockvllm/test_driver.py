import asyncio
import time

import pytest

from extproc.mockvllm.driver import Driver, Ticket
from extproc.mockvllm.engine import Engine, EngineShape, StepCost
from extproc.mockvllm.metrics import Metrics
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import MockSettings

COST = StepCost(base_s=0.01, prefill_token_s=0.0, sequence_s=0.0)


def driver(speed: float) -> Driver:
    """A driver whose steps take 10 ms of model time."""
    return Driver(Engine(EngineShape(8, 512, 1000, cost=COST)), Metrics(MockSettings()), speed)


def ticket(driver: Driver, output: int, *, streams: bool = False, count: int = 1) -> Ticket:
    """A request for so many tokens, arriving now."""
    each = [Sequence(8, output, Outcome.STOP, driver.now_s) for _ in range(count)]
    return Ticket(each, output, streams)


async def test_at_speed_one_tokens_take_model_time() -> None:
    """Ten steps of 10 ms take 100 ms, and the model clock agrees with the real one."""
    subject = driver(1.0)
    request = ticket(subject, 10)
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(subject.run())
        subject.submit(request)
        await request.changed()
        running.cancel()
    took = time.monotonic() - started
    assert 0.09 < took < 2.0
    assert request.sequences[0].last_token_s == pytest.approx(took, abs=0.2)


async def test_at_speed_zero_only_the_model_clock_runs() -> None:
    """A request of ten model seconds is answered at once, and its moments are model seconds."""
    subject = driver(0.0)
    request = ticket(subject, 1000)
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(subject.run())
        subject.submit(request)
        await request.changed()
        running.cancel()
    assert time.monotonic() - started < 1.0
    assert request.sequences[0].finished_s == pytest.approx(10.0)


async def test_streams_hear_of_tokens_and_others_only_of_the_end() -> None:
    """A streaming ticket rings for its first token; a plain one only when every answer is complete."""
    subject = driver(2.0)
    streaming, plain = ticket(subject, 100, streams=True), ticket(subject, 100, count=2)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(subject.run())
        subject.submit(streaming)
        subject.submit(plain)
        await streaming.changed()
        heard = streaming.sequences[0].generated
        await plain.changed()
        assert plain.done
        running.cancel()
    assert heard < 50


async def test_silence_ends_by_timeout() -> None:
    """Waiting for news of an idle engine gives up after the time given."""
    assert not await ticket(driver(1.0), 1).changed(0.01)


async def test_an_abort_rings_and_ends_every_sequence() -> None:
    """Who waits for an aborted request is woken, and its blocks are free."""
    subject = driver(1.0)
    request = ticket(subject, 1000, count=3)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(subject.run())
        subject.submit(request)
        await asyncio.sleep(0.03)
        assert subject.engine.kv_usage > 0
        subject.abort(request)
        await request.changed()
        running.cancel()
    assert request.aborted
    assert subject.engine.kv_usage == 0
    assert not subject.engine.busy
