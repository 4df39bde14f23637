"""Draws the conclusion: which fleet to run, against what it saves, and what to know before acting on it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from extproc.fleet.answers import (
    HOURS_PER_YEAR,
    Baseline,
    FleetPlan,
    RouterKind,
    Saving,
    SweepRow,
    Verdict,
)
from extproc.fleet.confirm import interval
from extproc.fleet.options import PlanOptions
from extproc.routing.values import Pool

_EMPTY_SHARE = 0.001
"""Of requests in the long pool at every threshold: there is nothing to separate."""
_GAP = 0.25
"""By which closed form and simulation may differ without a note."""


class Conclusion(NamedTuple):
    """A verdict and what it rests on."""

    verdict: Verdict
    sentence: str
    recommended: int | None
    savings: tuple[Saving, ...]


def conclude(usd: Sequence[Sequence[float]], fleets: Sequence[FleetPlan], sweep: Sequence[SweepRow]) -> Conclusion:
    """The verdict.

    Args:
        usd: price per hour of each fleet in each replication, sized for that one alone; empty where infeasible.
        fleets: in the same order.
        sweep: by threshold.
    """
    buildable = [at for at, prices in enumerate(usd) if prices]
    if not buildable:
        return Conclusion(Verdict.INFEASIBLE, "No number of these GPUs keeps the objective.", None, ())
    one_pool = [at for at in buildable if fleets[at].threshold_tokens is None]
    base = min(one_pool, key=lambda at: sum(usd[at]), default=None)
    split = min(
        (at for at in buildable if fleets[at].router is RouterKind.ANYTIME), key=lambda at: sum(usd[at]), default=None
    )
    recommended, verdict = _choose(usd, fleets, base, split, sweep)
    savings = tuple(_saving(usd, fleets, recommended, other) for other in one_pool if other != recommended)
    return Conclusion(verdict, _sentence(verdict, fleets, recommended, base, savings), recommended, savings)


def _choose(
    usd: Sequence[Sequence[float]],
    fleets: Sequence[FleetPlan],
    base: int | None,
    split: int | None,
    sweep: Sequence[SweepRow],
) -> tuple[int, Verdict]:
    """Two pools only where they save more than chance explains against the best single one."""
    if split is None:
        assert base is not None
        return base, Verdict.NO_DIFFERENCE
    hardware = fleets[split].baseline is Baseline.SPLIT_HARDWARE
    if base is None or _saving(usd, fleets, split, base).share.low > 0.0:
        return split, Verdict.SPLIT_HARDWARE if hardware else Verdict.SPLIT
    empty = all(row.infeasible is not None or 1.0 - row.short_share < _EMPTY_SHARE for row in sweep)
    return base, Verdict.LONG_POOL_EMPTY if empty else Verdict.NO_DIFFERENCE


def _saving(usd: Sequence[Sequence[float]], fleets: Sequence[FleetPlan], at: int, other: int) -> Saving:
    """Of one fleet against another, replication by replication: both saw the same requests."""
    pairs = list(zip(usd[other], usd[at], strict=True))
    return Saving(
        fleets[other].name,
        fleets[other].gpus - fleets[at].gpus,
        interval([HOURS_PER_YEAR * (theirs - ours) for theirs, ours in pairs]),
        interval([1.0 - ours / theirs if theirs else math.nan for theirs, ours in pairs]),
    )


def _sentence(
    verdict: Verdict, fleets: Sequence[FleetPlan], at: int, base: int | None, savings: Sequence[Saving]
) -> str:
    fleet = fleets[at]
    if verdict in (Verdict.SPLIT, Verdict.SPLIT_HARDWARE):
        what = f"{_described(fleet)} serve this traffic with {fleet.gpus:,} GPUs"
        if base is None:
            return f"Two pools help: {what}; no single pool keeps the objective, however large."
        share = next(saving for saving in savings if saving.against == fleets[base].name).share
        against = f"{fleets[base].gpus:,} of the best single pool ({fleets[base].name})"
        return (
            f"Two pools help: {what} instead of {against}, which saves {100 * share.mean:.1f} % of the cost"
            f" ({100 * share.low:.1f} to {100 * share.high:.1f} %)."
        )
    if verdict is Verdict.LONG_POOL_EMPTY:
        return (
            "Nothing to split: at every threshold the long pool would be all but empty. One pool with a shorter"
            f" context serves this traffic; {fleet.name} takes {fleet.gpus:,} GPUs."
        )
    return f"Two pools do not help here: one pool ({fleet.name}) with {fleet.gpus:,} GPUs costs no more."


def _described(fleet: FleetPlan) -> str:
    pools = " and ".join(f"{pool.instances} × {pool.instance} ({pool.pool.value})" for pool in fleet.pools)
    return f"{pools}, parted at {fleet.threshold_tokens:,} tokens,"


def notes(options: PlanOptions, fleets: Sequence[FleetPlan], recommended: int | None) -> tuple[str, ...]:
    """What to know before acting on the plan."""
    slo = options.slo
    found = [
        (
            f"Every fleet is sized so that {slo.percentile:g} % of all requests, refused and truncated ones counted as"
            f" failures, have their first token within {slo.ttft_s:g} s and each further one within"
            f" {1e3 * slo.tpot_s:g} ms, at {100 / options.utilisation_cap:.0f} % of the stated traffic."
        ),
        (
            f"A prompt so long that {1e3 * slo.ttft_s_per_token:.2f} ms per token come to more than {slo.ttft_s:g} s is"
            " allowed that time instead, in every fleet alike."
        ),
        (
            "Step times come from a model of the GPU unless you calibrated them (docs/hardware.md); prices are those of"
            " the catalogue or your own. Check both before you buy."
        ),
    ]
    found += [note for fleet in fleets if (note := _gap(fleet))]
    if recommended is not None:
        found += _of_pools(fleets[recommended])
    return tuple(found)


def _gap(fleet: FleetPlan) -> str | None:
    """Where closed form and simulation disagree."""
    if fleet.gpu_range is None or not fleet.gpus:
        return None
    gap = fleet.gpus_closed_form / fleet.gpus - 1.0
    if abs(gap) <= _GAP:
        return None
    return (
        f"{fleet.name}: the closed form asks for {fleet.gpus_closed_form:,} GPUs, the simulation for {fleet.gpus:,}."
        " The simulation decides."
    )


def _of_pools(fleet: FleetPlan) -> list[str]:
    """A pool of one or two instances has no spare."""
    small = [pool for pool in fleet.pools if pool.pool is Pool.LONG and pool.instances <= 2 and len(fleet.pools) > 1]  # noqa: PLR2004 - one or two
    return [f"The long pool has {pool.instances} instances only: losing one halves it or ends it." for pool in small]
