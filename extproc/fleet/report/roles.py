"""Who plays which part in a plan: the baselines, the recommended fleet, the split to look at. Computes ratios only.

Costs are compared like with like: both by simulation where both were simulated, else both by the closed form.
"""

import math
from typing import NamedTuple

from extproc.fleet.answers import HOURS_PER_YEAR, Baseline, FleetPlan, Interval, Measured, Plan, RouterKind
from extproc.fleet.report.wording import POOLS
from extproc.routing.values import Pool

_BASELINES = (Baseline.B1, Baseline.B2, Baseline.B0)


class Part(NamedTuple):
    """A pool or a fleet that was simulated."""

    name: str
    pool: Pool | None
    """None for a fleet."""
    measured: Measured


def recommended(plan: Plan) -> FleetPlan | None:
    """The fleet to build."""
    return None if plan.recommended is None else plan.fleets[plan.recommended]


def baseline(plan: Plan, kind: Baseline) -> FleetPlan | None:
    """The first feasible fleet of that kind."""
    found = (fleet for fleet in plan.fleets if fleet.baseline is kind and fleet.infeasible is None)
    return next(found, None)


def named(plan: Plan, name: str) -> FleetPlan | None:
    """The first fleet of that name, or of the baseline so called."""
    return next((fleet for fleet in plan.fleets if name in {fleet.name, fleet.baseline.value}), None)


def split(plan: Plan) -> FleetPlan | None:
    """The two pools whose pools are worth a look: the recommended ones, else the best confirmed with our router."""
    chosen = recommended(plan)
    if chosen is not None and len(chosen.pools) > 1:
        return chosen
    twos = [fleet for fleet in plan.fleets if len(fleet.pools) > 1 and fleet.infeasible is None]
    twos.sort(key=lambda fleet: (fleet.confirmed is None, fleet.router is not RouterKind.ANYTIME, fleet.usd_per_hour))
    return next(iter(twos), None)


def compared(plan: Plan) -> list[FleetPlan]:
    """Simulated fleets to show side by side: vLLM's defaults, one tuned pool, the recommended one, the split."""
    found = [baseline(plan, Baseline.B1), baseline(plan, Baseline.B2), recommended(plan), split(plan)]
    once: list[FleetPlan] = []
    for fleet in found:
        if fleet is not None and fleet.confirmed is not None and not any(fleet is other for other in once):
            once.append(fleet)
    return once


def parts(fleet: FleetPlan) -> list[Part]:
    """The pools of a simulated fleet, and the fleet itself where it has several."""
    if fleet.confirmed is None:
        return []
    pools = zip(fleet.pools, fleet.confirmed.pools, strict=True)
    found = [Part(POOLS[pool.pool], pool.pool, measured) for pool, measured in pools]
    whole = Part(fleet.name, None, fleet.confirmed.fleet)
    return [*found, whole] if len(found) > 1 else [whole]


def simulated(fleet: FleetPlan) -> bool:
    """Whether its size comes from simulation."""
    return fleet.gpu_range is not None or fleet.confirmed is not None


def usd_closed_form(fleet: FleetPlan) -> float:
    """USD per hour by the closed form."""
    return sum(pool.usd_per_hour / max(1, pool.instances) * pool.instances_closed_form for pool in fleet.pools)


def saving(plan: Plan, fleet: FleetPlan, kind: Baseline) -> Interval | None:
    """Share of the cost of a baseline; None where there is nothing to compare.

    Replication by replication where both were simulated, as the plan has it; else by the closed form.
    """
    other = baseline(plan, kind)
    if other is None or other is fleet or fleet.infeasible is not None:
        return None
    told = fleet.saving_b1 if kind is Baseline.B1 else fleet.saving_b2
    if told is not None or simulated(fleet) or simulated(other):
        return told
    mine, theirs = _calculated(plan, fleet), _calculated(plan, other)
    return Interval(1 - mine / theirs, math.nan, math.nan) if theirs > 0 and math.isfinite(mine) else None


def _calculated(plan: Plan, fleet: FleetPlan) -> float:
    return usd_closed_form(fleet) if plan.ask.priced else fleet.gpus_closed_form


def usd_range(fleet: FleetPlan) -> Interval:
    """USD per year that replications need, each sized alone; without width where none was simulated.

    The fleet itself has what the neediest replication needs, so that its own cost may lie above this.
    """
    if fleet.usd_range is None:
        return Interval(fleet.usd_per_year, fleet.usd_per_year, fleet.usd_per_year)
    return Interval(*(HOURS_PER_YEAR * usd for usd in fleet.usd_range))


def baselines(plan: Plan) -> list[FleetPlan]:
    """The feasible ones of B1, B2, B0, as far as a plan has them."""
    return [fleet for kind in _BASELINES if (fleet := baseline(plan, kind)) is not None]
