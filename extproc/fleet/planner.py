"""Answers the operator's question: closed form over all thresholds, sizes and confirmation by simulation, a verdict.

Knows no terminal and no report; says how far it is by yielding. What it says of a fleet comes from simulations of that
fleet, each pool sized for the same objective, by the same rules, on the same requests.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from extproc.fleet import tabled, verdicts
from extproc.fleet.answers import Baseline, Confirmed, FleetPlan, Plan, RouterKind, SweepRow
from extproc.fleet.confirm import Replication, confirmed
from extproc.fleet.confusion import Confusion
from extproc.fleet.cost import rate_within_slo
from extproc.fleet.drafts import Draft, Homogeneous, OnePool, PoolDraft, Threshold, ThresholdDrafts, holding_back
from extproc.fleet.jobs import Done, Jobs
from extproc.fleet.options import PlanOptions, completed
from extproc.fleet.sized import Sized
from extproc.fleet.tasks import Confirm, Learn, Learned, Size, learns
from extproc.fleet.unpriced import without_money
from extproc.fleet.warmup import Compile, is_due

_ROUTERS = (RouterKind.ANYTIME, RouterKind.EMA, RouterKind.FIXED, RouterKind.ORACLE)
_TRIED_SAME, _TRIED_OTHER = 8, 3
"""Thresholds that are simulated, with one seed: the closed form, which knows no router, may like the wrong ones."""
_HOPELESS = 1.5
"""Times the cheapest by the closed form: what it finds so dear is not simulated. It is rarely a third off."""
_AGAIN_SAME, _AGAIN_OTHER = 3, 1
"""Of those the cheapest, with another one."""
_GROWTHS = 2
"""How often a fleet grows, at most, that misses the objective when it is simulated whole."""
_COMPILING = "closed form; compiling the simulator, once on a machine (most of a minute)"
_ROUTED_BY = {
    RouterKind.ANYTIME: "our router",
    RouterKind.EMA: "the published router",
    RouterKind.FIXED: "a router that takes four bytes for a token",
    RouterKind.ORACLE: "a router that knows the truth",
}


class Progress(NamedTuple):
    """How far a plan is."""

    what: str
    done: int
    of: int


_Needed = tuple[float | None, ...]
"""Instances of each pool; None for one that no number suffices for."""
_Key = tuple[RouterKind, int, int]
"""A router, its threshold, a seed."""


def _key(draft: Draft, seed: int) -> _Key:
    return draft.router, draft.threshold_tokens or 0, seed


def _split_key(draft: Draft) -> tuple[Baseline, int | None, bool]:
    """Equal for fleets of about the same size: our router's are near the truth's, others' are not."""
    return draft.baseline, draft.threshold_tokens, draft.router in {RouterKind.ANYTIME, RouterKind.ORACLE}


class Planner:
    """One question. Iterate `steps` to its end, then ask for the `plan`."""

    def __init__(self, options: PlanOptions, jobs: Jobs, *, confirm: bool = True) -> None:
        """Nothing is computed yet.

        Args:
            options: the question.
            jobs: where it is computed.
            confirm: size and confirm fleets by simulation; else the closed form is all there is.

        Raises:
            ConfigurationError: nothing can serve this.
        """
        self._options, self._jobs, self._confirm = completed(options), jobs, confirm
        self._learned: dict[_Key, Learned] = {}
        self.plan: Plan | None = None

    def steps(self) -> Iterator[Progress]:
        """Do it, a piece at a time."""
        started_s = time.perf_counter()
        yield Progress("closed form", 0, 1)
        baselines: Done[Homogeneous] = Done(1)
        yield from self._begin(baselines)
        one_pool = baselines.all[0]
        rows: Done[ThresholdDrafts] = Done(len(self._options.tried_thresholds()))
        yield from self._each("closed form", self._thresholds(one_pool), rows)
        if self._confirm:
            yield from self._simulated(one_pool, rows.all, started_s)
            return
        fleets = [_calculated(draft) for draft in [*one_pool.drafts, *_cheapest_calculated(rows.all)]]
        plans = tabled.fleet_plans(self._options, fleets, {}, simulated=False)
        sweep = tabled.sweep(rows.all, [], one_pool)
        self.plan = self._conclude(fleets, plans, sweep, time.perf_counter() - started_s)

    def _begin(self, baselines: Done[Homogeneous]) -> Iterator[Progress]:
        """The baselines by the closed form; the simulator is compiled beside that, where this machine never did."""
        tasks: list[object] = [OnePool(self._options)]
        if not (self._confirm and is_due()):
            yield from self._each("closed form", tasks, baselines)
            return
        yield Progress(_COMPILING, 0, 2)
        yield from self._each(_COMPILING, [*tasks, Compile()], baselines)

    def _simulated(self, one_pool: Homogeneous, rows: list[ThresholdDrafts], started_s: float) -> Iterator[Progress]:
        """Size candidates and fleets by simulation, and confirm them."""
        priced: list[Sized] = []
        yield from self._price(_worth_trying(rows), list(one_pool.drafts[1:]), priced)
        fleets: list[Sized] = []
        single = {fleet.draft.baseline: fleet.draft for fleet in priced if fleet.draft.threshold_tokens is None}
        drafts = [*({draft.baseline: draft for draft in one_pool.drafts} | single).values(), *_splits(priced)]
        yield from self._learn("sizing", drafts, range(self._options.seeds))
        yield from self._size("sizing", drafts, range(self._options.seeds), fleets, priced)
        found: dict[str, Confirmed] = {}
        yield from self._confirm_all(fleets, found)
        plans = tabled.fleet_plans(self._options, fleets, found, simulated=True)
        sweep = tabled.sweep(rows, priced, one_pool)
        self.plan = self._conclude(fleets, plans, sweep, time.perf_counter() - started_s)

    def _each(self, what: str, tasks: list, done: Done) -> Iterator[Progress]:  # type: ignore[type-arg]
        for count, _ in enumerate(self._jobs.perform(tasks, done), 1):
            yield Progress(what, count, len(tasks))

    def _thresholds(self, one_pool: Homogeneous) -> list[Threshold]:
        tuned, slots = one_pool.b2.pools[0].spec, one_pool.b0.pools[0].spec
        return [Threshold(self._options, tokens, tuned, slots) for tokens in self._options.tried_thresholds()]

    def _price(self, tried: list[Draft], against: list[Draft], priced: list[Sized]) -> Iterator[Progress]:
        """Size all that is tried once, the cheapest few once more, and what they are held against each time.

        With other seeds than those that judge: else the threshold that was lucky with them would be chosen.
        """
        seed = self._options.seeds
        yield from self._learn("thresholds", tried, range(seed, seed + 1), roughly=True)
        once: list[Sized] = []
        yield from self._size("thresholds", [*tried, *against], range(seed, seed + 1), once)
        candidates = [*_ranked(once), *once[len(tried) :]]
        left = [fleet for fleet in once if fleet not in candidates]
        yield from self._hold_back(candidates, seed)
        chosen = [fleet for fleet in candidates if fleet.instances]
        left += [fleet for fleet in candidates if not fleet.instances]
        again: list[Sized] = []
        # The same errors of routers: that requests are others is what matters here.
        self._learned |= {(*key[:2], seed + 1): learned for key, learned in self._learned.items()}
        yield from self._size("again", [fleet.draft for fleet in chosen], range(seed + 1, seed + 2), again, once)
        both = [
            one._replace(instances=one.instances + other.instances) if other.instances else other
            for one, other in zip(chosen, again, strict=True)
        ]
        priced += [*both, *left]

    def _hold_back(self, fleets: list[Sized], seed: int) -> Iterator[Progress]:
        """Give each fleet but B1 what is best for it: long prompts held back, or not, on the same requests."""
        longest = int(self._options.workload.lengths().prompt_tokens.max())
        tuned = [at for at, fleet in enumerate(fleets) if fleet.draft.baseline is not Baseline.B1]
        variants = [(at, draft) for at in tuned for draft in holding_back(fleets[at].draft, longest)]
        sized: list[Sized] = []
        yield from self._size("long prompts", [draft for _, draft in variants], range(seed, seed + 1), sized, fleets)
        for (at, _), other in zip(variants, sized, strict=True):
            if _usd(other) < _usd(fleets[at]):
                fleets[at] = other

    def _size(
        self, what: str, drafts: list[Draft], seeds: range, sized: list[Sized], before: Sequence[Sized] = ()
    ) -> Iterator[Progress]:
        """Size fleets with each seed, by how their routers err; what came out before is a start.

        What came out with the first seed is one for the others: they begin where the answer is likely to be. A fleet
        that no number makes keep the objective with one seed is given up.
        """
        near = {_split_key(fleet.draft): fleet.means for fleet in before if fleet.instances}
        first: Done[_Needed] = Done(len(drafts))
        yield from self._each(
            what, self._sizes(drafts, seeds[:1], [near.get(_split_key(each)) for each in drafts]), first
        )
        found = [_known(counts) for counts in first.all]
        feasible = [at for at, counts in enumerate(found) if counts is not None]
        others: Done[_Needed] = Done(len(feasible) * (len(seeds) - 1))
        tasks = self._sizes([drafts[at] for at in feasible], seeds[1:], [found[at] for at in feasible])
        yield from self._each(f"{what}, other replications", tasks, others)
        for at, draft in enumerate(drafts):
            later = others.all[feasible.index(at) :: len(feasible)] if at in feasible else []
            sized.append(_sized(draft, [first.all[at], *later]))

    def _sizes(self, drafts: list[Draft], seeds: range, near: Sequence[tuple[float, ...] | None]) -> list[Size]:
        """Tasks, seed by seed."""
        return [
            Size(self._options, draft, seed, self._confusion(draft, seed), begin)
            for seed in seeds
            for draft, begin in zip(drafts, near, strict=True)
        ]

    def _confusion(self, draft: Draft, seed: int) -> Confusion | None:
        learned = self._learned.get(_key(draft, seed))
        return None if learned is None else learned.confusion

    def _learn(self, what: str, drafts: list[Draft], seeds: range, *, roughly: bool = False) -> Iterator[Progress]:
        """Each router once for a threshold and a seed, whatever fleets it routes to."""
        keys = sorted({_key(draft, seed) for seed in seeds for draft in drafts if learns(draft)})
        learned: Done[Learned] = Done(len(keys))
        yield from self._each(f"{what}, routers", [Learn(self._options, *key, roughly) for key in keys], learned)
        self._learned |= dict(zip(keys, learned.all, strict=True))

    def _confirm_all(self, fleets: list[Sized], found: dict[str, Confirmed]) -> Iterator[Progress]:
        """Simulate each fleet whole; one that misses the objective grows and is simulated again, a few times."""
        pending = [at for at, fleet in enumerate(fleets) if fleet.instances]
        yield from self._confirm_each(fleets, pending, found)
        for _ in range(_GROWTHS):
            pending = [at for at in pending if self._misses(found[fleets[at].draft.name])]
            for at in pending:
                fleets[at] = fleets[at].grown()
            yield from self._confirm_each(fleets, pending, found)

    def _confirm_each(self, fleets: list[Sized], pending: list[int], found: dict[str, Confirmed]) -> Iterator[Progress]:
        """Simulate these whole, as large as they are now."""
        seeds = self._options.seeds
        tasks = [self._confirmation(fleets[at], seed) for at in pending for seed in range(seeds)]
        runs: Done[Replication] = Done(len(tasks))
        yield from self._each("confirming", tasks, runs)
        for turn, at in enumerate(pending):
            found[fleets[at].draft.name] = confirmed(runs.all[turn * seeds : (turn + 1) * seeds])

    def _misses(self, found: Confirmed) -> bool:
        return found.fleet.slo_share.mean < self._options.slo.percentile / 100

    def _confirmation(self, fleet: Sized, seed: int) -> Confirm:
        return Confirm(self._options, fleet.draft, fleet.final, seed, self._learned.get(_key(fleet.draft, seed)))

    def _conclude(
        self, fleets: list[Sized], plans: tuple[FleetPlan, ...], sweep: tuple[SweepRow, ...], seconds: float
    ) -> Plan:
        usd = [fleet.usd_per_hour() for fleet in fleets]
        priced = self._options.priced
        found = verdicts.conclude(
            usd, plans, sweep, by_chance=self._confirm, priced=priced, percentile=self._options.slo.percentile
        )
        sentence, notes = found.sentence, verdicts.notes(self._options, plans, found.recommended)
        if not self._confirm:
            sentence = f"By the closed form alone, not confirmed by simulation: {sentence}"
        plan = Plan(
            self._options.ask(), found.verdict, sentence, plans, found.recommended, found.savings, sweep, notes,
            seconds,
        )  # fmt: skip
        return plan if priced else without_money(plan)


def _worth_trying(rows: list[ThresholdDrafts]) -> list[Draft]:
    """Two pools with our router at the thresholds that the closed form likes best, on the same and on other hardware.

    The closed form knows no router: where many requests lie at a threshold, another one may cost less in the end.
    """
    same = sorted((row for row in rows if row.same), key=lambda row: row.usd_same)[:_TRIED_SAME]
    other = sorted((row for row in rows if _differs(row)), key=lambda row: row.usd_other)[:_TRIED_OTHER]
    return [
        *(
            _split(row.threshold_tokens, Baseline.SPLIT, RouterKind.ANYTIME, row.same)
            for row in same
            if row.usd_same <= _HOPELESS * same[0].usd_same
        ),
        *(
            _split(row.threshold_tokens, Baseline.SPLIT_HARDWARE, RouterKind.ANYTIME, row.other)
            for row in other
            if row.usd_other <= _HOPELESS * other[0].usd_other
        ),
    ]


def _cheapest_calculated(rows: list[ThresholdDrafts]) -> list[Draft]:
    """The two pools that the closed form likes best, on the same and on other hardware."""
    tried = _worth_trying(rows)
    kinds = (Baseline.SPLIT, Baseline.SPLIT_HARDWARE)
    best = (next((draft for draft in tried if draft.baseline is kind), None) for kind in kinds)
    return [draft for draft in best if draft is not None]


def _calculated(draft: Draft) -> Sized:
    """As large as the closed form says."""
    if any(not rate_within_slo(pool.sustains) for pool in draft.pools):
        return Sized(replace(draft, infeasible="by the closed form no instance keeps the objective"), ())
    return Sized(draft, (tuple(pool.instances for pool in draft.pools),))


def _differs(row: ThresholdDrafts) -> bool:
    """Whether the short pool has other hardware than the long one."""
    return len(row.other) > 1 and row.other[0].spec.name != row.other[1].spec.name


def _splits(priced: list[Sized]) -> list[Draft]:
    """The cheapest two pools on the same hardware with each router, and on other hardware with ours."""
    drafts = []
    if same := _cheapest(priced, Baseline.SPLIT):
        assert same.threshold_tokens is not None
        drafts += [_split(same.threshold_tokens, Baseline.SPLIT, router, same.pools) for router in _ROUTERS]
    if other := _cheapest(priced, Baseline.SPLIT_HARDWARE):
        drafts.append(other)
    return drafts


def _ranked(priced: list[Sized]) -> list[Sized]:
    """The cheapest few on the same and on other hardware."""
    kinds = ((Baseline.SPLIT, _AGAIN_SAME), (Baseline.SPLIT_HARDWARE, _AGAIN_OTHER))
    return [fleet for kind, count in kinds for fleet in sorted(_of(priced, kind), key=_usd)[:count]]


def _cheapest(priced: list[Sized], baseline: Baseline) -> Draft | None:
    """Of those that were sized more than once."""
    fleets = [fleet for fleet in _of(priced, baseline) if len(fleet.instances) > 1]
    return min(fleets, key=_usd).draft if fleets else None


def _of(priced: list[Sized], baseline: Baseline) -> list[Sized]:
    return [fleet for fleet in priced if fleet.instances and fleet.draft.baseline is baseline]


def _usd(fleet: Sized) -> float:
    """Mean over what was simulated; infinite where no number keeps the objective."""
    return sum(fleet.usd_per_hour()) / len(fleet.instances) if fleet.instances else math.inf


def _split(threshold_tokens: int, baseline: Baseline, router: RouterKind, pools: tuple[PoolDraft, ...]) -> Draft:
    hardware = "the same hardware" if baseline is Baseline.SPLIT else "the hardware that suits each"
    name = f"{'two pools' if baseline is Baseline.SPLIT else 'two pools, other hardware'}, {router.value}"
    sentence = (
        f"A short pool for requests of up to {threshold_tokens:,} tokens and a long one, on {hardware}, each with"
        f" its own batch settings; {_ROUTED_BY[router]} decides."
    )
    return Draft(name, sentence, baseline, router, threshold_tokens, pools)


def _known(needed: _Needed) -> tuple[float, ...] | None:
    """Of each pool; None where one cannot be sized."""
    known = tuple(count for count in needed if count is not None)
    return known if len(known) == len(needed) else None


def _sized(draft: Draft, needed: list[_Needed]) -> Sized:
    """Whole instances; a pool that nothing comes to has one all the same."""
    if any(count is None for counts in needed for count in counts):
        return Sized(replace(draft, infeasible="no number of instances keeps the objective"), ())
    return Sized(draft, tuple(tuple(max(1, math.ceil(count or 0.0)) for count in counts) for counts in needed))
