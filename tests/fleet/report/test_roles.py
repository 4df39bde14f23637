from dataclasses import replace

import pytest

from extproc.fleet.answers import Baseline, Interval, Plan
from extproc.fleet.report import roles


def test_costs_are_compared_like_with_like(saved: Plan, unsimulated: Plan) -> None:
    """Simulated fleets as the plan does, replication by replication; by the closed form where nothing was simulated."""
    assert roles.saving(saved, saved.fleets[5], Baseline.B1) is saved.fleets[5].saving_b1
    assert roles.saving(saved, saved.fleets[6], Baseline.B1) is None
    found = roles.saving(unsimulated, unsimulated.fleets[6], Baseline.B1)
    assert found is not None
    assert found.mean == pytest.approx(1 - 296 / 344)
    counted = replace(unsimulated, ask=replace(unsimulated.ask, priced=False))
    assert roles.saving(counted, counted.fleets[6], Baseline.B1) == pytest.approx(found, nan_ok=True)


def test_nothing_is_compared_with_what_is_not_there(saved: Plan) -> None:
    """Neither with itself, nor without a baseline, nor where a fleet cannot be built."""
    assert roles.saving(saved, saved.fleets[1], Baseline.B1) is None
    assert roles.saving(replace(saved, fleets=saved.fleets[2:]), saved.fleets[4], Baseline.B1) is None
    assert roles.saving(saved, saved.fleets[7], Baseline.B1) is None


def test_baselines_must_be_feasible(saved: Plan) -> None:
    """A baseline that cannot be built is none."""
    broken = replace(saved, fleets=tuple(replace(fleet, infeasible="too small") for fleet in saved.fleets))
    assert roles.baseline(saved, Baseline.B2) is saved.fleets[2]
    assert roles.baseline(broken, Baseline.B2) is None


def test_the_split_with_our_router_is_looked_at_even_if_it_does_not_pay(saved: Plan) -> None:
    """Not the oracle's, although that is cheaper."""
    kept = replace(saved, recommended=2)
    assert roles.split(kept) is saved.fleets[4]
    assert [fleet.name for fleet in roles.compared(kept)] == [saved.fleets[at].name for at in (1, 2, 4)]


def test_a_year_has_the_interval_of_its_hours(saved: Plan) -> None:
    """By what replications cost an hour; none where none was simulated."""
    found = roles.usd_range(saved.fleets[4])
    assert found.low == pytest.approx(262 * 2.21 * 8760)
    assert found.high == pytest.approx(276 * 2.21 * 8760)
    unknown = roles.usd_range(saved.fleets[6])
    assert unknown.low == unknown.mean == unknown.high


def test_a_fleet_may_be_larger_than_the_mean_need(saved: Plan) -> None:
    """Sized for its neediest replication: its interval is of what replications need on average."""
    fleet = replace(saved.fleets[5], usd_range=Interval(*(2.21 * gpus for gpus in (280, 276, 284))))
    assert fleet.gpus == 288
    assert roles.usd_range(fleet) == pytest.approx([gpus * 2.21 * 8760 for gpus in (280, 276, 284)])
