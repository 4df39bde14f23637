import pytest

from extproc.fleet.answers import Baseline, FleetPlan, PoolPlan, RouterKind
from extproc.routing.values import Pool


def pool(instances: int, calculated: int, gpus_each: int, usd_each: float) -> PoolPlan:
    """Of a fleet."""
    return PoolPlan(
        Pool.LONG,
        instances,
        calculated,
        "",
        instances * gpus_each,
        instances * usd_each,
        "",
        1.0,
        1.0,
        "kv",
        1,
        1,
        1,
        0,
        1,
    )


def test_a_fleet_is_the_sum_of_its_pools() -> None:
    """GPUs as planned and as the closed form has them, and money by the hour and by the year."""
    fleet = FleetPlan("", "", Baseline.SPLIT, RouterKind.ORACLE, 1, (pool(3, 4, 2, 5.0), pool(2, 1, 8, 16.0)))
    assert fleet.gpus == 3 * 2 + 2 * 8
    assert fleet.gpus_closed_form == 4 * 2 + 1 * 8
    assert fleet.usd_per_hour == pytest.approx(3 * 5.0 + 2 * 16.0)
    assert fleet.usd_per_year == pytest.approx(8760 * 47.0)
