"""What simulations say of a fleet, over replications: means with intervals, per pool and together. Knows no prices."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from extproc.fleet.answers import Confirmed, Interval, Measured
from extproc.fleet.dispatch import Dispatch, Routed
from extproc.fleet.distribution import Distribution
from extproc.fleet.simulation import Run, RunRules, Traffic, simulate
from extproc.fleet.tally import PoolTally, together
from extproc.fleet.values import Outcome, PoolSpec

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t by degrees of freedom from 1 on."""
_NORMAL_95 = 1.959964
_REJECTED = (Outcome.REJECTED_LENGTH, Outcome.REJECTED_BUSY, Outcome.FAILED, Outcome.UNFINISHED)


class Replication(NamedTuple):
    """One run of a fleet, small enough to cross between processes."""

    run: Run
    stages: dict[str, float]


def interval(values: Sequence[float], *, least: float = -math.inf, most: float = math.inf) -> Interval:
    """Mean and 95 % confidence interval of independent values; of a single one nobody knows bounds: NaN.

    All is NaN where one of them is.

    Args:
        values: one for each replication.
        least: that can be, where an interval of few values would promise what is impossible.
        most: likewise.
    """
    mean = statistics.fmean(values)
    if len(values) == 1 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    half = _quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, max(least, mean - half), min(most, mean + half))


def _quantile(freedom: int) -> float:
    """Of Student's t; beyond the table by its expansion about the normal one (Abramowitz and Stegun, 26.7.5)."""
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    z = _NORMAL_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def replicate(
    pools: Sequence[PoolSpec],
    traffic: Traffic,
    dispatch: Dispatch | Routed | None,
    rules: RunRules,
    threshold_tokens: int | None,
) -> Replication:
    """One replication."""
    run = simulate(pools, traffic, dispatch, rules=rules, threshold_tokens=threshold_tokens)
    return Replication(run, dispatch.stage_shares() if isinstance(dispatch, Routed) else {})


def confirmed(replications: Sequence[Replication]) -> Confirmed:
    """All replications of one fleet together."""
    runs = [replication.run for replication in replications]
    stages = [replication.stages for replication in replications]
    by_pool = zip(*(run.pools for run in runs), strict=True)
    return Confirmed(
        fleet=_measured([together(run.pools) for run in runs]),
        pools=tuple(_measured(tallies) for tallies in by_pool),
        under=interval([run.under / max(1, run.counted) for run in runs], least=0.0, most=1.0),
        over=interval([run.over / max(1, run.counted) for run in runs], least=0.0, most=1.0),
        stages={name: statistics.fmean(shares.get(name, 0.0) for shares in stages) for name in sorted(stages[0])},
    )


def _measured(tallies: Sequence[PoolTally]) -> Measured:
    def over(value: Callable[[PoolTally], float], *, most: float = math.inf) -> Interval:
        return interval([value(tally) for tally in tallies], least=0.0, most=most)

    return Measured(
        ttft_p50_s=over(lambda tally: tally.ttft.quantile_s(0.5)),
        ttft_p99_s=over(lambda tally: tally.ttft.quantile_s(0.99)),
        tpot_p50_s=over(lambda tally: tally.tpot.quantile_s(0.5)),
        tpot_p99_s=over(lambda tally: tally.tpot.quantile_s(0.99)),
        slo_share=over(lambda tally: tally.slo_share, most=1.0),
        preemptions_per_mille=over(lambda tally: 1000 * tally.preemptions / max(1, tally.arrivals)),
        rejected=over(lambda tally: tally.share(*_REJECTED), most=1.0),
        truncated=over(lambda tally: tally.share(Outcome.TRUNCATED), most=1.0),
        running_mean=over(lambda tally: _mean(tally.series.running)),
        kv_mean=over(lambda tally: _mean(tally.series.kv_share), most=1.0),
        ttft_curve=_sum([tally.ttft for tally in tallies]).curve(),
        tpot_curve=_sum([tally.tpot for tally in tallies]).curve(),
        series=tallies[0].series,
    )


def _sum(distributions: Sequence[Distribution]) -> Distribution:
    return sum(distributions[1:], start=distributions[0])


def _mean(values: Sequence[float]) -> float:
    """Of the second half of the samples, when the fleet is filled; NaN where there are none."""
    return statistics.fmean(values[len(values) // 2 :]) if values else math.nan
