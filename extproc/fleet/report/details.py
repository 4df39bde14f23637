"""The tables behind a plan: thresholds, stages, and where closed form and simulation disagree. Text in cells."""

import math
from collections.abc import Sequence

from extproc.fleet.answers import HOURS_PER_YEAR, FleetPlan, Interval, Plan, PoolPlan, SweepRow
from extproc.fleet.report import roles
from extproc.fleet.report.shown import ABSENT, change, count, per_second, percent, spread, tokens, usd
from extproc.fleet.report.tables import Column, Row, Table, marked, table
from extproc.fleet.report.wording import LIMITS, POOLS, STAGES
from extproc.routing.values import Stage


def sweep(plan: Plan) -> Table:
    """What each threshold comes to."""
    chosen = roles.recommended(plan)
    columns = (
        Column("Threshold", "tokens"),
        Column("Short requests", "within the threshold"),
        Column("GPUs"),
        Column("USD/year"),
        Column("USD/year", "simulated"),
        Column("Saving vs B1", "vLLM's defaults"),
        Column("Saving vs B1", "simulated"),
        Column("Saving vs B2", "one tuned pool"),
        Column("Saving vs B2", "simulated"),
        Column("Published formula", "under B0"),
        Column("", numeric=False),
    )
    at = None if chosen is None else chosen.threshold_tokens
    return table(columns, (Row(_sweep_cells(row), _sweep_mark(row, at)) for row in plan.sweep))


def _sweep_mark(row: SweepRow, chosen: int | None) -> str:
    if row.infeasible is not None:
        return "out"
    return "chosen" if row.threshold_tokens == chosen else ""


def _sweep_cells(row: SweepRow) -> tuple[str, ...]:
    head = (tokens(row.threshold_tokens), percent(row.short_share))
    if row.infeasible is not None:
        return (*head, *[ABSENT] * 8, row.infeasible)
    year = HOURS_PER_YEAR
    confirmed = row.confirmed_usd
    return (
        *head, count(row.gpus), usd(year * row.usd_per_hour),
        ABSENT if confirmed is None else spread(Interval(*(year * each for each in confirmed)), usd),
        percent(row.saving_b1), _spread(row.confirmed_b1), percent(row.saving_b2), _spread(row.confirmed_b2),
        percent(row.saving_published), "",
    )  # fmt: skip


def _spread(share: Interval | None) -> str:
    return ABSENT if share is None else spread(share, percent)


def gaps(plan: Plan) -> Table:
    """Where the closed form and the simulation disagree, pool by pool."""
    columns = (
        Column("Fleet", numeric=False),
        Column("Pool", numeric=False),
        Column("Requests/s", "arriving"),
        Column("One instance", "sustains, by closed form"),
        Column("Bound by", numeric=False),
        Column("Instances", "closed form"),
        Column("Instances", "simulated"),
        Column("Gap", "simulated against formula"),
    )
    found = [fleet for fleet in plan.fleets if fleet.infeasible is None]
    return table(columns, (marked(plan, fleet, _gap_cells(fleet, pool)) for fleet in found for pool in fleet.pools))


def _gap_cells(fleet: FleetPlan, pool: PoolPlan) -> tuple[str, ...]:
    formula, found = pool.instances_closed_form, pool.instances
    known = roles.simulated(fleet)
    return (
        fleet.name, POOLS[pool.pool] if len(fleet.pools) > 1 else "one pool", per_second(pool.rate_per_s),
        f"{pool.capacity_per_s:.3g}/s" if math.isfinite(pool.capacity_per_s) else ABSENT,
        LIMITS.get(pool.limit, pool.limit), count(formula), count(found) if known else ABSENT,
        change(found / formula - 1) if known and formula else ABSENT,
    )  # fmt: skip


def stages(plan: Plan) -> Table:
    """By what effort routers settled their decisions."""
    found = [fleet for fleet in plan.fleets if fleet.confirmed is not None and fleet.confirmed.stages]
    return stage_table([(fleet.name, fleet.confirmed.stages) for fleet in found if fleet.confirmed is not None])


def stage_table(found: Sequence[tuple[str, dict[str, float]]]) -> Table:
    """A row for each stage that settled anything, a column for each router; no rows where no router decided."""
    names = [stage for stage in Stage if any(shares.get(stage, 0.0) > 0 for _, shares in found)]
    columns = (
        Column("Settled by", numeric=False),
        *(Column(name) for name, _ in found),
        Column("What it is", numeric=False),
    )
    rows = (
        Row((STAGES[stage][0], *(percent(shares.get(stage, 0.0)) for _, shares in found), STAGES[stage][1]))
        for stage in names
    )
    return Table(columns, tuple(rows))
