"""Requests through the gRPC service and through the simulator: the same decisions and corrections, bit for bit.

The simulator runs first, and what it did is written down in order. Then an in-process service is shown the same bodies
and, in the same order, the same answers, as Envoy's messages.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from extproc._proto.core_pb2 import HeaderMap, HeaderValue
from extproc._proto.external_processor_pb2 import HttpBody, HttpHeaders, ProcessingRequest
from extproc.assembly import build_router
from extproc.fleet.dispatch import Routed
from extproc.fleet.simulation import RunRules, simulate
from extproc.fleet.texts import PATH, RequestMaker, body_of
from extproc.fleet.values import ABSENT, CATEGORIES, Batch
from extproc.routing.exchange import Outcome as ExchangeOutcome
from extproc.routing.policy import certain_long_bytes
from extproc.routing.router import Router
from extproc.routing.values import Correction, Decision, Finish, Pool, Provenance, Reason, Stage, Usage
from extproc.server.notes import Notes
from extproc.server.servicer import Servicer
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from tests.fleet.reference import Fixed, pool_of, spec_of

SEED = 11
REQUESTS = 1200
SETTINGS = Settings(threshold_tokens=1024, learning_samples=150, warm_up_samples=10, max_observed=40, observe_share=0.1)
SPEC = spec_of(kv_blocks=6000, max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=60_000)
MORTAL = replace(SPEC, deaths_per_hour=60.0, restart_s=1.0)
_ESCAPED_BELOW = 500
"""Tokens. Escaped characters change nothing but the size of a body, by which the largest are long."""
FINISHES = {Finish.STOP: "stop", Finish.LENGTH: "length"}


class Routing(NamedTuple):
    """A request was routed."""

    number: int
    prompt_tokens: int
    declared_tokens: int
    category: int
    draw: float
    decision: Decision


class Answer(NamedTuple):
    """A watched request ended."""

    number: int
    usage: Usage | None


@dataclass
class Recording(Routed):
    """The simulator's router, and what it did in order."""

    log: list[Routing | Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        """With draws of its own, the same as the router's."""
        super().__post_init__()
        self._draws = np.random.default_rng(self.seed)

    def decide(self, batch: Batch, first: int) -> Iterator[Decision]:
        """Route and write it down."""
        draws = self._draws.random(len(batch.arrival_s)).tolist()
        rows = zip(*(column.tolist() for column in batch[1:5]), draws, strict=True)
        for number, (decision, row) in enumerate(zip(super().decide(batch, first), rows, strict=True), first):
            prompt_tokens, _, declared_tokens, category, draw = row
            self.log.append(Routing(number, prompt_tokens, declared_tokens, category, draw, decision))
            yield decision

    def complete(self, decision: Decision, usage: Usage | None) -> None:
        """End and write it down."""
        number = next(entry.number for entry in self.log if isinstance(entry, Routing) and entry.decision is decision)
        self.log.append(Answer(number, usage))
        super().complete(decision, usage)


class Kept(Ledger):
    """A ledger that keeps all it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Decision] = []
        self.corrections: list[Correction] = []

    def record_decision(self, decision: Decision) -> None:
        """Keep it."""
        super().record_decision(decision)
        self.made.append(decision)

    def record(self, outcome: ExchangeOutcome) -> None:
        """Keep its correction."""
        super().record(outcome)
        if outcome.correction is not None:
            self.corrections.append(outcome.correction)


class Draws(Random):
    """The draws of the simulator, in their order."""

    def __init__(self, draws: Iterator[float]) -> None:
        super().__init__(0)
        self._draws = draws

    def random(self) -> float:
        """The next."""
        return next(self._draws)


class Stream:
    """Envoy's end of one stream: what the servicer reads and writes."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Task[bytes] | None = None

    async def read(self) -> Any:
        """A message from Envoy."""
        return await self.incoming.get()

    async def write(self, message: bytes) -> None:
        """A reply to it."""
        await self.outgoing.put(message)

    async def say(self, message: ProcessingRequest) -> None:
        """Envoy sends a message and waits for the reply, the last of which ends the stream."""
        assert self.ended is not None
        await self.incoming.put(message.SerializeToString())
        reply = asyncio.ensure_future(self.outgoing.get())
        await asyncio.wait({reply, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        reply.cancel()


def headers(**values: str) -> HttpHeaders:
    """Headers of a message."""
    names = {"method": ":method", "path": ":path", "status": ":status"}
    return HttpHeaders(
        headers=HeaderMap(
            headers=[
                HeaderValue(key=names.get(name, name.replace("_", "-")), raw_value=value.encode())
                for name, value in values.items()
            ]
        )
    )


def answer_of(usage: Usage) -> bytes:
    """The body of a JSON answer."""
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return json.dumps({"choices": [{"finish_reason": FINISHES[usage.finish]}], "usage": counts}).encode()


@dataclass
class Service:
    """An in-process service that is shown what the simulator did."""

    settings: Settings
    log: list[Routing | Answer]
    kept: Kept = field(default_factory=Kept)
    open: dict[int, Stream] = field(default_factory=dict)
    notes: Notes = field(init=False)

    def __post_init__(self) -> None:
        self.notes = Notes(self.kept)

    async def replay(self) -> Router:
        """All of it; the router afterwards."""
        router = build_router(self.settings, memory_key=bytes(32))
        draws = Draws(entry.draw for entry in self.log if isinstance(entry, Routing))
        servicer, maker = Servicer(router, self.kept, random=draws, notes=self.notes), RequestMaker(SEED)
        for entry in self.log:
            if isinstance(entry, Routing):
                await self._ask(servicer, maker, entry)
            else:
                await self._answer(entry)
        assert self.kept.internal_errors == 0
        return router

    async def _ask(self, servicer: Servicer, maker: RequestMaker, entry: Routing) -> None:
        columns = (
            np.array([entry.prompt_tokens]),
            np.array([entry.declared_tokens]),
            np.array([entry.category], np.int8),
        )
        request = next(maker.make(*columns, entry.number))
        body = body_of(request, escaped=entry.number % 5 == 0 and entry.prompt_tokens < _ESCAPED_BELOW)
        stream, made = Stream(), len(self.kept.made)
        stream.ended = asyncio.ensure_future(servicer._process(None, stream))  # type: ignore[arg-type]
        head = headers(method="POST", path=PATH, content_type="application/json", content_length=str(len(body)))
        await stream.say(ProcessingRequest(request_headers=head))
        self.notes.write()
        if len(self.kept.made) == made:
            await stream.say(ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)))
            self.notes.write()
        if self.kept.made[-1].observe:
            self.open[entry.number] = stream
        else:
            await stream.ended

    async def _answer(self, entry: Answer) -> None:
        stream = self.open.pop(entry.number)
        assert stream.ended is not None
        if entry.usage is None:  # the instance died, or refused: Envoy answers 503
            await stream.say(ProcessingRequest(response_headers=headers(status="503", content_type="text/plain")))
        else:
            head = headers(status="200", content_type="application/json")
            await stream.say(ProcessingRequest(response_headers=head))
            body = HttpBody(body=answer_of(entry.usage), end_of_stream=True)
            await stream.say(ProcessingRequest(response_body=body))
        await stream.ended
        self.notes.write()


def traffic(longest: int) -> Batch:
    """Prompts around the threshold, of all kinds of text; some declare nothing."""
    rng = np.random.default_rng(3)
    return Batch(
        np.cumsum(rng.exponential(0.3, REQUESTS)),
        np.exp(rng.uniform(np.log(20), np.log(longest), REQUESTS)).astype(np.int64),
        rng.integers(1, 200, REQUESTS),
        np.where(rng.random(REQUESTS) < 0.4, ABSENT, rng.integers(1, 400, REQUESTS)),
        rng.integers(0, len(CATEGORIES), REQUESTS).astype(np.int8),
    )


def simulated(settings: Settings, longest: int) -> Recording:
    """What the simulator did."""
    short = spec_of(kv_blocks=2000, max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=1024)
    pools = [pool_of(short, instances=2, pool=Pool.SHORT), pool_of(MORTAL, instances=2)]
    recording = Recording(settings, SEED, keeps_corrections=True)
    simulate(pools, Fixed(traffic(longest)), recording, rules=RunRules(REQUESTS))
    return recording


@pytest.mark.parametrize(
    "change",
    [{}, {"undeclared_output": 128}, {"estimator": "ema"}, {"conversation_memory": 0, "promise": 0.05}],
    ids=["as it is", "output reserved", "ema", "no memory"],
)
async def test_the_simulator_decides_and_learns_as_the_service(change: dict[str, Any]) -> None:
    """Decisions with all they carry, corrections, and what is learned at the end are equal, not close."""
    settings = SETTINGS.model_copy(update=change)
    recording = simulated(settings, longest=4000)
    service = Service(settings, recording.log)
    router = await service.replay()
    decisions = [entry.decision for entry in recording.log if isinstance(entry, Routing)]
    assert [essence(made) for made in service.kept.made] == [essence(decision) for decision in decisions]
    assert service.kept.corrections == recording.corrections
    assert router.ratios() == recording.router.ratios()
    assert router.snapshot() == recording.router.snapshot()
    assert_telling(decisions, recording.corrections)
    assert any(entry.usage is None for entry in recording.log if isinstance(entry, Answer)), "some engines died"


async def test_what_is_too_large_to_be_read_is_so_in_both() -> None:
    """A body that is long by its size alone goes long unread, and nothing is learned from it."""
    recording = simulated(SETTINGS, longest=50_000)
    service = Service(SETTINGS, recording.log)
    await service.replay()
    decisions = [entry.decision for entry in recording.log if isinstance(entry, Routing)]
    assert [essence(made) for made in service.kept.made] == [essence(decision) for decision in decisions]
    assert service.kept.corrections == recording.corrections
    oversized = sum(decision.reason is Reason.CONTENT_LENGTH for decision in decisions)
    assert oversized > 20
    assert certain_long_bytes(SETTINGS.threshold_tokens) == 24_576


def essence(decision: Decision) -> tuple[object, ...]:
    """All of a decision but what its estimator keeps for itself."""
    return (
        decision.pool, decision.reason, decision.provenance, decision.stage, decision.budget, decision.doubt,
        decision.category, decision.observe, decision.weight, decision.facts,
    )  # fmt: skip


def assert_telling(decisions: list[Decision], corrections: list[Correction]) -> None:
    """What was compared was not all one case."""
    assert len(decisions) == REQUESTS
    assert {decision.pool for decision in decisions} == set(Pool)
    assert {Provenance.CERTAIN, Provenance.CALIBRATED} <= {decision.provenance for decision in decisions}
    assert len({decision.stage for decision in decisions} - {Stage.NONE}) >= 2
    assert 100 < len(corrections) < REQUESTS
    assert any(correction.learned for correction in corrections)
