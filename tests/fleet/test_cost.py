import math
from dataclasses import replace

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.cost import (
    Assumed,
    Demanded,
    Reason,
    budgets,
    instances_for,
    one_pool,
    published_saving,
    rate_within_slo,
    saving,
    split,
    two_pools,
)
from extproc.fleet.values import ABSENT, InstanceSpec, Slo, StepTimes
from extproc.fleet.workload import Lengths
from extproc.routing.values import Pool

SLO = Slo(ttft_s=10.0, tpot_s=0.2)
DEMANDED = Demanded(100.0, SLO)


def spec(max_model_len: int, *, usd_per_hour: float = 8.0, kv_blocks: int = 4_000) -> InstanceSpec:
    """An instance of four GPUs."""
    dense = 0.02 + 0.0001 * np.maximum(0, np.arange(2_049) - 90)
    steps = StepTimes(dense, 1e-5 * np.arange(129, dtype=np.float64), 6e-8, 1e-9, 3e-9)
    return InstanceSpec(max_model_len, 128, 2_048, kv_blocks, steps, gpus=4, usd_per_hour=usd_per_hour)


MIXED = Lengths(
    np.array([200, 800, 3_000, 9_000]),
    np.array([100, 200, 300, 400]),
    np.array([100, ABSENT, 1_000, 400]),
    np.array([0.4, 0.3, 0.2, 0.1]),
)


def test_published_formula() -> None:
    """α(1 − 1/ρ) is 60 % at α = 0.8 and ρ = 4, and negative where the short pool is the slower one."""
    assert published_saving(0.8, 4.0) == pytest.approx(0.6)
    assert published_saving(0.5, 0.5) == pytest.approx(-0.5)


def test_published_formula_refuses_what_is_no_share() -> None:
    """A short fraction beyond 1 is the operator's error."""
    with pytest.raises(ConfigurationError, match="short fraction"):
        published_saving(1.2, 4.0)


def test_budget_is_prompt_and_declared_output() -> None:
    """Where nothing is declared the actual output stands in; an oracle always takes the actual one."""
    assert budgets(MIXED, Assumed.DECLARED).tolist() == [300, 1_000, 4_000, 9_400]
    assert budgets(MIXED, Assumed.ACTUAL).tolist() == [300, 1_000, 3_300, 9_400]


def test_split_parts_the_workload() -> None:
    """Both parts together are the whole, and the threshold itself is short."""
    parts = split(MIXED, 1_000)
    assert parts.share == pytest.approx(0.7)
    assert parts.short.prompt_tokens.tolist() == [200, 800]
    assert parts.short.weight == pytest.approx([4 / 7, 3 / 7])
    assert parts.long.weight == pytest.approx([2 / 3, 1 / 3])


def test_misroutes_move_shares_between_the_pools() -> None:
    """A tenth of the short traffic sent long and a fifth of the long sent short leave 0.7·0.9 + 0.3·0.2 short."""
    parts = split(MIXED, 1_000, over=0.1, under=0.2)
    assert parts.share == pytest.approx(0.7 * 0.9 + 0.3 * 0.2)
    whole = parts.share * float(parts.short.weight @ parts.short.prompt_tokens)
    whole += (1 - parts.share) * float(parts.long.weight @ parts.long.prompt_tokens)
    assert whole == pytest.approx(float(MIXED.weight @ MIXED.prompt_tokens))


def test_misroute_rates_are_shares() -> None:
    """Twelve per cent is 0.12."""
    with pytest.raises(ConfigurationError, match="Misroute"):
        split(MIXED, 1_000, over=12)


def test_instances_are_whole() -> None:
    """1,000 requests/s at 2.8 each are 358 instances; what divides evenly is not rounded up, and one is the least."""
    full = Demanded(1_000.0, SLO, utilisation_cap=1.0)
    assert instances_for(1_000.0, 2.8, full) == 358
    assert instances_for(1_000.0, 0.1, full) == 10_000
    assert instances_for(0.001, 2.8, full) == 1
    assert instances_for(1_000.0, 2.8, replace(full, utilisation_cap=0.85)) == 421
    assert instances_for(1_000.0, 2.8, replace(full, availability=0.5)) == 715


@pytest.mark.parametrize(
    "demanded", [Demanded(0.0, SLO), Demanded(1.0, SLO, utilisation_cap=1.5), Demanded(1.0, SLO, availability=0.0)]
)
def test_senseless_demand_is_refused(demanded: Demanded) -> None:
    """No rate, a cap above 1 and instances that are never up are the operator's errors."""
    with pytest.raises(ConfigurationError, match="above 0"):
        one_pool(MIXED, spec(16_384), demanded)


def test_layout_adds_up() -> None:
    """Instances, GPUs and dollars are sums over pools, and each pool keeps under the utilisation cap."""
    layout = two_pools(split(MIXED, 1_000), spec(1_024, usd_per_hour=4.0), spec(16_384), DEMANDED)
    short, long = layout.pools
    assert (short.pool, long.pool) == (Pool.SHORT, Pool.LONG)
    assert layout.instances == short.instances + long.instances
    assert layout.gpus == 4 * layout.instances
    assert layout.usd_per_year == pytest.approx(8_760 * (4.0 * short.instances + 8.0 * long.instances))
    assert max(short.utilisation, long.utilisation) <= 0.85
    assert short.rate_per_s == pytest.approx(70.0)
    assert (short.instances - 1) * 0.85 * rate_within_slo(short.per_instance) < short.rate_per_s


def test_a_split_may_cost_more() -> None:
    """A trickle that one instance serves takes two when split: the saving is −100 % and shown as such."""
    trickle = replace(DEMANDED, rate_per_s=0.1)
    before = one_pool(MIXED, spec(16_384), trickle)
    after = two_pools(split(MIXED, 1_000), spec(1_024), spec(16_384), trickle)
    assert saving(before, after) == pytest.approx(-1.0)


def test_cheaper_short_instances_save() -> None:
    """At half the price for the short pool the split pays."""
    before = one_pool(MIXED, spec(16_384), DEMANDED)
    after = two_pools(split(MIXED, 4_000), spec(4_096, usd_per_hour=2.0), spec(16_384), DEMANDED)
    assert saving(before, after) > 0.0


@pytest.mark.parametrize(
    ("threshold", "short", "reason", "pool"),
    [
        (10, spec(16_384), Reason.SHORT_POOL_EMPTY, Pool.SHORT),
        (20_000, spec(16_384), Reason.LONG_POOL_EMPTY, Pool.LONG),
        (1_000, spec(16_384, kv_blocks=1_000), Reason.INSTANCE_TOO_SMALL, Pool.SHORT),
        (1_000, spec(100), Reason.NOTHING_FITS, Pool.SHORT),
    ],
)
def test_impossible_layouts_say_why(threshold: int, short: InstanceSpec, reason: Reason, pool: Pool) -> None:
    """Each reason names its pool, and no price is invented."""
    layout = two_pools(split(MIXED, threshold), short, spec(16_384), DEMANDED)
    assert (layout.reason, layout.blocked, layout.usd_per_hour) == (reason, pool, math.inf)
    assert layout.detail
    assert math.isnan(saving(one_pool(MIXED, spec(16_384), DEMANDED), layout))


def test_slo_out_of_reach_is_a_reason() -> None:
    """A TPOT shorter than one step cannot be bought."""
    layout = one_pool(MIXED, spec(16_384), Demanded(1.0, Slo(tpot_s=0.001)))
    assert layout.reason is Reason.SLO_UNREACHABLE
    assert "tpot" in layout.detail
