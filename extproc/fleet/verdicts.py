"""Draws the conclusion: which fleet to run, against what it saves, and what to know before acting on it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from extproc.fleet.answers import (
    HOURS_PER_YEAR,
    Baseline,
    FleetPlan,
    Interval,
    RouterKind,
    Saving,
    SweepRow,
    Verdict,
)
from extproc.fleet.confirm import interval
from extproc.fleet.options import PlanOptions
from extproc.fleet.values import Slo

_VERDICTS = {Baseline.SPLIT: Verdict.SPLIT, Baseline.SPLIT_HARDWARE: Verdict.SPLIT_HARDWARE}
"""Where such a fleet is recommended."""
_EMPTY_SHARE = 0.001
"""Of requests in the long pool at every threshold: there is nothing to separate."""
_FEW = {
    1: "One replication tells nothing of chance: there are no intervals, and no split is recommended where one pool can"
    " serve this. Ask for several (--seeds 3).",
    2: "Two replications make intervals of 13 standard errors to each side; a third (--seeds 3) makes them about a"
    " quarter as wide.",
}
_DIGITS = 9
"""Behind the point: no simulation has so many requests that more could matter."""
_GAP = 0.25
"""By which closed form and simulation may differ without a note."""


class _Measure(NamedTuple):
    """Words for what fleets are compared by."""

    noun: str
    verb: str


_NONE = "No number of these GPUs keeps the objective."
_NOT_KEPT = (
    "Every fleet that was sized missed the objective when it was simulated whole: nothing can be recommended. Simulate"
    " more requests (--requests)."
)
_MONEY, _GPUS = _Measure("cost", "cost"), _Measure("GPUs", "take")


class Conclusion(NamedTuple):
    """A verdict and what it rests on."""

    verdict: Verdict
    sentence: str
    recommended: int | None
    savings: tuple[Saving, ...]


def conclude(
    usd: Sequence[Sequence[float]],
    fleets: Sequence[FleetPlan],
    sweep: Sequence[SweepRow],
    *,
    by_chance: bool = True,
    priced: bool = True,
    percentile: float = 99.0,
) -> Conclusion:
    """The verdict. A fleet that was simulated whole and missed the objective has no part in it.

    Args:
        usd: price per hour of each fleet in each replication, sized for that one alone; empty where infeasible.
        fleets: in the same order.
        sweep: by threshold.
        by_chance: whether the prices are of random replications, so that one alone proves nothing; else calculated.
        priced: whether prices are money; else each GPU counts alike.
        percentile: of requests that must keep the objective.
    """
    sized = [at for at, prices in enumerate(usd) if prices]
    buildable = [at for at in sized if not misses(fleets[at], percentile)]
    one_pool = [at for at in buildable if fleets[at].threshold_tokens is None]
    ours = [at for at in buildable if fleets[at].router is RouterKind.ANYTIME]
    if not one_pool and not ours:
        return Conclusion(Verdict.INFEASIBLE, _NOT_KEPT if sized else _NONE, None, ())
    base = min(one_pool, key=lambda at: sum(usd[at]), default=None)
    better = [at for at in ours if base is None or _is_cheaper(usd, fleets, at, base, by_chance=by_chance)]
    split = min(better or ours, key=lambda at: sum(usd[at]), default=None)
    if base is not None and not better:
        recommended, verdict = base, _of_one_pool(sweep)
    else:
        assert split is not None
        recommended, verdict = split, _VERDICTS[fleets[split].baseline]
    against = _saving(usd, fleets, split, base) if split is not None and base is not None else None
    savings = tuple(_saving(usd, fleets, recommended, other) for other in one_pool if other != recommended)
    sentence = _sentence(verdict, fleets[recommended], against, _MONEY if priced else _GPUS)
    return Conclusion(verdict, sentence, recommended, savings)


def misses(fleet: FleetPlan, percentile: float) -> bool:
    """Whether too few requests kept the objective when the fleet was simulated whole."""
    return fleet.confirmed is not None and fleet.confirmed.fleet.slo_share.mean < percentile / 100


def _is_cheaper(
    usd: Sequence[Sequence[float]], fleets: Sequence[FleetPlan], at: int, base: int, *, by_chance: bool
) -> bool:
    """By more than chance explains, and as it would be bought: large enough for the worst replication."""
    share = _saving(usd, fleets, at, base).share
    return fleets[at].usd_per_hour < fleets[base].usd_per_hour and (share.low if by_chance else share.mean) > 0.0


def _of_one_pool(sweep: Sequence[SweepRow]) -> Verdict:
    """Whether anything could have been parted."""
    empty = all(1.0 - row.short_share < _EMPTY_SHARE for row in sweep)
    return Verdict.LONG_POOL_EMPTY if empty else Verdict.NO_DIFFERENCE


def _saving(usd: Sequence[Sequence[float]], fleets: Sequence[FleetPlan], at: int, other: int) -> Saving:
    """Of one fleet against another, replication by replication: both saw the same requests."""
    pairs = list(zip(usd[other], usd[at], strict=True))
    return Saving(
        fleets[other].name,
        fleets[other].gpus - fleets[at].gpus,
        interval([HOURS_PER_YEAR * (theirs - ours) for theirs, ours in pairs]),
        interval([1.0 - ours / theirs if theirs else math.nan for theirs, ours in pairs], most=1.0),
    )


def _sentence(verdict: Verdict, fleet: FleetPlan, split: Saving | None, measure: _Measure) -> str:
    """The verdict in words; `split` is what two pools save against the best single one, None where one is missing."""
    if verdict in _VERDICTS.values():
        what = f"{_described(fleet)} serve this traffic with {fleet.gpus:,} GPUs"
        if split is None:
            return f"Two pools help: {what}; no single pool keeps the objective, however large."
        against = f"{fleet.gpus + split.gpus:,} of the best single pool ({split.against})"
        return (
            f"Two pools help: {what} instead of {against}, which saves {_percent(split.share)} of the {measure.noun}."
        )
    if verdict is Verdict.LONG_POOL_EMPTY:
        return (
            "Nothing to split: at every threshold the long pool would be all but empty. One pool with a shorter"
            f" context serves this traffic; {fleet.name} takes {fleet.gpus:,} GPUs."
        )
    return (
        f"Two pools do not help here: one pool ({fleet.name}) serves this traffic with {fleet.gpus:,} GPUs;"
        f" {_beside(split, measure)}."
    )


def _beside(split: Saving | None, measure: _Measure) -> str:
    """What two pools come to where they are not recommended."""
    if split is None:
        return "two pools do not keep the objective"
    share = split.share
    if share.high < 0.0 or (math.isnan(share.high) and share.mean < 0.0):
        return f"two pools would {measure.verb} {_percent(Interval(-share.mean, -share.high, -share.low))} more"
    if math.isnan(share.low) and share.mean:
        return f"what two pools would save, {_percent(share)}, one replication cannot tell from chance"
    return f"what two pools would save, {_percent(share)}, is not beyond chance and whole instances"


def _percent(share: Interval) -> str:
    """With its interval, if it has one."""
    mean, low, high = (f"{100 * each:.1f}".replace("-", "−") for each in share)
    return f"{mean} %" if share.low == share.high or math.isnan(share.low) else f"{mean} % ({low} to {high} %)"


def _described(fleet: FleetPlan) -> str:
    pools = " and ".join(f"{pool.instances} × {pool.instance} ({pool.pool.value})" for pool in fleet.pools)
    return f"{pools}, parted at {fleet.threshold_tokens:,} tokens,"


def notes(options: PlanOptions, fleets: Sequence[FleetPlan], recommended: int | None) -> tuple[str, ...]:
    """What to know before acting on the plan."""
    found = [*_terms(options), *_replications(options)]
    each = ((_missed(fleet, options.slo), _gap(fleet), _held_back(fleet)) for fleet in fleets)
    found += [note for of_fleet in each for note in of_fleet if note]
    if recommended is not None:
        found += _without_spare(fleets[recommended])
    return tuple(found)


def _held_back(fleet: FleetPlan) -> str | None:
    """A flag that few know of, and what it is there for."""
    tokens = fleet.pools[-1].long_prefill_token_threshold if fleet.pools else 0
    if not tokens or fleet.infeasible:
        return None
    return (
        f"{fleet.name}: long prompts get at most {tokens:,} tokens of a step while others wait"
        f" (--long-prefill-token-threshold {tokens}), so that shorter ones pass: fewer instances than without, on the"
        " same requests. The closed form does not know that flag."
    )


def _terms(options: PlanOptions) -> list[str]:
    """What every fleet is held to, and what is left out."""
    slo = options.slo
    return [
        (
            f"Every fleet is sized so that {slo.percentile:g} % of all requests, refused and truncated ones counted as"
            f" failures, have their first token within {slo.ttft_s:g} s and further ones every {1e3 * slo.tpot_s:g} ms"
            f" on average, at {100 / options.utilisation_cap:.0f} % of the stated traffic. Of two pools each may have"
            " half of the failures: long requests fail more often than short ones, as they do in a single pool."
        ),
        (
            f"A prompt so long that {1e3 * slo.ttft_s_per_token:.4g} ms per token come to more than {slo.ttft_s:g} s is"
            " allowed that time instead, in every fleet alike; `dualpool simulate` does so with --ttft-per-token"
            f" {1e3 * slo.ttft_s_per_token:.4g}."
        ),
        (
            "Step times come from a model of the GPU unless you calibrated them (docs/hardware.md); prices are those of"
            " the catalogue or your own. Check both before you buy. Intervals tell chance alone, not errors of these."
        ),
        (
            "Prefix caching and failing instances are left out in every fleet: where prompts share beginnings fewer"
            " GPUs are needed, and spare instances come on top, for each pool its own."
        ),
    ]


def _replications(options: PlanOptions) -> list[str]:
    """Where intervals say less than they seem to."""
    found = []
    if options.seeds in _FEW:
        found.append(_FEW[options.seeds])
    if options.seeds > 1 and options.workload.in_order:
        found.append(
            "Every replication plays the same requests in their recorded order, and thresholds are chosen by them too:"
            " intervals do not tell how other days differ."
        )
    return found


def _missed(fleet: FleetPlan, slo: Slo) -> str | None:
    """Where the confirmation contradicts the size."""
    if fleet.confirmed is None or not misses(fleet, slo.percentile):
        return None
    kept = _below(100 * fleet.confirmed.fleet.slo_share.mean, slo.percentile)
    return (
        f"{fleet.name}: confirmed at the stated traffic, {kept} % of requests keep the objective, too few. Do not build"
        " it so; simulate more requests (--requests). It is left out of the verdict."
    )


def _below(percent: float, wanted: float) -> str:
    """A percentage that is too small, with as many digits as it takes to see that."""
    shown = (f"{percent:.{digits}f}" for digits in range(1, _DIGITS))
    return next((text for text in shown if float(text) < wanted), f"{percent:.{_DIGITS}f}")


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


def _without_spare(fleet: FleetPlan) -> list[str]:
    """A pool of one or two instances."""
    name = {pool.pool: f"The {pool.pool.value} pool" if len(fleet.pools) > 1 else "The pool" for pool in fleet.pools}
    few = {
        1: "is one instance: while it is down nothing serves its requests",
        2: "has two instances: losing one halves it",
    }
    return [f"{name[pool.pool]} {few[pool.instances]}." for pool in fleet.pools if pool.instances in few]
