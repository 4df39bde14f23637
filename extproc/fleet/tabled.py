"""Says what was found as the nouns of a plan: fleets with their savings, thresholds. Finds nothing out by itself.

Savings are replication by replication: fleets of one seed saw the same requests.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from extproc.fleet.answers import Baseline, Confirmed, FleetPlan, Interval, PoolPlan, SweepRow
from extproc.fleet.confirm import interval
from extproc.fleet.cost import rate_within_slo
from extproc.fleet.drafts import Homogeneous, PoolDraft, ThresholdDrafts
from extproc.fleet.options import PlanOptions
from extproc.fleet.sized import Sized

_Usd = dict[Baseline, list[float]]
"""Price per hour of each baseline, by replication; empty where it was not sized."""


def fleet_plans(
    options: PlanOptions, fleets: Sequence[Sized], found: dict[str, Confirmed], *, simulated: bool
) -> tuple[FleetPlan, ...]:
    """Fleets with their sizes, what simulations of them said by their names, and what they save.

    Without simulations there are no intervals, and savings are left to who compares sums.
    """
    plans = [_fleet_plan(options, fleet, found.get(fleet.draft.name)) for fleet in fleets]
    if not simulated:
        return tuple(replace(plan, gpu_range=None, usd_range=None) for plan in plans)
    usd = _by_baseline(fleets)
    return tuple(_with_savings(plan, fleet, usd) for plan, fleet in zip(plans, fleets, strict=True))


def _by_baseline(fleets: Sequence[Sized]) -> _Usd:
    return {fleet.draft.baseline: fleet.usd_per_hour() for fleet in fleets}


def _fleet_plan(options: PlanOptions, fleet: Sized, found: Confirmed | None) -> FleetPlan:
    draft = fleet.draft
    counts = fleet.final if fleet.instances else tuple(pool.instances for pool in draft.pools)
    pools = tuple(_pool_plan(options, pool, count) for pool, count in zip(draft.pools, counts, strict=True))
    gpus: Interval | None = interval(fleet.gpus(), least=0.0) if fleet.instances else None
    usd: Interval | None = interval(fleet.usd_per_hour(), least=0.0) if fleet.instances else None
    return FleetPlan(
        draft.name, draft.sentence, draft.baseline, draft.router, draft.threshold_tokens, pools, draft.infeasible,
        gpus, usd, found,
    )  # fmt: skip


def _with_savings(plan: FleetPlan, fleet: Sized, against: _Usd) -> FleetPlan:
    """Against both baselines that somebody could run, unless it is one."""
    usd = fleet.usd_per_hour()
    b1, b2 = (None if plan.baseline is kind else _saved(usd, against[kind]) for kind in (Baseline.B1, Baseline.B2))
    return replace(plan, saving_b1=b1, saving_b2=b2)


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
        long_prefill_token_threshold=spec.long_prefill_token_threshold,
        kv_blocks=spec.kv_blocks,
    )


def sweep(rows: Sequence[ThresholdDrafts], priced: Sequence[Sized], one_pool: Homogeneous) -> tuple[SweepRow, ...]:
    """All thresholds by the closed form; those that were tried by simulation too, beside baselines of equal seeds.

    Args:
        rows: by the closed form.
        priced: thresholds that were tried and the baselines, replication by replication on the same requests.
        one_pool: the baselines by the closed form.
    """
    simulated = {
        fleet.draft.threshold_tokens: fleet.usd_per_hour()
        for fleet in priced
        if fleet.instances and fleet.draft.baseline is Baseline.SPLIT
    }
    against = _by_baseline(priced)
    return tuple(_sweep_row(row, one_pool, simulated.get(row.threshold_tokens, []), against) for row in rows)


def _saved(usd: list[float], against: list[float]) -> Interval | None:
    """Each replication against that of the baseline on the same requests; None where either has none.

    A threshold that was tried with one seed alone is held against the first of the baseline.
    """
    pairs = list(zip(usd, against, strict=False))
    return interval([1.0 - ours / theirs for ours, theirs in pairs], most=1.0) if pairs else None


def _sweep_row(row: ThresholdDrafts, one_pool: Homogeneous, simulated: list[float], against: _Usd) -> SweepRow:
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
        interval(simulated, least=0.0) if simulated else None,
        _saved(simulated, against.get(Baseline.B1, [])),
        _saved(simulated, against.get(Baseline.B2, [])),
    )
