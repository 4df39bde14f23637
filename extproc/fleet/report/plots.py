"""What fleets cost and what thresholds save, as drawings. Computes nothing but where to put what it is given."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from extproc.fleet.answers import HOURS_PER_YEAR, Baseline, FleetPlan, Interval, Plan, SweepRow
from extproc.fleet.report import roles
from extproc.fleet.report.curves import WIDTH, pool_colour
from extproc.fleet.report.shown import count, tokens, usd
from extproc.fleet.report.svg import GRID, INK, MUTED, PUBLISHED


def costs(plan: Plan) -> Figure | None:
    """A bar for each fleet's year, made of its pools; of GPUs, where prices are missing. None if none is feasible."""
    fleets = [fleet for fleet in plan.fleets if fleet.infeasible is None]
    if not fleets:
        return None
    scale = _Scale(usd, "per year") if plan.ask.priced else _Scale(count, "GPUs")
    bars = [_bar_of(fleet, priced=plan.ask.priced) for fleet in fleets]
    drawing = Figure(figsize=(WIDTH, 0.7 + 0.36 * len(fleets)), layout="constrained")
    axes = drawing.subplots()
    axes.set(ylim=(len(fleets) - 0.4, -0.6), xlabel=scale.label, xlim=(0, _reach(bars)))
    for at, bar in enumerate(bars):
        _draw(axes, at, bar, scale, chosen=bar.fleet is roles.recommended(plan))
    axes.set_yticks(range(len(fleets)), [fleet.name for fleet in fleets], color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: scale.shown(value)))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return drawing


class _Scale(NamedTuple):
    """What bars are as long as."""

    shown: Callable[[float], str]
    label: str


class _Bar(NamedTuple):
    fleet: FleetPlan
    pools: tuple[float, ...]
    need: Interval
    """What replications need on average; the bar is enough for all of them."""

    @property
    def end(self) -> float:
        """Of the bar and its interval, which may have no bounds."""
        return max(sum(self.pools), self.need.high if math.isfinite(self.need.high) else 0.0)


def _bar_of(fleet: FleetPlan, *, priced: bool) -> _Bar:
    if priced:
        return _Bar(fleet, tuple(HOURS_PER_YEAR * pool.usd_per_hour for pool in fleet.pools), roles.usd_range(fleet))
    gpus = Interval(fleet.gpus, math.nan, math.nan) if fleet.gpu_range is None else fleet.gpu_range
    return _Bar(fleet, tuple(float(pool.gpus) for pool in fleet.pools), gpus)


def _reach(bars: Sequence[_Bar]) -> float:
    """Room for all but B0, which may dwarf what somebody would build."""
    real = [bar for bar in bars if bar.fleet.baseline is not Baseline.B0] or bars
    return 1.3 * max(bar.end for bar in real)


def _draw(axes: Axes, at: int, bar: _Bar, scale: _Scale, *, chosen: bool) -> None:
    """Pools side by side, the interval of the whole, the figure at its end, or at the edge of the drawing."""
    start = 0.0
    for pool, size in zip(bar.fleet.pools, bar.pools, strict=True):
        colour = pool_colour(pool.pool, len(bar.pools))
        axes.barh(at, size, left=start, height=0.66, color=colour, alpha=1.0 if chosen else 0.6)
        start += size
    if start > axes.get_xlim()[1]:
        _label(axes, axes.get_xlim()[1], at, f"{scale.shown(start)}, beyond this scale →", inside=True)
        return
    _interval(axes, at, bar.need)
    _label(axes, bar.end, at, scale.shown(start) + ("  recommended" if chosen else ""), bold=chosen)


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
    low, high = axes.get_ylim()
    axes.set_ylim(max(_LEAST, low), min(_MOST, high))
    drawing.legend(loc="outside upper left", ncols=3)
    return drawing


_LEAST, _MOST = -105, 105
"""Per cent that are drawn: what costs twice as much, or the interval of few replications, would flatten the rest."""
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
