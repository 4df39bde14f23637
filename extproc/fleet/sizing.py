"""How many instances a pool needs, by simulation: as few as keep the objective; knows neither prices nor other pools.

A large pool is sized by what one instance can take: `SUBFLEET` instances get a random part of the pool's traffic, and
the largest part with which they keep the objective says how many such parts there are. A small one is sized whole.
"""

import math
from dataclasses import dataclass

import numpy as np

from extproc.fleet.bracket import Bracket
from extproc.fleet.simulation import RunRules, Simulation
from extproc.fleet.streams import Drawn
from extproc.fleet.values import ABSENT, Batch, InstanceSpec, Overflow, PoolSpec, Slo
from extproc.routing.values import Pool

SUBFLEET = 32
"""Instances from which on a pool behaves per instance as a larger one does."""
TRY_S = 100.0
"""Simulated time of a try at least: a fleet of too few instances fills up, and only then does its queue grow."""
_PIECE = 2_048
"""Requests after which a try looks whether too many have failed already."""
_START, _STRIDE = 0.88, 0.1
"""Of the closed form's guess, and how far to go from there: it is a fifth too high to just right, mostly."""
_NEAR_STRIDE = 0.03
"""From what other requests took: wide enough that the answer is not drawn to where the search began."""
_SURELY = 1.25
"""Times what may fail: so many requests of a stream that no number of instances serves are more than chance."""
_LEAST_FAILED, _LEAST_ALLOWED, _JUST = 0.5, 1e-9, 1e-6
"""What stands for no failures, for none that are allowed, and for the least excess, as logarithms are taken."""
_MOST = 64
"""Instances that are tried for each one that the closed form asks for: where that many idle ones are needed so that no
request waits, since a router's errors use up all that may fail, nobody would build them."""


@dataclass(frozen=True, slots=True)
class SizingRules:
    """How carefully a pool is sized."""

    slo: Slo
    requests: int = 20_000
    """Simulated in each try, or more where they come within `seconds`."""
    seconds: float = TRY_S
    warm_up_share: float = 0.2
    seed: int = 0


def instances_needed(  # noqa: PLR0917 - a pool, its instances, what comes, where to begin, and how to go on
    pool: Pool, spec: InstanceSpec, stream: Drawn, guess: int, rules: SizingRules, near: float | None = None
) -> float | None:
    """Instances with which the pool keeps the objective, a fraction for a large one; None where no number does.

    Args:
        pool: which of the two.
        spec: of each instance.
        stream: the pool's traffic; its length in time is what is simulated.
        guess: instances by the closed form.
        rules: of the search.
        near: what other requests of the same traffic took, if that is known: the search begins there.
    """
    if not len(stream):
        return 0.0
    if lost(spec, stream.batch) > _SURELY * (1.0 - rules.slo.percentile / 100):
        return None
    start, stride = (_START * guess, _STRIDE) if near is None else (near, _NEAR_STRIDE)
    if guess > SUBFLEET and (near is None or near > SUBFLEET):
        found = _searched(pool, spec, stream, Bracket(max(start, SUBFLEET), stride, whole=False), guess, rules)
        if found is None or found > SUBFLEET:
            return found
        start, stride = SUBFLEET / 2, _STRIDE  # the closed form asks for far too many
    return _searched(pool, spec, stream, Bracket(max(1.0, round(start)), stride, whole=True), guess, rules)


def lost(spec: InstanceSpec, batch: Batch) -> float:
    """Share of requests that are refused or cut short however many instances there are (`events.submit`)."""
    room = spec.max_model_len - batch.prompt_tokens
    declared = batch.declared_tokens
    wanted = np.where(declared == ABSENT, batch.output_tokens, np.minimum(batch.output_tokens, declared))
    refused = (room < 1) | (declared > spec.max_model_len)
    if spec.overflow is Overflow.REJECT:
        refused |= declared > room
    return float(np.mean(refused | (wanted > room)))


def _searched(  # noqa: PLR0917 - as above
    pool: Pool, spec: InstanceSpec, stream: Drawn, search: Bracket, guess: int, rules: SizingRules
) -> float | None:
    """By tries of a large pool in parts, of a small one whole; a large one that turns out to be small is not parted."""
    whole = _part(stream, 1.0, rules) if search.whole else None
    while (count := search.proposal()) is not None:
        if search.fails >= _MOST * guess:
            return None
        if whole is not None:
            search.put(count, _excess(pool, spec, int(count), whole, rules))
            continue
        count = max(count, SUBFLEET)
        search.put(count, _excess(pool, spec, SUBFLEET, _part(stream, SUBFLEET / count, rules), rules))
        if search.keeps == SUBFLEET:
            return search.keeps
    return search.keeps


def _excess(pool: Pool, spec: InstanceSpec, count: int, stream: Drawn, rules: SizingRules) -> float:
    """Logarithm of the failures of so many instances over what is allowed: above 0 where they miss the objective.

    A try ends when too many have failed, whatever may become of the rest: most of the time of a search would go to
    hopeless fleets.
    """
    run = RunRules(
        requests=len(stream), seed=rules.seed, warm_up_share=rules.warm_up_share, slo=rules.slo, sample_s=math.inf
    )
    total, allowed = len(stream) - int(rules.warm_up_share * len(stream)), 1.0 - rules.slo.percentile / 100
    simulation = Simulation([PoolSpec(pool, count, spec)], stream.in_pieces(_PIECE), rules=run)
    for _ in simulation.steps():
        tally = simulation.so_far().pools[0]
        if tally.arrivals - tally.met_slo > allowed * total:
            break
    tally = simulation.run.pools[0]
    failed = tally.arrivals - tally.met_slo
    # Of those that came so far: it says by how much, and all of them say whether.
    excess = math.log(max(failed, _LEAST_FAILED) / max(1, tally.arrivals) / max(allowed, _LEAST_ALLOWED))
    return min(0.0, excess) if tally.arrivals and failed <= allowed * total else max(_JUST, excess)


def _part(stream: Drawn, share: float, rules: SizingRules) -> Drawn:
    """As many requests of a share of the traffic as a try takes."""
    most = max(rules.requests, math.ceil(rules.seconds * share * stream.rate_per_s))
    return stream.thinned(share, most=most, seed=rules.seed)
