"""What `dualpool bench-sim` found, as tables and as JSON, beside what it is held to. Measures nothing."""

import json
from collections.abc import Sequence

from rich.console import Console

from extproc.fleet.report.console import print_table
from extproc.fleet.report.tables import Column, Row, Table, table
from extproc.fleet.speed import INSTANCES, Held, Long, Speed

_ROUTERS = {"anytime": "the service's router", "oracle": "the truth"}
_HELD = Held()


def show(console: Console, speeds: Sequence[Speed], runs: Sequence[Long]) -> None:
    """Both tables."""
    titles = ("Requests per second of processor time, one core", "Ten simulated minutes at 10,000 requests/s")
    for title, each in zip(titles, tables(speeds, runs), strict=True):
        print_table(console, title, each)


def tables(speeds: Sequence[Speed], runs: Sequence[Long]) -> tuple[Table, Table]:
    """Of the rates, and of the long runs."""
    return _speeds(speeds), _runs(runs)


def as_json(speeds: Sequence[Speed], runs: Sequence[Long]) -> str:
    """One object."""
    found = [
        {
            "router": each.case.router,
            "instances": each.case.instances,
            "rate_per_s": each.case.rate_per_s,
            "requests": each.case.requests,
            "requests_per_cpu_s": each.per_s,
            "low": each.low,
            "high": each.high,
            "relative_cost": each.relative,
            "met_slo": each.met_slo,
            "held_to": _floor(each) if each.case.instances == INSTANCES else None,
        }
        for each in speeds
    ]
    long = [{**run._asdict(), "held_to_s": _HELD.long_s} for run in runs]
    return json.dumps({"speeds": found, "long": long, "relative_held_to": _HELD.relative}, indent=2)


def _speeds(speeds: Sequence[Speed]) -> Table:
    columns = (
        Column("Routed by", numeric=False),
        Column("Instances"),
        Column("Requests/s", "simulated"),
        Column("Requests/CPU s", "median"),
        Column("", "lowest to highest"),
        Column("Held to"),
        Column("Cost of a request", f"over that of {INSTANCES}"),
        Column("Held to", "at most"),
        Column("Within the objective"),
    )
    return table(columns, (Row(_cells(each)) for each in speeds))


def _cells(each: Speed) -> tuple[str, ...]:
    base = each.case.instances == INSTANCES
    return (
        _ROUTERS[each.case.router],
        f"{each.case.instances:,}",
        f"{each.case.rate_per_s:,.0f}",
        f"{each.per_s:,.0f}",
        f"{each.low:,.0f} to {each.high:,.0f}",
        f"{_floor(each):,.0f}" if base else "",
        "" if base else f"{each.relative:.2f}",
        "" if base else f"{1 + _HELD.relative:.2f}",
        f"{each.met_slo:.2%}",
    )


def _floor(each: Speed) -> float:
    return _HELD.oracle_per_s if each.case.router == "oracle" else _HELD.routed_per_s


def _runs(runs: Sequence[Long]) -> Table:
    columns = (
        Column("Routed by", numeric=False),
        Column("Instances"),
        Column("Requests"),
        Column("Took", "s"),
        Column("Held to", "s"),
        Column("Processor", "s"),
        Column("Peak memory", "MiB"),
    )
    rows = (
        Row((_ROUTERS[run.router], f"{run.instances:,}", f"{run.requests:,}", f"{run.wall_s:.0f}",
             f"{_HELD.long_s:.0f}", f"{run.cpu_s:.0f}", f"{run.peak_mib:.0f}"))
        for run in runs
    )  # fmt: skip
    return table(columns, rows)
