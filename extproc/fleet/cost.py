"""What a fleet costs and what a split saves: whole instances, each pool at its own rate.

It knows rates, shares and prices, nothing of how an instance works (`extproc.fleet.capacity`) or of how requests are
estimated: what goes to the wrong pool comes in as two rates. A split may cost more, and then the saving is negative.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.capacity import Capacity, capacity
from extproc.fleet.values import ABSENT, BLOCK_TOKENS, InstanceSpec, Ints, Slo
from extproc.fleet.workload import Lengths
from extproc.routing.values import Pool

HOURS_PER_YEAR = 8_760
_STEADY = 1e-9
"""By which a quotient may exceed a whole number for its last bits alone."""


class Reason(StrEnum):
    """Why a fleet cannot be laid out."""

    SHORT_POOL_EMPTY = "short_pool_empty"
    """No request is within the threshold."""
    LONG_POOL_EMPTY = "long_pool_empty"
    """Every request is within the threshold: nothing is left to separate."""
    INSTANCE_TOO_SMALL = "instance_too_small"
    """The KV cache does not hold one request of max_model_len: vLLM would not start."""
    NOTHING_FITS = "nothing_fits"
    """No request of the pool fits max_model_len."""
    SLO_UNREACHABLE = "slo_unreachable"
    """Even an almost idle instance breaks the SLO."""


class Assumed(StrEnum):
    """What stands for the output of a request before it is written."""

    DECLARED = "declared"
    """What the client declares, the actual output where it declares nothing: what a router can know at best."""
    ACTUAL = "actual"
    """The actual output: an oracle."""


@dataclass(frozen=True, slots=True)
class Demanded:
    """What is asked of a fleet, and how carefully it is filled."""

    rate_per_s: float
    slo: Slo
    utilisation_cap: float = 0.85
    """Share of an instance's rate that is planned for (0.85: fleet-sim of vllm-project/semantic-router)."""
    availability: float = 1.0
    """Share of its time that an instance is up."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A pool: its traffic, what an instance of it sustains, how many there must be."""

    pool: Pool
    instance: InstanceSpec
    rate_per_s: float
    per_instance: Capacity
    instances: int

    @property
    def gpus(self) -> int:
        """All GPUs of the pool."""
        return self.instances * self.instance.gpus

    @property
    def usd_per_hour(self) -> float:
        """Price of the pool."""
        return self.instances * self.instance.usd_per_hour

    @property
    def utilisation(self) -> float:
        """Share of the rate within the SLO that the traffic takes of instances that are all up."""
        return self.rate_per_s / (self.instances * rate_within_slo(self.per_instance))


@dataclass(frozen=True, slots=True)
class Layout:
    """A fleet that meets the demand, or why there is none."""

    pools: tuple[Sized, ...]
    """Empty if there is a reason."""
    reason: Reason | None = None
    blocked: Pool | None = None
    """The pool that the reason is about."""
    detail: str = ""
    """The reason in a sentence, with its figures."""

    @property
    def feasible(self) -> bool:
        """Whether the demand can be met so."""
        return self.reason is None

    @property
    def instances(self) -> int:
        """Over all pools."""
        return sum(pool.instances for pool in self.pools)

    @property
    def gpus(self) -> int:
        """Over all pools."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def usd_per_hour(self) -> float:
        """Over all pools; infinite where the demand cannot be met."""
        return sum(pool.usd_per_hour for pool in self.pools) if self.feasible else math.inf

    @property
    def usd_per_year(self) -> float:
        """Over all pools, for 8,760 hours."""
        return self.usd_per_hour * HOURS_PER_YEAR


class Split(NamedTuple):
    """A workload in two parts."""

    short: Lengths
    """What is routed short; weights sum to 1."""
    share: float
    """Of all requests, routed short."""
    long: Lengths


def published_saving(short_fraction: float, throughput_ratio: float) -> float:
    """Share of instances saved by the published closed form α·(1 − 1/ρ) (arXiv 2604.09613).

    It neither rounds to whole instances nor lets the long pool's rate differ from that of the homogeneous fleet.

    Raises:
        ConfigurationError: α is not within 0 and 1 or ρ is not positive.
    """
    if not 0.0 <= short_fraction <= 1.0 or throughput_ratio <= 0.0:
        raise ConfigurationError("The short fraction must lie within 0 and 1 and the throughput ratio above 0.")
    return short_fraction * (1.0 - 1.0 / throughput_ratio)


def saving(before: Layout, after: Layout) -> float:
    """Share of the price that `after` saves against `before`: negative where it costs more.

    NaN where either cannot be laid out, or `before` has no price.
    """
    if not (before.feasible and after.feasible) or before.usd_per_hour <= 0.0:
        return math.nan
    return 1.0 - after.usd_per_hour / before.usd_per_hour


def rate_within_slo(what: Capacity) -> float:
    """Requests per second of one instance within the SLO; 0 where it cannot keep it."""
    return 0.0 if what.within_slo is None else what.within_slo.rate_per_s


def instances_for(rate_per_s: float, per_instance_per_s: float, demanded: Demanded) -> int:
    """Whole instances for a rate: ⌈rate / (rate of one · utilisation cap · availability)⌉, at least one."""
    _check(demanded)
    needed = rate_per_s / (per_instance_per_s * demanded.utilisation_cap * demanded.availability)
    return max(1, math.ceil(needed * (1.0 - _STEADY)))


def budgets(lengths: Lengths, assumed: Assumed) -> Ints:
    """Prompt and assumed output of each request, in tokens."""
    unknown = (lengths.declared_tokens == ABSENT) | (assumed is Assumed.ACTUAL)
    output = np.where(unknown, lengths.output_tokens, lengths.declared_tokens)
    return np.asarray(lengths.prompt_tokens + output, dtype=np.int64)


def split(
    lengths: Lengths,
    threshold_tokens: int,
    *,
    over: float = 0.0,
    under: float = 0.0,
    assumed: Assumed = Assumed.DECLARED,
) -> Split:
    """Part the workload by budget: up to the threshold goes short.

    `over` is the share of what belongs short that goes long nevertheless, `under` the share of what belongs long that
    goes short; both are taken evenly from all lengths. A part of no weight has no rows.

    Raises:
        ConfigurationError: a misroute rate is not within 0 and 1.
    """
    if not (0.0 <= over <= 1.0 and 0.0 <= under <= 1.0):
        raise ConfigurationError("Misroute rates are shares: give `over` and `under` within 0 and 1.")
    belongs = budgets(lengths, assumed) <= threshold_tokens
    short = lengths.weight * np.where(belongs, 1.0 - over, under)
    total = float(lengths.weight.sum())
    return Split(_part(lengths, short), float(short.sum()) / total, _part(lengths, lengths.weight - short))


def one_pool(lengths: Lengths, instance: InstanceSpec, demanded: Demanded) -> Layout:
    """Lay out a homogeneous fleet."""
    return _laid_out([_sized(Pool.LONG, lengths, 1.0, instance, demanded)])


def two_pools(
    parts: Split,
    short: InstanceSpec,
    long: InstanceSpec,
    demanded: Demanded,
) -> Layout:
    """Lay out a fleet of two pools, each for its own lengths at its own rate.

    What goes short and does not fit loads the short pool with what it truncates to, or is refused, as the instance's
    `overflow` says; `per_instance.rejected` of the pool tells the refused share.
    """
    if parts.share <= 0.0:
        return Layout((), Reason.SHORT_POOL_EMPTY, Pool.SHORT, "No request would go to the short pool.")
    if not len(parts.long.weight):
        return Layout((), Reason.LONG_POOL_EMPTY, Pool.LONG, "The long pool would be empty: every request goes short.")
    return _laid_out(
        [
            _sized(Pool.SHORT, parts.short, parts.share, short, demanded),
            _sized(Pool.LONG, parts.long, 1.0 - parts.share, long, demanded),
        ]
    )


def _laid_out(pools: list[Sized | Layout]) -> Layout:
    """Put pools together, or pass on why the first of them cannot be."""
    refused = next((pool for pool in pools if isinstance(pool, Layout)), None)
    return refused or Layout(tuple(pool for pool in pools if isinstance(pool, Sized)))


def _sized(pool: Pool, lengths: Lengths, share: float, instance: InstanceSpec, demanded: Demanded) -> Sized | Layout:
    """Size one pool, or say why it cannot be sized."""
    _check(demanded)
    if instance.kv_blocks * BLOCK_TOKENS < instance.max_model_len:
        held = instance.kv_blocks * BLOCK_TOKENS
        detail = f"An instance holds {held} tokens of KV, less than one request of max_model_len."
        return Layout((), Reason.INSTANCE_TOO_SMALL, pool, detail)
    if not (lengths.prompt_tokens < instance.max_model_len).any():
        detail = f"No prompt of the {pool.value} pool is shorter than max_model_len {instance.max_model_len}."
        return Layout((), Reason.NOTHING_FITS, pool, detail)
    what = capacity(instance, lengths, demanded.slo)
    if what.within_slo is None:
        detail = f"One instance alone breaks the SLO of the {pool.value} pool ({what.breaks.value})."
        return Layout((), Reason.SLO_UNREACHABLE, pool, detail)
    rate = demanded.rate_per_s * share
    return Sized(pool, instance, rate, what, instances_for(rate, what.within_slo.rate_per_s, demanded))


def _part(lengths: Lengths, weight: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Lengths:
    """Rows that have weight, which sums to 1 again."""
    kept = weight > 0.0
    total = weight[kept].sum() if kept.any() else 1.0
    columns = (lengths.prompt_tokens[kept], lengths.output_tokens[kept], lengths.declared_tokens[kept])
    return Lengths(*columns, weight[kept] / total)


def _check(demanded: Demanded) -> None:
    """Refuse a demand that no number of instances means anything for."""
    if not 0.0 < demanded.utilisation_cap <= 1.0 or not 0.0 < demanded.availability <= 1.0:
        raise ConfigurationError("Utilisation cap and availability are shares: above 0 and at most 1.")
    if not demanded.rate_per_s > 0.0:
        raise ConfigurationError("The request rate must be above 0 per second.")
