"""What a plan has done in several processes, one seed each: how a router errs, a fleet's size, its confirmation."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from extproc.fleet.answers import RouterKind
from extproc.fleet.confirm import Replication, replicate
from extproc.fleet.confusion import Confused, Confusion, confusion_of
from extproc.fleet.dispatch import Dispatch, Oracle, Routed, Single
from extproc.fleet.drafts import Draft, PoolDraft, pool_slos
from extproc.fleet.options import PlanOptions
from extproc.fleet.packed import packed, unpacked
from extproc.fleet.simulation import RunRules
from extproc.fleet.sizing import SUBFLEET, TRY_S, SizingRules, instances_needed
from extproc.fleet.streams import Drawn, draw
from extproc.fleet.values import PoolSpec, Slo

_OTHER_REQUESTS = 1_000_003
"""Between the seeds of what a router learned from and of what it is judged by."""
_ERRORS_FROM, _ROUGHLY_FROM = 8_000, 4_000
"""Requests by which a router's errors are measured, after its first answers; and where thresholds are only ranked."""
_ERRORS_TRIES = 10
"""Times the requests of a try, at most: who asks for little gets an answer soon."""
_DRAWN_MOST = 1_000_000
_SPARE = 4.0
"""Times what a try takes by the closed form, that a search may come to fewer instances than that."""
_SHARES_MIN = 1e-4
_CONFIRM_S = 30.0
"""Simulated time of a confirmation, where that is more requests than three tries of sizing."""
_SOON_SETTLED_S, _SETTLINGS = 30.0, 6.0
"""Where a fleet takes longer to settle, a try and a confirmation are longer by so many times the difference: with
answers of minutes a fleet of far too few instances is still filling up after a hundred seconds."""
_CONFIRM_MOST = 150_000
_INSTANCES_MOST = 400
"""A larger fleet is confirmed at a smaller scale: a random part of the traffic on that part of the instances."""
_WARM_UP_SHARE = 0.2
_SIZE_EFFORT, _LEARN_EFFORT, _CONFIRM_EFFORT = 2.0, 5.0, 8.0
"""Roughly, over that of a task of the same kind without a router of ours."""


class Learned(NamedTuple):
    """What a router made of requests that no simulation sees."""

    confusion: Confusion
    router: bytes = b""
    """The router itself, packed; empty where a table of its errors is all that is wanted."""


@dataclass(frozen=True, slots=True)
class Learn:
    """Find out how a router errs, from requests that no simulation sees."""

    options: PlanOptions
    router: RouterKind
    threshold_tokens: int
    seed: int
    roughly: bool = False
    """From fewer requests."""

    @property
    def effort(self) -> float:
        """Ours takes longer."""
        return _LEARN_EFFORT if self.router is RouterKind.ANYTIME else 1.0

    def perform(self) -> Learned:
        """After its first answers. Ours is kept, for confirmations: a fleet is planned for every day but the first."""
        routed = Routed(self.options.settings(self.router, self.threshold_tokens), self.seed)
        requests = min(_ROUGHLY_FROM if self.roughly else _ERRORS_FROM, _ERRORS_TRIES * self.options.requests)
        confusion = confusion_of(routed, self.options.workload, requests=requests, seed=self.seed + _OTHER_REQUESTS)
        routed.decisions.clear()
        kept = self.router is RouterKind.ANYTIME and not self.roughly
        return Learned(confusion, packed(routed) if kept else b"")


@dataclass(frozen=True, slots=True)
class Size:
    """Find out how many instances each pool of a fleet needs."""

    options: PlanOptions
    draft: Draft
    seed: int
    confusion: Confusion | None = None
    """How its router errs; None where none decides, or one that knows the truth."""
    near: tuple[float, ...] | None = None
    """What each pool took with another seed, if that is known."""

    @property
    def effort(self) -> float:
        """By the pools to be sized."""
        return _SIZE_EFFORT * len(self.draft.pools)

    def perform(self) -> tuple[float | None, ...]:
        """For each pool, up to the first of which no number keeps the objective: that one is None."""
        drawn = draw(self.options.workload, seed=self.seed, requests=self._requests())
        of_a_try = len(drawn) if self.options.workload.in_order else self.options.requests
        # Less time between the same requests: the fleet must keep the objective with reserves.
        faster = drawn.batch._replace(arrival_s=drawn.batch.arrival_s * self.options.utilisation_cap)
        parts = Drawn(faster).parted(quick_dispatch(self.draft, self.confusion, self.seed), len(self.draft.pools))
        counts: list[float | None] = []
        for at, (pool, part, slo) in enumerate(zip(self.draft.pools, parts, self._slos(parts), strict=True)):
            rules = SizingRules(slo, of_a_try, self._try_s(), _WARM_UP_SHARE, self.seed)
            near = self.near[at] if self.near else None
            counts.append(instances_needed(pool.pool, pool.spec, part, pool.instances, rules, near))
            if counts[-1] is None:
                break
        return tuple(counts)

    def _slos(self, parts: list[Drawn]) -> tuple[Slo, ...]:
        """Of each pool, by what the router really sends there."""
        if len(parts) == 1:
            return (self.options.slo,)
        return pool_slos(self.options.slo, len(parts[0]) / sum(map(len, parts)))

    def _try_s(self) -> float:
        return TRY_S + _more_s(self.options)

    def _requests(self) -> int:
        """Enough that each pool has as many as a try takes, thinned as it may be; of a trace in order whole turns."""
        workload, spare = self.options.workload, 1.0 if self.options.workload.in_order else _SPARE
        wanted = math.ceil(max(self._requests_for(pool, spare) for pool in self.draft.pools))
        return workload.whole_turns(min(_DRAWN_MOST, wanted), _WARM_UP_SHARE)

    def _requests_for(self, pool: PoolDraft, spare: float) -> float:
        thinned, share = max(1.0, spare * pool.instances / SUBFLEET), max(_SHARES_MIN, pool.share)
        in_time = self._try_s() * share * self.options.rate_per_s / self.options.utilisation_cap
        return max(self.options.requests * thinned, in_time * min(spare, thinned)) / share


@dataclass(frozen=True, slots=True)
class Confirm:
    """Simulate a whole fleet of a given size, with the router itself in the loop if that is ours."""

    options: PlanOptions
    draft: Draft
    instances: tuple[int, ...]
    seed: int
    learned: Learned | None = None
    """Its router, where that learns; None to let it learn here."""

    @property
    def effort(self) -> float:
        """Most with the router in the loop."""
        return _CONFIRM_EFFORT if self.draft.router is RouterKind.ANYTIME else 1.0

    def perform(self) -> Replication:
        """One replication."""
        part = min(1.0, _INSTANCES_MOST / sum(self.instances))
        pools = [
            PoolSpec(pool.pool, max(1, round(part * count)), pool.spec)
            for pool, count in zip(self.draft.pools, self.instances, strict=True)
        ]
        confirm_s = _CONFIRM_S + _more_s(self.options)
        requests = min(_CONFIRM_MOST, max(3 * self.options.requests, int(confirm_s * part * self.options.rate_per_s)))
        traffic = self._traffic(requests, part)
        rules = RunRules(len(traffic), seed=self.seed, warm_up_share=_WARM_UP_SHARE, slo=self.options.slo)
        return replicate(pools, traffic, self._dispatch(), rules, self.draft.threshold_tokens)

    def _traffic(self, requests: int, part: float) -> Drawn:
        """So many requests of a part of the traffic; of a trace in order whole turns."""
        workload = self.options.workload
        if workload.in_order:
            turns = workload.whole_turns(math.ceil(requests / part), _WARM_UP_SHARE)
            drawn = draw(workload, seed=self.seed, requests=turns)
            return drawn if part == 1.0 else drawn.thinned(part, most=len(drawn), seed=self.seed)
        drawn = draw(workload, seed=self.seed, requests=math.ceil(1.1 * requests / part))
        return drawn.thinned(part, most=requests, seed=self.seed)

    def _dispatch(self) -> Dispatch | Routed:
        if self.draft.threshold_tokens is None or not learns(self.draft):
            return quick_dispatch(self.draft, None, self.seed)
        learn = Learn(self.options, self.draft.router, self.draft.threshold_tokens, self.seed)
        learned = self.learned or learn.perform()
        return unpacked(learned.router) if learned.router else quick_dispatch(self.draft, learned.confusion, self.seed)


def _more_s(options: PlanOptions) -> float:
    """Simulated time that long answers take on top."""
    return _SETTLINGS * max(0.0, options.settling_s() - _SOON_SETTLED_S)


def learns(draft: Draft) -> bool:
    """Whether who routes to a fleet has errors that must be found out."""
    return draft.router not in (RouterKind.NONE, RouterKind.ORACLE)


def quick_dispatch(draft: Draft, confusion: Confusion | None, seed: int) -> Dispatch:
    """Who routes: a router as a table of its errors."""
    if draft.threshold_tokens is None:
        return Single()
    return Oracle(draft.threshold_tokens) if confusion is None else Confused(confusion, seed)
