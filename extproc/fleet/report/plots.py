"""What fleets cost and what thresholds save, as drawings. Computes nothing but where to put what it is given."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from extproc.fleet.answers import Baseline, FleetPlan, Interval, Plan, SweepRow
from extproc.fleet.report import roles
from extproc.fleet.report.curves import WIDTH, pool_colour
from extproc.fleet.report.shown import tokens, usd
from extproc.fleet.report.svg import GRID, INK, MUTED, PUBLISHED


def costs(plan: Plan) -> Figure | None:
    """A bar for each fleet's year, made of its pools; None where none can be built."""
    fleets = [fleet for fleet in plan.fleets if fleet.infeasible is None]
    if not fleets:
        return None
    drawing = Figure(figsize=(WIDTH, 0.7 + 0.36 * len(fleets)), layout="constrained")
    axes = drawing.subplots()
    axes.set(ylim=(len(fleets) - 0.4, -0.6), xlabel="per year", xlim=(0, _reach(fleets)))
    for at, fleet in enumerate(fleets):
        _bar(axes, at, fleet, chosen=fleet is roles.recommended(plan))
    axes.set_yticks(range(len(fleets)), [fleet.name for fleet in fleets], color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return drawing


def _reach(fleets: Sequence[FleetPlan]) -> float:
    """Room for all but B0, which may dwarf what somebody would build."""
    real = [fleet for fleet in fleets if fleet.baseline is not Baseline.B0] or fleets
    return 1.3 * max(max(fleet.usd_per_year, roles.usd_range(fleet).high) for fleet in real)


def _bar(axes: Axes, at: int, fleet: FleetPlan, *, chosen: bool) -> None:
    """Pools side by side, the interval of the whole, the figure at its end, or at the edge of the drawing."""
    start = 0.0
    for pool in fleet.pools:
        year = fleet.usd_per_year * pool.usd_per_hour / fleet.usd_per_hour if fleet.usd_per_hour else 0.0
        colour = pool_colour(pool.pool, len(fleet.pools))
        axes.barh(at, year, left=start, height=0.66, color=colour, alpha=1.0 if chosen else 0.6)
        start += year
    if start > axes.get_xlim()[1]:
        _label(axes, axes.get_xlim()[1], at, f"{usd(start)}, beyond this scale →", inside=True)
        return
    _interval(axes, at, roles.usd_range(fleet))
    end = max(start, roles.usd_range(fleet).high)
    _label(axes, end, at, usd(start) + ("  recommended" if chosen else ""), bold=chosen)


def _interval(axes: Axes, at: int, found: Interval) -> None:
    """What replications need; the bar is enough for all of them and may end beyond."""
    if found.high > found.low:
        reach = [[found.mean - found.low], [found.high - found.mean]]
        axes.errorbar([found.mean], [at], xerr=reach, color=INK, capsize=2.5, linewidth=1)


def _label(axes: Axes, end: float, at: int, text: str, *, inside: bool = False, bold: bool = False) -> None:
    axes.annotate(
        text, (end, at), xytext=(-5 if inside else 5, 0), textcoords="offset points", va="center",
        ha="right" if inside else "left", fontweight="bold" if bold else "normal",
    )  # fmt: skip


def sweep(plan: Plan) -> Figure | None:
    """Savings over thresholds, with intervals where they were simulated; None where no threshold is feasible."""
    rows = [row for row in plan.sweep if row.infeasible is None]
    if not rows:
        return None
    drawing = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = drawing.subplots()
    places = [row.threshold_tokens for row in rows]
    published = [100 * row.saving_published for row in rows]
    axes.plot(places, published, color=PUBLISHED, linestyle=(0, (4, 2)), label="published formula, against B0")
    for kind, colour, mark, text in _AGAINST:
        values = [100 * (row.saving_b1 if kind is Baseline.B1 else row.saving_b2) for row in rows]
        axes.plot(places, values, color=colour, marker=mark, markersize=4, label=f"against {kind} ({text})")
        _intervals(axes, rows, kind, colour)
    _mark_chosen(axes, plan)
    _threshold_axis(axes, places)
    drawing.legend(loc="outside upper left", ncols=3)
    return drawing


_AGAINST = (
    (Baseline.B1, MUTED, "o", "vLLM defaults"),
    (Baseline.B2, INK, "s", "one tuned pool"),
)


def _intervals(axes: Axes, rows: Sequence[SweepRow], against: Baseline, colour: str) -> None:
    """Where a threshold was simulated: replication by replication."""
    for row in rows:
        saved = row.confirmed_b1 if against is Baseline.B1 else row.confirmed_b2
        if saved is not None:
            mean, low, high = (100 * each for each in saved)
            reach = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            axes.errorbar(
                [row.threshold_tokens], [mean], yerr=reach, fmt="D", ms=5, mfc="none", color=colour, capsize=4
            )


def _mark_chosen(axes: Axes, plan: Plan) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8)
    chosen = roles.recommended(plan)
    if chosen is not None and chosen.threshold_tokens is not None:
        axes.axvline(chosen.threshold_tokens, color=GRID, linewidth=6, zorder=0)


def _threshold_axis(axes: Axes, places: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    few = _apart(places)
    axes.set_xticks(few, [tokens(place) for place in few])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="threshold: tokens that the short pool takes at most", ylabel="saving")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %".replace("-", "−")))


def _apart(places: Sequence[int]) -> list[int]:
    """Those whose labels do not overlap."""
    found: list[int] = []
    for place in places:
        if not found or math.log2(place / found[-1]) >= math.log2(places[-1] / places[0]) / 12:
            found.append(place)
    return found
