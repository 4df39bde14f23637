import pytest

from extproc.fleet.values import CATEGORIES, Balancing, PoolSpec, Slo
from extproc.routing.values import Category, Pool
from tests.fleet.reference import spec_of


def test_a_pool_is_so_many_instances() -> None:
    """Their GPUs and their price; Envoy's default is not what we configure."""
    spec = spec_of(kv_blocks=10, max_num_seqs=1, max_num_batched_tokens=16, gpus=4, usd_per_hour=8.84)
    pool = PoolSpec(Pool.LONG, 3, spec)
    assert pool.gpus == 12
    assert pool.usd_per_hour == pytest.approx(26.52)
    assert pool.balancing is Balancing.LEAST_REQUEST


def test_the_objective_is_the_published_one() -> None:
    """TTFT of 2 s and TPOT of 80 ms at the 99th percentile (arXiv 2604.08075)."""
    assert (Slo().ttft_s, Slo().tpot_s, Slo().percentile) == (2.0, 0.08, 99.0)


def test_categories_are_numbered_in_order() -> None:
    """Every one of the router's, once."""
    assert set(CATEGORIES) == set(Category)
    assert len(CATEGORIES) == len(Category)
