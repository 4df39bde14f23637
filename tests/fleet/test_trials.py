from dataclasses import replace

from extproc.fleet.scenarios import SCENARIOS
from extproc.fleet.trials import Trial
from extproc.routing.steerer import SteeringRules

SCENARIO = replace(next(scenario for scenario in SCENARIOS if scenario.deaths), duration_s=150.0)
"""Half of the short pool dies after two minutes."""


def test_a_trial_says_what_users_got() -> None:
    """Of the requests after the warm-up: times, losses with the engines that died, no course where nobody steers."""
    trial = Trial(SCENARIO, 0, SCENARIO.fleet.threshold_tokens)
    found = trial.perform()
    assert found.requests == len(SCENARIO.draw(0)) - len(SCENARIO.draw(0)) // 10
    assert found.short_ttft_p99_s < found.long_ttft_p99_s or found.short_ttft_p99_s > 5.0
    assert 0.0 < found.lost_share < 0.05
    assert found.refused_share < 0.001
    assert 0.0 < found.slo_share < 1.0
    assert found.course is None
    assert trial.effort == 40.0 * 150.0


def test_a_steered_trial_sees_the_same_requests() -> None:
    """And fewer of them wait where one pool is relieved; without readings all is as it was."""
    fixed = Trial(SCENARIO, 0, SCENARIO.fleet.threshold_tokens)
    steered = replace(fixed, rules=SteeringRules())
    blind = replace(steered, silences=((0.0, 1e9),))
    before, after, unseen = (trial.perform() for trial in (fixed, steered, blind))
    assert after.course is not None
    assert max(after.course.spilled_from_short) > 0.0
    assert after.requests == before.requests
    assert after.short_ttft_p99_s < before.short_ttft_p99_s
    assert unseen._replace(course=None) == before
