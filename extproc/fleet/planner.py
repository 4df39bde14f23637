"""Answers the operator's question: closed form over all thresholds, sizes and confirmation by simulation, a verdict.

Knows no terminal and no report; says how far it is by yielding. What it says of a fleet comes from simulations of that
fleet, each pool sized for the same objective, by the same rules, on the same requests.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from extproc.fleet import verdicts
from extproc.fleet.answers import (
    Baseline,
    Confirmed,
    FleetPlan,
    Interval,
    Plan,
    PoolPlan,
    RouterKind,
    SweepRow,
)
from extproc.fleet.confirm import Replication, confirmed, interval
from extproc.fleet.confusion import Confusion
from extproc.fleet.cost import rate_within_slo
from extproc.fleet.drafts import Draft, Homogeneous, OnePool, PoolDraft, Threshold, ThresholdDrafts
from extproc.fleet.jobs import Done, Jobs
from extproc.fleet.options import PlanOptions, completed
from extproc.fleet.tasks import Confirm, Learn, Size, learns

_ROUTERS = (RouterKind.ANYTIME, RouterKind.EMA, RouterKind.FIXED, RouterKind.ORACLE)
_TRIED_SAME, _TRIED_OTHER = 8, 3
"""Thresholds that are simulated, with one seed: the closed form, which knows no router, may like the wrong ones."""
_AGAIN_SAME, _AGAIN_OTHER = 3, 1
"""Of those the cheapest, with another one."""
_GROWTH, _GROWTHS = 1.04, 2
"""By how much a fleet grows that misses the objective when it is simulated whole, and how often at most."""
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


class Sized(NamedTuple):
    """A fleet with its size in each replication."""

    draft: Draft
    instances: tuple[tuple[int, ...], ...]
    """[seed][pool]; empty where no number keeps the objective."""

    @property
    def final(self) -> tuple[int, ...]:
        """For each pool: enough in every replication."""
        return tuple(max(column) for column in zip(*self.instances, strict=True))

    def grown(self) -> "Sized":
        """A little larger, in every replication."""
        larger = tuple(tuple(math.ceil(_GROWTH * count) for count in counts) for counts in self.instances)
        return self._replace(instances=larger)

    def usd_per_hour(self) -> list[float]:
        """By replication."""
        prices = [pool.spec.usd_per_hour for pool in self.draft.pools]
        return [sum(n * usd for n, usd in zip(counts, prices, strict=True)) for counts in self.instances]

    def gpus(self) -> list[float]:
        """By replication."""
        each = [pool.spec.gpus for pool in self.draft.pools]
        return [float(sum(n * gpus for n, gpus in zip(counts, each, strict=True))) for counts in self.instances]


_Key = tuple[RouterKind, int, int]
"""A router, its threshold, a seed."""


def _key(draft: Draft, seed: int) -> _Key:
    return draft.router, draft.threshold_tokens or 0, seed


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
        self._errors: dict[_Key, Confusion] = {}
        self.plan: Plan | None = None

    def steps(self) -> Iterator[Progress]:
        """Do it, a piece at a time."""
        started_s = time.perf_counter()
        yield Progress("closed form", 0, 1)
        baselines: Done[Homogeneous] = Done(1)
        yield from self._each("closed form", [OnePool(self._options)], baselines)
        one_pool = baselines.all[0]
        rows: Done[ThresholdDrafts] = Done(len(self._options.tried_thresholds()))
        yield from self._each("closed form", self._thresholds(one_pool), rows)
        if self._confirm:
            yield from self._simulated(one_pool, rows.all, started_s)
            return
        fleets = [_calculated(draft) for draft in [*one_pool.drafts, *_cheapest_calculated(rows.all)]]
        plans = tuple(_unsimulated(_fleet_plan(self._options, fleet, None)) for fleet in fleets)
        sweep = _sweep(rows.all, [], fleets, one_pool)
        self.plan = self._conclude(fleets, plans, sweep, time.perf_counter() - started_s)

    def _simulated(self, one_pool: Homogeneous, rows: list[ThresholdDrafts], started_s: float) -> Iterator[Progress]:
        """Size candidates and fleets by simulation, and confirm them."""
        priced: list[Sized] = []
        yield from self._price(_worth_trying(rows), priced)
        fleets: list[Sized] = []
        yield from self._size("sizing", [*one_pool.drafts, *_splits(priced)], range(self._options.seeds), fleets)
        found: dict[str, Confirmed] = {}
        yield from self._confirm_all(fleets, found)
        plans = tuple(_fleet_plan(self._options, fleet, found.get(fleet.draft.name)) for fleet in fleets)
        sweep = _sweep(rows, priced, fleets, one_pool)
        self.plan = self._conclude(fleets, plans, sweep, time.perf_counter() - started_s)

    def _each(self, what: str, tasks: list, done: Done) -> Iterator[Progress]:  # type: ignore[type-arg]
        for count, _ in enumerate(self._jobs.perform(tasks, done), 1):
            yield Progress(what, count, len(tasks))

    def _thresholds(self, one_pool: Homogeneous) -> list[Threshold]:
        tuned, slots = one_pool.b2.pools[0].spec, one_pool.b0.pools[0].spec
        return [Threshold(self._options, tokens, tuned, slots) for tokens in self._options.tried_thresholds()]

    def _price(self, tried: list[Draft], priced: list[Sized]) -> Iterator[Progress]:
        """Size all that is tried once, the cheapest few once more.

        With other seeds than those that judge: else the threshold that was lucky with them would be chosen.
        """
        seed = self._options.seeds
        once: list[Sized] = []
        yield from self._size("thresholds", tried, range(seed, seed + 1), once)
        again: list[Sized] = []
        chosen = [fleet for fleet in _ranked(once) if fleet.instances]
        yield from self._size("thresholds", [fleet.draft for fleet in chosen], range(seed + 1, seed + 2), again)
        both = [
            one._replace(instances=one.instances + other.instances) if other.instances else other
            for one, other in zip(chosen, again, strict=True)
        ]
        priced += [*both, *(fleet for fleet in once if fleet not in chosen)]

    def _size(self, what: str, drafts: list[Draft], seeds: range, sized: list[Sized]) -> Iterator[Progress]:
        """Size fleets with each seed, after finding out how their routers err."""
        yield from self._learn(what, drafts, seeds)
        tasks = [
            Size(self._options, draft, seed, self._errors.get(_key(draft, seed))) for seed in seeds for draft in drafts
        ]
        needed: Done[tuple[float | None, ...]] = Done(len(tasks))
        yield from self._each(what, tasks, needed)
        sized += [_sized(draft, needed.all[at :: len(drafts)]) for at, draft in enumerate(drafts)]

    def _learn(self, what: str, drafts: list[Draft], seeds: range) -> Iterator[Progress]:
        """Each router once for a threshold and a seed, whatever fleets it routes to."""
        keys = {_key(draft, seed) for seed in seeds for draft in drafts if learns(draft)} - self._errors.keys()
        tasks = [Learn(self._options, *key) for key in sorted(keys)]
        learned: Done[Confusion] = Done(len(tasks))
        yield from self._each(f"{what}, routers", tasks, learned)
        self._errors |= dict(zip(sorted(keys), learned.all, strict=True))

    def _confirm_all(self, fleets: list[Sized], found: dict[str, Confirmed]) -> Iterator[Progress]:
        """Simulate each fleet whole; one that misses the objective grows, a few times."""
        pending = [at for at, fleet in enumerate(fleets) if fleet.instances]
        for _ in range(1 + _GROWTHS):
            tasks = [self._confirmation(fleets[at], seed) for at in pending for seed in range(self._options.seeds)]
            runs: Done[Replication] = Done(len(tasks))
            yield from self._each("confirming", tasks, runs)
            for turn, at in enumerate(pending):
                of_fleet = runs.all[turn * self._options.seeds : (turn + 1) * self._options.seeds]
                found[fleets[at].draft.name] = confirmed(of_fleet)
            pending = [at for at in pending if self._misses(found[fleets[at].draft.name])]
            for at in pending:
                fleets[at] = fleets[at].grown()

    def _misses(self, found: Confirmed) -> bool:
        return found.fleet.slo_share.mean < self._options.slo.percentile / 100

    def _confirmation(self, fleet: Sized, seed: int) -> Confirm:
        return Confirm(self._options, fleet.draft, fleet.final, seed, self._errors.get(_key(fleet.draft, seed)))

    def _conclude(
        self, fleets: list[Sized], plans: tuple[FleetPlan, ...], sweep: tuple[SweepRow, ...], seconds: float
    ) -> Plan:
        found = verdicts.conclude([fleet.usd_per_hour() for fleet in fleets], plans, sweep)
        if not self._confirm:
            found = found._replace(sentence=f"By the closed form alone, not confirmed by simulation: {found.sentence}")
        notes = verdicts.notes(self._options, plans, found.recommended)
        return Plan(
            self._options.ask(), found.verdict, found.sentence, plans, found.recommended, found.savings, sweep, notes,
            seconds,
        )  # fmt: skip


def _worth_trying(rows: list[ThresholdDrafts]) -> list[Draft]:
    """Two pools with our router at the thresholds that the closed form likes best, on the same and on other hardware.

    The closed form knows no router: where many requests lie at a threshold, another one may cost less in the end.
    """
    same = sorted((row for row in rows if row.same), key=lambda row: row.usd_same)[:_TRIED_SAME]
    other = sorted((row for row in rows if _differs(row)), key=lambda row: row.usd_other)[:_TRIED_OTHER]
    return [
        *(_split(row.threshold_tokens, Baseline.SPLIT, RouterKind.ANYTIME, row.same) for row in same),
        *(_split(row.threshold_tokens, Baseline.SPLIT_HARDWARE, RouterKind.ANYTIME, row.other) for row in other),
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


def _unsimulated(plan: FleetPlan) -> FleetPlan:
    """Without intervals: there were no replications."""
    return replace(plan, gpu_range=None, usd_range=None)


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
    """Mean over what was simulated."""
    return sum(fleet.usd_per_hour()) / len(fleet.instances)


def _split(threshold_tokens: int, baseline: Baseline, router: RouterKind, pools: tuple[PoolDraft, ...]) -> Draft:
    hardware = "the same hardware" if baseline is Baseline.SPLIT else "the hardware that suits each"
    name = f"{'two pools' if baseline is Baseline.SPLIT else 'two pools, other hardware'}, {router.value}"
    sentence = (
        f"A short pool for requests of up to {threshold_tokens:,} tokens and a long one, on {hardware}, each with"
        f" its own batch settings; {_ROUTED_BY[router]} decides."
    )
    return Draft(name, sentence, baseline, router, threshold_tokens, pools)


def _sized(draft: Draft, needed: list[tuple[float | None, ...]]) -> Sized:
    """Whole instances; a pool that nothing comes to has one all the same."""
    if any(count is None for counts in needed for count in counts):
        return Sized(replace(draft, infeasible="no number of instances keeps the objective"), ())
    return Sized(draft, tuple(tuple(max(1, math.ceil(count or 0.0)) for count in counts) for counts in needed))


def _fleet_plan(options: PlanOptions, fleet: Sized, found: Confirmed | None) -> FleetPlan:
    draft = fleet.draft
    counts = fleet.final if fleet.instances else tuple(pool.instances for pool in draft.pools)
    pools = tuple(_pool_plan(options, pool, count) for pool, count in zip(draft.pools, counts, strict=True))
    gpus: Interval | None = interval(fleet.gpus()) if fleet.instances else None
    usd: Interval | None = interval(fleet.usd_per_hour()) if fleet.instances else None
    return FleetPlan(
        draft.name, draft.sentence, draft.baseline, draft.router, draft.threshold_tokens, pools, draft.infeasible,
        gpus, usd, found,
    )  # fmt: skip


def _pool_plan(options: PlanOptions, pool: PoolDraft, instances: int) -> PoolPlan:
    spec, sustained = pool.spec, rate_within_slo(pool.sustains)
    bound = pool.sustains.within_slo or pool.sustains.saturated
    return PoolPlan(
        pool=pool.pool,
        instances=instances,
        instances_closed_form=pool.instances,
        instance=spec.name,
        gpus=instances * spec.gpus,
        usd_per_hour=instances * spec.usd_per_hour,
        command=" ".join(("vllm serve", *spec.flags)),
        rate_per_s=pool.share * options.rate_per_s,
        capacity_per_s=sustained,
        limit=(pool.sustains.breaks or bound.limit).value if not sustained else bound.limit.value,
        max_model_len=spec.max_model_len,
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        kv_blocks=spec.kv_blocks,
    )


def _sweep(
    rows: list[ThresholdDrafts], priced: list[Sized], fleets: list[Sized], one_pool: Homogeneous
) -> tuple[SweepRow, ...]:
    """All thresholds by the closed form; those that were tried by simulation too, beside baselines of equal seeds."""
    simulated = {
        fleet.draft.threshold_tokens: fleet.usd_per_hour()
        for fleet in priced
        if fleet.instances and fleet.draft.baseline is Baseline.SPLIT
    }
    against = {fleet.draft.baseline: fleet.usd_per_hour() for fleet in fleets}
    return tuple(_sweep_row(row, one_pool, simulated.get(row.threshold_tokens, []), against) for row in rows)


def _saved(usd: list[float], against: list[float]) -> Interval | None:
    """Each replication against one of the baseline, which saw other requests."""
    pairs = list(zip(usd, against, strict=False))
    return interval([1.0 - ours / theirs for ours, theirs in pairs]) if pairs else None


def _sweep_row(
    row: ThresholdDrafts, one_pool: Homogeneous, simulated: list[float], against: dict[Baseline, list[float]]
) -> SweepRow:
    usd = row.usd_same
    return SweepRow(
        row.threshold_tokens,
        row.short_share,
        sum(pool.instances * pool.spec.gpus for pool in row.same),
        usd if row.same else math.nan,
        1.0 - usd / one_pool.b1.usd_per_hour if row.same else math.nan,
        1.0 - usd / one_pool.b2.usd_per_hour if row.same else math.nan,
        row.published,
        row.infeasible,
        interval(simulated) if simulated else None,
        _saved(simulated, against[Baseline.B1]),
        _saved(simulated, against[Baseline.B2]),
    )
