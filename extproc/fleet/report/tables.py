"""The tables of a plan, as text in cells, for a page and a terminal alike. A column without any figure is left out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from extproc.fleet.answers import (
    Baseline,
    Confirmed,
    FleetPlan,
    Interval,
    Measured,
    Plan,
)
from extproc.fleet.report import roles
from extproc.fleet.report.shown import (
    ABSENT,
    count,
    per_mille,
    percent,
    seconds,
    spread,
    tokens,
    usd,
    usd_exact,
)
from extproc.fleet.report.wording import ROUTERS


class Column(NamedTuple):
    """Of a table."""

    title: str
    hint: str = ""
    """What it means, where that is not plain."""
    numeric: bool = True


class Row(NamedTuple):
    """Of a table."""

    cells: tuple[str, ...]
    mark: str = ""
    """`chosen` for what is recommended, `out` for what cannot be built."""


class Table(NamedTuple):
    """As many cells in each row as there are columns."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def table(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """Without the columns in which nothing stands."""
    kept_rows = tuple(rows)
    kept = [at for at, column in enumerate(columns) if any(row.cells[at] not in {ABSENT, ""} for row in kept_rows)]
    shorter = tuple(Row(tuple(row.cells[at] for at in kept), row.mark) for row in kept_rows)
    return Table(tuple(columns[at] for at in kept), shorter)


def layout(fleet: FleetPlan) -> str:
    """`65 × A100-80GB TP 4 short + 20 × A100-80GB TP 4 long`; empty pools are left out."""
    two = len(fleet.pools) > 1
    found = [pool for pool in fleet.pools if pool.instances]
    return " + ".join(f"{count(pool.instances)} × {pool.instance}" + (f" {pool.pool}" if two else "") for pool in found)


def costs(plan: Plan) -> Table:
    """What each fleet costs, and saves against the two baselines that somebody could run."""
    columns = (
        Column("Fleet", numeric=False),
        Column("Router", numeric=False),
        Column("Threshold", "tokens"),
        Column("Pools", "instances × GPUs", numeric=False),
        Column("GPUs", "closed form"),
        Column("GPUs", "simulated (mean need)"),
        Column("USD/hour"),
        Column("USD/year", "of 8,760 hours"),
        Column("Saving vs B1", "vLLM's defaults"),
        Column("Saving vs B2", "one tuned pool"),
    )
    return table(columns, (marked(plan, fleet, _cost_cells(plan, fleet)) for fleet in plan.fleets))


def _cost_cells(plan: Plan, fleet: FleetPlan) -> tuple[str, ...]:
    head = (
        fleet.name,
        ROUTERS[fleet.router],
        ABSENT if fleet.threshold_tokens is None else tokens(fleet.threshold_tokens),
    )
    if fleet.infeasible is not None:
        return (*head, f"cannot be built: {fleet.infeasible}", *[ABSENT] * 6)
    savings = [roles.saving(plan, fleet, kind) for kind in (Baseline.B1, Baseline.B2)]
    return (
        *head, layout(fleet), count(fleet.gpus_closed_form), _simulated_gpus(fleet), usd_exact(fleet.usd_per_hour),
        usd(fleet.usd_per_year), *map(_saving, savings),
    )  # fmt: skip


def _saving(share: Interval | None) -> str:
    """What costs more than twice as much is said so: a saving of −306 % tells nobody anything."""
    if share is None:
        return ABSENT
    return spread(share, percent) if share.mean >= -1 else f"costs {count(1 - share.mean)} ×"


def _simulated_gpus(fleet: FleetPlan) -> str:
    """What is enough in every replication, and the interval of what they need on average."""
    if not roles.simulated(fleet):
        return ABSENT
    found = fleet.gpu_range
    known = found is not None and found.low < found.high
    return count(fleet.gpus) + (f" ({count(found.low)} to {count(found.high)})" if found and known else "")


def services(plan: Plan) -> Table:
    """What users get from each fleet that was simulated, at its worst."""
    columns = (
        Column("Fleet", numeric=False),
        Column("TTFT P99", "first token"),
        Column("TPOT P99", "further tokens"),
        Column("Within SLO", "of all arrivals"),
        Column("Preempted"),
        Column("Rejected"),
        Column("Truncated"),
        Column("Under", "sent short, does not fit"),
        Column("Over", "sent long, would fit"),
    )
    found = [fleet for fleet in plan.fleets if fleet.confirmed is not None]
    return table(columns, (marked(plan, fleet, _service_cells(fleet)) for fleet in found))


def _service_cells(fleet: FleetPlan) -> tuple[str, ...]:
    confirmed = fleet.confirmed
    assert confirmed is not None
    figures = dict(zip(FIGURES, figures_of(confirmed.fleet), strict=True))
    worst = [figures[name] for name in FIGURES if "P50" not in name][:6]
    return (fleet.name, *worst, *misroutes(confirmed, pools=len(fleet.pools)))


def misroutes(confirmed: Confirmed, *, pools: int) -> tuple[str, str]:
    """Under and over; nothing where nobody routes."""
    if pools == 1:
        return ABSENT, ABSENT
    return spread(confirmed.under, percent), spread(confirmed.over, percent)


FIGURES = (
    "First token, half of the requests (TTFT P50)",
    "First token, 99 in 100 (TTFT P99)",
    "Each further token, half of the requests (TPOT P50)",
    "Each further token, 99 in 100 (TPOT P99)",
    "Requests within the objective",
    "Preempted: put off and redone",
    "Rejected",
    "Truncated: answer cut off",
    "Running at a time, on average",
    "KV cache used, on average",
)


def figures_of(found: Measured) -> tuple[str, ...]:
    """In the order of `FIGURES`."""
    times = (found.ttft_p50_s, found.ttft_p99_s, found.tpot_p50_s, found.tpot_p99_s)
    return (
        *(spread(time_s, seconds) for time_s in times),
        spread(found.slo_share, percent),
        spread(found.preemptions_per_mille, per_mille),
        *(spread(share, percent) for share in (found.rejected, found.truncated)),
        spread(found.running_mean, count),
        spread(found.kv_mean, percent),
    )


def figures(parts: Sequence[tuple[Column, Measured]]) -> Table:
    """A row for each figure, a column for each part; rows in which nothing stands are left out."""
    cells = [figures_of(measured) for _, measured in parts]
    rows = (Row((name, *found)) for name, *found in zip(FIGURES, *cells, strict=True))
    kept = tuple(row for row in rows if any(cell != ABSENT for cell in row.cells[1:]))
    return Table((Column("", numeric=False), *(column for column, _ in parts)), kept)


def users(plan: Plan) -> Table:
    """What a user would notice of each of the fleets to compare."""
    chosen = roles.recommended(plan)
    fleets = [(fleet, fleet.confirmed.fleet) for fleet in roles.compared(plan) if fleet.confirmed is not None]
    found = figures([(Column(fleet.name, "recommended" if fleet is chosen else ""), each) for fleet, each in fleets])
    return found._replace(rows=found.rows[:8])


def pools(parts: Sequence[roles.Part]) -> Table:
    """What users get from each pool of a fleet, and from the whole."""
    return figures([(Column(part.name if part.pool else "Both together"), part.measured) for part in parts])


def marked(plan: Plan, fleet: FleetPlan, cells: tuple[str, ...]) -> Row:
    """A fleet's row."""
    if fleet.infeasible is not None:
        return Row(cells, "out")
    return Row(cells, "chosen" if fleet is roles.recommended(plan) else "")
