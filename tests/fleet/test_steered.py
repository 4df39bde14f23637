from dataclasses import replace
from itertools import pairwise

import pytest

from extproc.fleet.dispatch import Routed
from extproc.fleet.simulation import Death, Run, RunRules, simulate
from extproc.fleet.steered import Polling
from extproc.fleet.values import Outcome, PoolSpec
from extproc.routing.adaptive import AdaptiveRules
from extproc.routing.steerer import SteeringRules
from extproc.routing.values import Pool
from extproc.settings import Settings
from tests.fleet.reference import Fixed, pool_of, random_batch, spec_of

SPEC = spec_of(kv_blocks=400, max_num_seqs=16, max_num_batched_tokens=256)
SETTINGS = Settings(threshold_tokens=256, short_max_model_len=512, learning_samples=200, warm_up_samples=20)
REQUESTS = 3000
DRAWN = random_batch(REQUESTS, rate_per_s=20.0, seed=1)
BATCH = DRAWN._replace(declared_tokens=DRAWN.output_tokens)
RULES = RunRules(REQUESTS, warm_up_share=0.0)
SPILLS = Polling(SteeringRules())
ADAPTS = Polling(SteeringRules(spillover=None, adaptive=AdaptiveRules(threshold_min_tokens=64)))


def pools(short: int, long: int) -> list[PoolSpec]:
    """So many instances of each."""
    small = replace(SPEC, max_model_len=512)
    return [pool_of(small, instances=short, pool=Pool.SHORT), pool_of(SPEC, instances=long)]


def ran(polling: Polling | None, rules: RunRules = RULES, *, short: int = 1, long: int = 5) -> tuple[Run, Routed]:
    """A fleet whose short pool is too small, by default."""
    routed = Routed(SETTINGS, 0, polling=polling)
    return simulate(pools(short, long), Fixed(BATCH), routed, rules=rules), routed


def told(run: Run) -> list[tuple[int, float]]:
    """What distinguishes one run from another."""
    return [(pool.arrivals, pool.ttft.sum_s) for pool in run.pools]


def test_without_polling_nobody_steers() -> None:
    """The router keeps its threshold and spills nothing."""
    run, routed = ran(None)
    assert routed.steered is None
    assert routed.router.policy.threshold_tokens == 256
    assert sum(count for count, _ in told(run)) == REQUESTS


def test_a_pool_that_is_too_small_is_relieved() -> None:
    """Fewer of its requests stay, and they wait less; the course says what was done."""
    alone, _ = ran(None)
    spilled, routed = ran(SPILLS)
    assert routed.steered is not None
    assert max(routed.steered.course.spilled_from_short) > 0.1
    assert max(routed.steered.course.spilled_from_long) == 0.0
    assert spilled.pools[0].arrivals < alone.pools[0].arrivals
    assert spilled.pools[0].ttft.mean_s < alone.pools[0].ttft.mean_s


def test_the_threshold_moves_in_the_router_itself() -> None:
    """And its course ends where the router's policy is."""
    _, routed = ran(ADAPTS)
    assert routed.steered is not None
    course = routed.steered.course
    assert routed.router.policy.threshold_tokens == course.threshold_tokens[-1] < 256
    assert len(course.time_s) == len(course.threshold_tokens) == len(course.spilled_from_short)


def test_readings_of_a_quiet_fleet_change_nothing() -> None:
    """Looking at it costs no request anything."""
    assert told(ran(None, short=4)[0]) == told(ran(SPILLS, short=4)[0])


@pytest.mark.parametrize("polling", [SPILLS, ADAPTS])
def test_silence_is_no_steering(polling: Polling) -> None:
    """Where no instance ever answers, requests go where they would without a steerer."""
    silent = replace(polling, silences=((0.0, 1e9),))
    assert told(ran(None)[0]) == told(ran(silent)[0])


@pytest.mark.parametrize("polling", [SPILLS, ADAPTS])
def test_the_same_seed_gives_the_same_course(polling: Polling) -> None:
    """To the last request and the last look."""
    (first, one), (second, other) = ran(polling), ran(polling)
    assert told(first) == told(second)
    assert one.steered is not None
    assert other.steered is not None
    assert one.steered.course == other.steered.course


def test_a_long_run_keeps_a_few_hundred_points_of_its_course() -> None:
    """Memory does not grow with time, and the points stay equally far apart."""
    _, routed = ran(replace(SPILLS, every_s=0.1))
    assert routed.steered is not None
    times = routed.steered.course.time_s
    assert 100 < len(times) <= 400
    gaps = {round(after - before, 6) for before, after in pairwise(times)}
    assert len(gaps) == 1


def test_engines_die_when_they_are_told_to() -> None:
    """At set times: what was in flight there fails, and nothing while all are up."""
    rules = replace(RULES, deaths=(Death(50.0, 0, 80.0), Death(60.0, 1, 80.0)))
    run, _ = ran(None, rules, short=2)
    assert run.pools[0].outcomes[Outcome.FAILED] > 0
    assert run.pools[0].outcomes[Outcome.REJECTED_BUSY] > 0
    assert run.pools[1].outcomes[Outcome.FAILED] == 0
