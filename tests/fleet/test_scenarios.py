import pickle

import numpy as np
import pytest

from extproc.fleet import scenarios
from extproc.fleet.scenarios import A100, AGENTS, DURATION_S, RTX_4090, SCENARIOS, Level, Scenario, SteadyFleet
from extproc.fleet.values import Ints

LEVELS = [
    scenarios.steady,
    scenarios.bursts,
    scenarios.day,
    scenarios.longer,
    scenarios.shorter,
    scenarios.turns,
    scenarios.quick_turns,
]


def short_ones(scenario: Scenario, seed: int = 0) -> tuple[Ints, Ints]:
    """Requests of each 20 s that fit the planned threshold, and others."""
    batch = scenario.draw(seed).batch
    fits = batch.prompt_tokens + batch.output_tokens <= scenario.fleet.threshold_tokens
    edges = np.arange(0.0, DURATION_S + 1.0, 20.0)
    return np.histogram(batch.arrival_s[fits], edges)[0], np.histogram(batch.arrival_s[~fits], edges)[0]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("fleet", [A100, RTX_4090, AGENTS])
def test_requests_come_as_the_level_says(level: Level, fleet: SteadyFleet) -> None:
    """In all, within five standard deviations, in order, and each with an output it declares."""
    scenario = Scenario("", "", fleet, level)
    batch = scenario.draw(1).batch
    at = np.arange(0.5, DURATION_S, 1.0).tolist()
    counts = [np.sum(part) for part in short_ones(scenario, 1)]
    steady = [np.sum(part) for part in short_ones(Scenario("", "", fleet, scenarios.steady), 1)]
    for count, planned, mean in zip(counts, steady, np.mean([level(now_s) for now_s in at], axis=0), strict=True):
        assert count == pytest.approx(planned * mean, abs=5.0 * (planned * (1.0 + mean)) ** 0.5)
    assert np.all(np.diff(batch.arrival_s) >= 0.0)
    assert batch.arrival_s[-1] < DURATION_S
    assert np.array_equal(batch.declared_tokens, batch.output_tokens)


def test_turns_take_turns() -> None:
    """Short requests in one minute, long ones in the next."""
    short, long = short_ones(Scenario("", "", A100, scenarios.turns))
    assert short[:3].sum() > 2 * short[3:6].sum()
    assert long[:3].sum() < 0.5 * long[3:6].sum()


def test_the_same_seed_gives_the_same_requests() -> None:
    """And another seed others, so that ways to steer can be compared request by request."""
    one, again, other = (SCENARIOS[1].draw(seed).batch for seed in (3, 3, 4))
    assert np.array_equal(one.arrival_s, again.arrival_s)
    assert np.array_equal(one.prompt_tokens, again.prompt_tokens)
    assert len(one.arrival_s) != len(other.arrival_s) or not np.array_equal(one.arrival_s, other.arrival_s)


def test_deaths_fall_into_the_right_pool() -> None:
    """Half of it, and while requests come."""
    for scenario in SCENARIOS:
        short, long = scenario.fleet.short, scenario.fleet.long
        dead = {death.instance for death in scenario.deaths}
        assert all(0.0 < death.at_s < death.until_s < DURATION_S for death in scenario.deaths)
        assert not dead or dead <= set(range(short)) or dead <= set(range(short, short + long))
        assert len(dead) in (0, (short + 1) // 2, (long + 1) // 2)


def test_every_fleet_can_be_built_and_crosses_to_another_process() -> None:
    """Thresholds within what the short pool holds, and one instance or more of each."""
    for scenario in SCENARIOS:
        short, long = scenario.fleet.pools()
        assert short.instance.max_model_len == scenario.fleet.short_max_model_len < long.instance.max_model_len
        assert max(scenario.fleet.thresholds) <= scenario.fleet.short_max_model_len
        assert pickle.loads(pickle.dumps(scenario)) == scenario
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
