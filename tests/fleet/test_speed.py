import pytest

from extproc.fleet.speed import INSTANCES, QUICK, Case, Timed, cases, fleet, long_run, measure, speeds


def test_the_fleet_is_not_overrun() -> None:
    """What is measured is a fleet as it would be planned: nearly all requests keep the objective."""
    timed = measure(Case("oracle", 40, 4000), seed=0)
    assert timed.met_slo > 0.95
    assert timed.per_s > 0


def test_both_routers_are_measured_at_every_size() -> None:
    """At the same rate for each instance."""
    tried = cases(QUICK)
    assert {(case.router, case.instances) for case in tried} == {
        (router, size) for router in ("anytime", "oracle") for size in (10, 358, 3000)
    }
    assert len({case.rate_per_s / case.instances for case in tried}) == 1
    assert sum(pool.instances for pool in fleet(INSTANCES)) == INSTANCES


def test_medians_are_over_rounds() -> None:
    """And costs relative to the middle size, round by round."""
    tried = [Case("oracle", INSTANCES, 10), Case("oracle", 10, 10)]
    rounds = [
        [Timed(100.0, 1.0), Timed(200.0, 0.9)],
        [Timed(50.0, 1.0), Timed(50.0, 1.0)],
        [Timed(80.0, 1), Timed(80.0, 1)],
    ]
    found = speeds(rounds, tried)
    assert [each.per_s for each in found] == [80.0, 80.0]
    assert found[0].relative == 1.0
    assert found[1].relative == pytest.approx(1.0)
    assert (found[1].low, found[1].high, found[1].met_slo) == (50.0, 200.0, 0.9)


def test_a_long_run_tells_how_far_it_is() -> None:
    """And at last its time and memory."""
    states = list(long_run("oracle", seconds_s=3.0, rate_per_s=500.0))
    assert states[-1].requests == 1500
    assert states[-1].instances == 179
    assert states[-1].wall_s > 0
    assert states[-1].peak_mib > 10
