"""How many instances a pool needs, by simulation: as few as keep the objective; knows neither prices nor other pools.

A large pool is sized by what one instance can take: `SUBFLEET` instances get a random part of the pool's traffic, and
the largest part with which they keep the objective says how many such parts there are. A small one is sized whole.
"""

import math
from dataclasses import dataclass

from extproc.fleet.simulation import RunRules, Simulation
from extproc.fleet.streams import Drawn
from extproc.fleet.values import InstanceSpec, PoolSpec, Slo
from extproc.routing.values import Pool

SUBFLEET = 32
"""Instances from which on a pool behaves per instance as a larger one does."""
TRY_S = 100.0
"""Simulated time of a try at least: a fleet of too few instances fills up, and only then does its queue grow."""
_PIECE = 2_048
"""Requests after which a try looks whether too many have failed already."""
_STEPS = 7
"""Of the bisection of a part of the traffic: from a range of factor four to 1.1 %."""
_MOST = 512
"""Instances that are tried for a small pool, for each one that the closed form asks for."""


@dataclass(frozen=True, slots=True)
class SizingRules:
    """How carefully a pool is sized."""

    slo: Slo
    requests: int = 20_000
    """Simulated in each try, or more where they come within `seconds`."""
    seconds: float = TRY_S
    warm_up_share: float = 0.2
    seed: int = 0


def instances_needed(pool: Pool, spec: InstanceSpec, stream: Drawn, guess: int, rules: SizingRules) -> float | None:
    """Instances with which the pool keeps the objective, a fraction for a large one; None where no number does.

    Args:
        pool: which of the two.
        spec: of each instance.
        stream: the pool's traffic; its length in time is what is simulated.
        guess: instances by the closed form.
        rules: of the search.
    """
    if not len(stream):
        return 0.0
    if guess <= SUBFLEET:
        return _whole(pool, spec, stream, guess, rules)
    return _parted(pool, spec, stream, guess, rules)


def _keeps(pool: Pool, spec: InstanceSpec, count: int, stream: Drawn, rules: SizingRules) -> bool:
    """Whether so many instances answer the wanted share of a stream in full and in time."""
    run = RunRules(
        requests=len(stream), seed=rules.seed, warm_up_share=rules.warm_up_share, slo=rules.slo, sample_s=math.inf
    )
    total, least = len(stream) - int(rules.warm_up_share * len(stream)), rules.slo.percentile / 100
    simulation = Simulation([PoolSpec(pool, count, spec)], stream.in_pieces(_PIECE), rules=run)
    for _ in simulation.steps():
        tally = simulation.so_far().pools[0]
        if (total - (tally.arrivals - tally.met_slo)) / total < least:
            return False  # whatever becomes of the rest; most of the time of a search would go to hopeless fleets
    return simulation.run.pools[0].slo_share >= least


def _whole(pool: Pool, spec: InstanceSpec, stream: Drawn, guess: int, rules: SizingRules) -> float | None:
    """The least number that keeps the objective, by doubling and bisection."""
    stream = _part(stream, 1.0, rules)
    high, low = max(1, guess), 0
    while not _keeps(pool, spec, high, stream, rules):
        low, high = high, 2 * high
        if high > _MOST * guess:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _keeps(pool, spec, middle, stream, rules) else (middle, high)
    return float(high)


def _parted(pool: Pool, spec: InstanceSpec, stream: Drawn, guess: int, rules: SizingRules) -> float | None:
    """Instances by the largest part of the traffic that a subfleet takes."""
    top, least = math.log(min(1.0, 2 * SUBFLEET / guess)), math.log(SUBFLEET / guess / 2)
    most = top
    while not _takes(pool, spec, stream, least, rules):
        most, least = least, least - math.log(2)
        if least < math.log(SUBFLEET / guess / _MOST):
            return None
    for _ in range(_STEPS):
        middle = (most + least) / 2
        most, least = (most, middle) if _takes(pool, spec, stream, middle, rules) else (middle, least)
    if most == top and _takes(pool, spec, stream, top, rules):
        return instances_needed(pool, spec, stream, guess // 4, rules)  # the closed form asks for far too many
    return SUBFLEET / math.exp(least)


def _takes(pool: Pool, spec: InstanceSpec, stream: Drawn, log_part: float, rules: SizingRules) -> bool:
    return _keeps(pool, spec, SUBFLEET, _part(stream, math.exp(log_part), rules), rules)


def _part(stream: Drawn, share: float, rules: SizingRules) -> Drawn:
    """As many requests of a share of the traffic as a try takes."""
    most = max(rules.requests, math.ceil(rules.seconds * share * stream.rate_per_s))
    return stream.thinned(share, most=most, seed=rules.seed)
