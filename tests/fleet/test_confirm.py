import math

import pytest

from extproc.fleet.confirm import Replication, confirmed, interval, replicate
from extproc.fleet.dispatch import Oracle
from extproc.fleet.simulation import RunRules
from extproc.routing.values import Pool
from tests.fleet.reference import Fixed, pool_of, random_batch, spec_of

SPEC = spec_of(kv_blocks=400, max_num_seqs=16, max_num_batched_tokens=256)
SHORT = spec_of(kv_blocks=120, max_num_seqs=16, max_num_batched_tokens=256, max_model_len=256)


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (11, 2.228), (12, 2.201), (31, 2.042), (1001, 1.962)]
)
def test_an_interval_is_students(count: int, quantile: float) -> None:
    """Half its width is the tabulated 97.5 % quantile times the standard error."""
    values = [float(number % 2) for number in range(count)]
    found = interval(values)
    mean = sum(values) / count
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(quantile * error, rel=2e-3)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_an_interval_of_one_value_has_no_bounds() -> None:
    """Nobody knows them; and of a value without a meaning there is nothing."""
    mean, low, high = interval([3.0])
    assert mean == 3.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(part) for part in interval([1.0, math.nan]))


def test_an_interval_promises_nothing_impossible() -> None:
    """Two shares near the end of their range: the bound is the end."""
    low = interval([0.0, 0.01], least=0.0, most=1.0)
    high = interval([1.0, 0.99], least=0.0, most=1.0)
    assert (low.low, high.high) == (0.0, 1.0)
    assert low.high == pytest.approx(0.005 + 12.706 * 0.005)


def replications() -> list[Replication]:
    """Two pools under an oracle, two times."""
    rules = RunRules(600, warm_up_share=0.0)
    pools = [pool_of(SHORT, pool=Pool.SHORT), pool_of(SPEC, instances=2)]
    return [
        replicate(pools, Fixed(random_batch(600, rate_per_s=4.0, seed=seed)), Oracle(256), rules, 256)
        for seed in (1, 2)
    ]


def test_replications_come_together() -> None:
    """Means over runs, of each pool and of all; an oracle sends nothing wrong and shows no stages."""
    both = replications()
    found = confirmed(both)
    shares = [replication.run.pools[0].slo_share for replication in both]
    assert found.pools[0].slo_share == interval(shares)
    assert found.under == found.over == (0.0, 0.0, 0.0)
    assert found.stages == {}
    lowest, highest = sorted(pool.ttft_p99_s.mean for pool in found.pools)
    assert lowest <= found.fleet.ttft_p99_s.mean <= highest
    assert math.isnan(found.fleet.kv_mean.mean)
    assert 0.0 < found.pools[1].kv_mean.mean < 1.0


def test_a_curve_ends_at_all_requests() -> None:
    """Of all replications together, rising."""
    times, shares = confirmed(replications()).fleet.ttft_curve
    assert times == sorted(times)
    assert shares[-1] == pytest.approx(1.0)


def test_a_pool_that_nothing_came_to_has_no_times() -> None:
    """And does not break the others."""
    rules = RunRules(300, warm_up_share=0.0)
    pools = [pool_of(SPEC, pool=Pool.SHORT), pool_of(SPEC)]
    run = replicate(pools, Fixed(random_batch(300, rate_per_s=2.0, seed=1)), Oracle(1 << 20), rules, 1 << 20)
    found = confirmed([run])
    assert math.isnan(found.pools[1].slo_share.mean)
    assert found.fleet.slo_share.mean > 0.5
