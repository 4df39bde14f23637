"""Who decides the pool of a simulated request: nobody, the truth, chance, or the router of the service.

The router sees what it sees in the service: bytes, their text, a declared limit. It learns from the usage of simulated
answers, and only from those that it asked to read.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from extproc.assembly import build_router
from extproc.fleet.steered import Polling, Steered
from extproc.fleet.texts import RequestMaker, body_of
from extproc.fleet.values import ABSENT, Batch, Ints
from extproc.routing.policy import certain_long_bytes
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import Correction, Decision, Finish, Pool, Stage, Usage
from extproc.settings import Settings

SHORT, LONG = 0, 1
"""Positions of the two pools of a fleet."""
MEMORY_KEY = bytes(32)
"""Known to all: nothing here is a client's, and runs come to the same."""


class Dispatch(Protocol):
    """Decides for many requests at once, because it learns nothing from their answers."""

    def pools_of(self, batch: Batch) -> Ints:
        """The position of each request's pool in the fleet."""
        ...


@dataclass(frozen=True, slots=True)
class Single:
    """One pool for all."""

    def pools_of(self, batch: Batch) -> Ints:
        """The first."""
        return np.zeros(len(batch.arrival_s), np.int64)


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows the true length."""

    threshold_tokens: int

    def pools_of(self, batch: Batch) -> Ints:
        """Short if the true budget fits."""
        return np.where(budgets(batch) <= self.threshold_tokens, SHORT, LONG)


@dataclass(slots=True)
class Chance:
    """A share of all requests goes short, whatever they are: what any router must beat."""

    short_share: float
    seed: int
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def pools_of(self, batch: Batch) -> Ints:
        """By a draw for each."""
        return np.where(self._random.random(len(batch.arrival_s)) < self.short_share, SHORT, LONG)


def budgets(batch: Batch) -> Ints:
    """The tokens each request may take: what it declares is reserved in full, what it does not turns out."""
    reserved = np.where(batch.declared_tokens == ABSENT, batch.output_tokens, batch.declared_tokens)
    return batch.prompt_tokens + reserved


@dataclass(slots=True)
class Routed:
    """The router of the service. Not for two simulations: it keeps what it learned."""

    settings: Settings
    seed: int
    router: Router = field(init=False)
    decisions: Counter[tuple[Pool, Stage]] = field(default_factory=Counter)
    """By pool and stage."""
    corrections: list[Correction] = field(default_factory=list)
    """Kept where `keeps_corrections`; else each is dropped."""
    keeps_corrections: bool = False
    polling: Polling | None = None
    """How the fleet is watched and by which rules the router is steered; None to leave it alone."""
    steered: Steered | None = field(init=False)
    """Who steers it, with the course it took."""
    _maker: RequestMaker = field(init=False)
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.router = build_router(self.settings, memory_key=MEMORY_KEY)
        self._maker = RequestMaker(self.seed)
        self._random = np.random.default_rng(self.seed)
        self.steered = None if self.polling is None else Steered(self.polling, self.router)

    def decide(self, batch: Batch, first: int) -> Iterator[Decision]:
        """The service's decision on each request, made when it is asked for: it may rest on what has ended by then.

        Args:
            batch: requests in the order of their arrival.
            first: number of the first of them in its workload.
        """
        requests = self._maker.make(batch.prompt_tokens, batch.declared_tokens, batch.categories, first)
        draws: list[float] = self._random.random(len(batch.arrival_s)).tolist()
        for request, draw in zip(requests, draws, strict=True):
            if self._is_oversized(request):
                decision = self.router.route_oversized()
            else:
                decision = self.router.route(request, draw=draw)
            self.decisions[decision.pool, decision.stage] += 1
            yield decision

    def stage_shares(self) -> dict[str, float]:
        """Of all decisions, by the stage that settled them."""
        stages, total = Counter[str](), sum(self.decisions.values())
        for (_, stage), count in self.decisions.items():
            stages[stage.value] += count
        return {stage: count / total for stage, count in sorted(stages.items())}

    def complete(self, decision: Decision, usage: Usage | None) -> None:
        """End it; the router learns."""
        correction = self.router.complete(decision, usage)
        if self.keeps_corrections and correction is not None:
            self.corrections.append(correction)

    def _is_oversized(self, request: Request) -> bool:
        """Whether the service would send it long unread, by the bytes of its body: those of its text, and escapes.

        Most escapes take one byte more, so only a text of half as many bytes or more needs a body to be written.
        """
        most, text_bytes = certain_long_bytes(self.router.most_short_tokens), request.facts.text_bytes
        return text_bytes > most or (2 * text_bytes > most and len(body_of(request)) > most)


def usage_of(prompt_tokens: int, output_tokens: int, *, cut: bool) -> Usage:
    """What the answer of a simulated request says."""
    return Usage(prompt_tokens, output_tokens, finish=Finish.LENGTH if cut else Finish.STOP)


def position(pool: Pool) -> int:
    """Of a pool in a fleet of two."""
    return SHORT if pool is Pool.SHORT else LONG
