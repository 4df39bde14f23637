"""Times and pools as curves, for plans and for single runs alike. Computes nothing but where to put what it is given.

Short is blue and long vermilion everywhere; fleets of one pool are grey or black and told apart by their strokes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from extproc.fleet.answers import FleetPlan, Plan
from extproc.fleet.report import roles
from extproc.fleet.report.shown import seconds
from extproc.fleet.report.svg import INK, LONG, MUTED, SHORT
from extproc.fleet.report.wording import POOLS
from extproc.fleet.values import Series, Slo
from extproc.routing.values import Pool

POOL_COLOURS = {Pool.SHORT: SHORT, Pool.LONG: LONG}
WIDTH = 8.6
"""Of every drawing, in inches of 72 points: a page stretches it to its own."""
_NINES = {0.0: "0 %", 0.5: "50 %", 0.9: "90 %", 0.99: "99 %", 0.999: "99.9 %"}
_SHORTEST_IN_MINUTES_S = 300.0


Curve = tuple[list[float], list[float]]
"""Times in seconds, and the share of requests that do not exceed them."""


class Line(NamedTuple):
    """Distributions to draw."""

    label: str
    colour: str
    stroke: str
    ttft: Curve
    tpot: Curve


class Lane(NamedTuple):
    """A pool over time."""

    label: str
    colour: str
    instances: int
    series: Series


def lines(plan: Plan) -> list[Line]:
    """The pools of the split, and every fleet that is compared."""
    strokes = iter((":", "--", "-.", "-"))
    looked_at = roles.split(plan)
    chosen = roles.recommended(plan)
    found: list[Line] = []
    for fleet in roles.compared(plan):
        shown = roles.parts(fleet) if fleet is looked_at else roles.parts(fleet)[-1:]
        stroke, colour = ("-", INK) if fleet is chosen else (next(strokes), MUTED)
        found += part_lines(shown, stroke, colour)
    return found


def part_lines(parts: Sequence[roles.Part], stroke: str = "-", colour: str = INK) -> list[Line]:
    """Pools in their colours, the whole in the one given."""
    return [
        Line(part.name, colour if part.pool is None else POOL_COLOURS[part.pool], stroke, part.measured.ttft_curve,
             part.measured.tpot_curve)
        for part in parts
    ]  # fmt: skip


def times(found: Sequence[Line], slo: Slo) -> Figure | None:
    """TTFT and TPOT as distribution functions over a logarithmic time, the objective marked; None without curves."""
    if not any(line.ttft[0] or line.tpot[0] for line in found):
        return None
    drawing = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = drawing.subplots(1, 2, sharey=True)
    for line in found:
        _curve(left, line, line.ttft)
        _curve(right, line, line.tpot)
    _time_axis(
        left,
        "time to first token (TTFT)",
        (slo.ttft_s, slo.percentile),
        _reach([line.ttft for line in found], slo.ttft_s),
    )
    _time_axis(
        right,
        "time per further token (TPOT)",
        (slo.tpot_s, slo.percentile),
        _reach([line.tpot for line in found], slo.tpot_s),
    )
    left.set_ylabel("requests that are at least as fast")
    handles, labels = left.get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper left", ncols=3)
    return drawing


def _curve(axes: Axes, line: Line, curve: Curve) -> None:
    """Shares as nines: each step upwards leaves a tenth of the requests."""
    width = 2.2 if line.colour != MUTED else 1.5
    axes.plot(
        curve[0], [_nines(share) for share in curve[1]], line.stroke, color=line.colour, lw=width, label=line.label
    )


def _nines(share: float) -> float:
    return -math.log10(max(1e-6, 1.0 - share))


def _time_axis(axes: Axes, title: str, slo: tuple[float, float], reach: tuple[float, float]) -> None:
    slo_s, percentile = slo
    axes.set_xscale("log")
    axes.set(title=title, ylim=(0, 3.3), xlim=reach)
    axes.set_yticks([_nines(share) for share in _NINES], list(_NINES.values()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axvline(slo_s, color=INK, linewidth=1, linestyle=(0, (1, 1)))
    at = _nines(percentile / 100)
    axes.plot([slo_s], [at], marker="o", color=INK, markersize=5)
    axes.annotate(
        f"objective\n{seconds(slo_s)} for\n{percentile:g} %", (slo_s, 0.08), xytext=(5, 0), textcoords="offset points",
        fontsize=8,
    )  # fmt: skip


def _reach(curves: Sequence[Curve], slo_s: float) -> tuple[float, float]:
    """From the fastest half per cent to well beyond the objective."""
    points = [(time_s, share) for curve in curves for time_s, share in zip(*curve, strict=True)]
    seen = [time_s for time_s, share in points if 0.005 < share < 0.9995] or [slo_s]  # noqa: PLR2004 - the ends are empty
    return 0.8 * min(slo_s, *seen), 1.1 * max(2.5 * slo_s, *seen)


def lanes(fleet: FleetPlan) -> list[Lane]:
    """The pools of a simulated fleet that have a series."""
    if fleet.confirmed is None:
        return []
    return [
        Lane(POOLS[pool.pool], pool_colour(pool.pool, len(fleet.pools)), pool.instances, measured.series)
        for pool, measured in zip(fleet.pools, fleet.confirmed.pools, strict=True)
    ]


def pool_colour(pool: Pool, pools: int) -> str:
    """Grey where there is only one."""
    return POOL_COLOURS[pool] if pools > 1 else MUTED


def over_time(found: Sequence[tuple[str, Sequence[Lane]]]) -> Figure | None:
    """KV cache, running and waiting requests; a column for each fleet that has a series, None where none has."""
    shown = [(name, kept) for name, fleet in found if (kept := [lane for lane in fleet if lane.series.time_s])]
    if not shown:
        return None
    drawing = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    grid = drawing.subplots(3, len(shown), sharex="col", sharey="row", squeeze=False)
    for column, (name, fleet) in enumerate(shown):
        grid[0][column].set_title(name)
        _lanes([grid[row][column] for row in range(3)], fleet)
    for row, text in enumerate(("KV cache used", "running\nper instance", "waiting\nper instance")):
        grid[row][0].set_ylabel(text)
    for axes in grid[1:].flat:
        axes.set_ylim(bottom=0)
    _pool_legend(drawing, shown)
    return drawing


def _lanes(column: Sequence[Axes], fleet: Sequence[Lane]) -> None:
    kv, running, waiting = column
    minutes = fleet[0].series.time_s[-1] > _SHORTEST_IN_MINUTES_S
    for lane in fleet:
        each = max(1, lane.instances)
        time = [time_s / 60 if minutes else time_s for time_s in lane.series.time_s]
        kv.plot(time, [100 * share for share in lane.series.kv_share], color=lane.colour, lw=1.2, label=lane.label)
        running.plot(time, [value / each for value in lane.series.running], color=lane.colour, lw=1.2)
        waiting.plot(time, [value / each for value in lane.series.waiting], color=lane.colour, lw=1.2)
    kv.set_ylim(0, 105)
    kv.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    for axes in (running, waiting):
        axes.yaxis.set_major_locator(MaxNLocator(4))
    waiting.set_xlabel("minutes" if minutes else "seconds")


def _pool_legend(drawing: Figure, shown: Sequence[tuple[str, Sequence[Lane]]]) -> None:
    """Only where pools are told apart."""
    two = next((column for column, (_, fleet) in enumerate(shown) if len(fleet) > 1), None)
    if two is not None:
        handles, labels = drawing.axes[two].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper left", ncols=2)
