"""What instances say of themselves is judged before it counts, and no reading means no state."""

import math
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.readings import (
    FRESH_POLLS,
    HEARD_POLLS,
    MAX_EVENTS_PER_S,
    MAX_REQUESTS,
    PoolReadings,
    Reading,
    Standing,
    rate_of,
)
from extproc.routing.steering import PoolState

POLL_S: Final = 2.0
GOOD: Final = Reading(0.0, running=8, waiting=2, kv_usage=0.5, preemptions_total=10, tokens_total=1000)


def at(at_s: float, **changed: float | None) -> Reading:
    """A good reading of an instance that works: its tokens grow with time."""
    return msgspec.structs.replace(GOOD, **{"at_s": at_s, "tokens_total": 1000 + 100 * at_s, **changed})


def pool(*instances: str) -> PoolReadings:
    """A pool of which nothing was read yet."""
    readings = PoolReadings(POLL_S)
    readings.know(instances)
    return readings


def test_the_state_is_the_mean_over_the_instances() -> None:
    """Each instance counts once, whatever it carries."""
    readings = pool("a", "b")
    assert readings.take("a", at(0.0, running=10, waiting=0, kv_usage=0.2))
    assert readings.take("b", at(1.0, running=20, waiting=6, kv_usage=0.6))
    assert readings.state(1.0) == PoolState(instances=2, running=15.0, waiting=3.0, kv_usage=0.4)


def test_rates_come_from_the_difference_of_counters() -> None:
    """Per second and instance, over the time between two readings."""
    readings = pool("a", "b")
    for instance, preemptions in (("a", 14), ("b", 10)):
        readings.take(instance, at(0.0, rejections_total=3))
        readings.take(instance, at(4.0, preemptions_total=preemptions, rejections_total=11))
    state = readings.state(4.0)
    assert state is not None
    assert (state.preemptions_per_s, state.rejections_per_s) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("before", "now", "per_s"),
    [
        (10.0, 16.0, 3.0),
        (10.0, 10.0, 0.0),
        (1000.0, 6.0, 0.0),
        (None, 6.0, 0.0),
        (6.0, None, 0.0),
        (0.0, 2 * MAX_EVENTS_PER_S, MAX_EVENTS_PER_S),
        (0.0, 2 * MAX_EVENTS_PER_S + 1, 0.0),
    ],
)
def test_a_rate_is_told_only_where_it_can_be(before: float | None, now: float | None, per_s: float) -> None:
    """A counter that fell is another, one that leaps is none, and one value makes no rate."""
    assert rate_of(before, now, 2.0) == per_s


def test_a_counter_that_fell_says_nothing_until_the_next_reading() -> None:
    """An instance that began anew is read on, and two behind one address are not taken for one under pressure."""
    readings = pool("a")
    readings.take("a", at(0.0, preemptions_total=5000))
    assert readings.take("a", at(2.0, preemptions_total=4, tokens_total=10))
    state = readings.state(2.0)
    assert state is not None
    assert state.preemptions_per_s == 0.0


@pytest.mark.parametrize(
    "changed",
    [
        *({field: value} for field in ("running", "waiting", "kv_usage") for value in (None, math.nan, math.inf, -0.1)),
        {"kv_usage": 1.01},
        {"kv_usage": 57.0},
        {"waiting": MAX_REQUESTS + 1.0},
        {"running": MAX_REQUESTS + 1.0},
        *(
            {field: value}
            for field in ("preemptions_total", "rejections_total", "tokens_total")
            for value in (math.nan, math.inf, -1.0)
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_ignored(changed: dict[str, float | None]) -> None:
    """A number out of bounds or a missing gauge makes the instance's word worth nothing, until it says better."""
    readings = pool("a")
    assert not readings.take("a", at(0.0, **changed))
    assert readings.standing("a", 0.0) is Standing.IMPLAUSIBLE
    assert readings.state(0.0) is None
    assert readings.take("a", at(2.0))
    assert readings.standing("a", 2.0) is Standing.FRESH


def test_counters_may_be_missing() -> None:
    """Versions differ in them; the gauges are enough for a state."""
    readings = pool("a")
    assert readings.take("a", at(0.0, preemptions_total=None, rejections_total=None, tokens_total=None))
    assert readings.state(0.0) is not None


def test_rounding_above_one_is_not_absurd() -> None:
    """A full KV cache may be a hair more than full in floating point, and counts as full."""
    readings = pool("a")
    assert readings.take("a", at(0.0, kv_usage=1.0 + 1e-9))
    state = readings.state(0.0)
    assert state is not None
    assert state.kv_usage == 1.0


def test_nothing_goes_back_in_time() -> None:
    """A reading that is not newer than the last one is none."""
    readings = pool("a")
    readings.take("a", at(4.0))
    assert not readings.take("a", at(4.0))
    assert not readings.take("a", at(3.0))


def test_a_reading_is_good_for_three_polls() -> None:
    """Then the instance is stale, and after thirty polls it is silent."""
    readings = pool("a")
    readings.take("a", at(0.0))
    ages = [FRESH_POLLS * POLL_S, FRESH_POLLS * POLL_S + 0.1, HEARD_POLLS * POLL_S, HEARD_POLLS * POLL_S + 0.1]
    assert [readings.standing("a", age) for age in ages] == ["fresh", "stale", "stale", "silent"]
    assert [readings.state(age) is not None for age in ages] == [True, False, False, False]


def test_polling_more_often_makes_readings_stale_sooner() -> None:
    """Staleness follows the setting when it changes."""
    readings = pool("a")
    readings.take("a", at(0.0))
    readings.poll_s = 0.5
    assert readings.standing("a", 2.0) is Standing.STALE


def test_an_implausible_word_is_forgotten_too() -> None:
    """An instance that said what cannot be and then nothing ends as silent."""
    readings = pool("a")
    readings.take("a", at(0.0, kv_usage=None))
    assert readings.standing("a", FRESH_POLLS * POLL_S) is Standing.IMPLAUSIBLE
    assert readings.standing("a", FRESH_POLLS * POLL_S + 0.1) is Standing.SILENT


@pytest.mark.parametrize(("fresh", "known", "told"), [(1, 1, True), (1, 2, True), (1, 3, False), (2, 3, True)])
def test_a_minority_says_nothing_of_a_pool(fresh: int, known: int, told: bool) -> None:  # noqa: FBT001 - a table
    """Fewer than half of the known instances make no state."""
    readings = pool(*(str(number) for number in range(known)))
    for number in range(fresh):
        readings.take(str(number), at(0.0))
    state = readings.state(0.0)
    assert (state is not None) is told
    assert state is None or state.instances == fresh


def test_an_empty_pool_has_no_state() -> None:
    """Nobody is known, and nobody counts."""
    assert pool().state(0.0) is None
    assert pool().standings(0.0) == dict.fromkeys(Standing, 0)


def test_who_left_is_forgotten_and_who_stays_is_not() -> None:
    """The list of instances may change at any time; a stranger's reading does not count."""
    readings = pool("a", "b")
    readings.take("a", at(0.0))
    readings.know(["a", "c"])
    assert not readings.take("b", at(0.0))
    assert readings.standings(0.0) == {"fresh": 1, "stale": 0, "implausible": 0, "silent": 1}
    readings.know(["c"])
    readings.know(["a"])
    assert readings.standing("a", 0.0) is Standing.SILENT


def test_work_that_does_not_move_is_no_work() -> None:
    """Gauges an idle or hung engine left behind, with requests on them, count for nothing until something moves."""
    readings = pool("a")
    for poll in range(4):
        readings.take("a", at(poll * POLL_S, tokens_total=5))
    assert readings.standing("a", 3 * POLL_S) is Standing.STALE
    assert readings.state(3 * POLL_S) is None
    readings.take("a", at(4 * POLL_S, tokens_total=6))
    assert readings.standing("a", 4 * POLL_S) is Standing.FRESH


def test_tokens_show_that_a_steady_load_is_real() -> None:
    """The same gauges for an hour are plausible as long as tokens are made."""
    readings = pool("a")
    for poll in range(1800):
        readings.take("a", at(poll * POLL_S))
    assert readings.standing("a", 1799 * POLL_S) is Standing.FRESH


def test_waiting_for_an_engine_that_stands_is_no_load_either() -> None:
    """A queue before nobody running, which nothing moves, counts for nothing."""
    readings = pool("a")
    for poll in range(4):
        readings.take("a", at(poll * POLL_S, running=0, tokens_total=5))
    assert readings.standing("a", 3 * POLL_S) is Standing.STALE


def test_an_idle_instance_has_room_whatever_its_last_step_left() -> None:
    """With nobody running or waiting the instance is fresh, and its KV usage counts as 0 once nothing moves."""
    readings = pool("a")
    usages = []
    for poll in range(4):
        readings.take("a", at(poll * POLL_S, running=0, waiting=0, kv_usage=0.97, tokens_total=5))
        state = readings.state(poll * POLL_S)
        assert state is not None
        usages.append(state.kv_usage)
    assert usages == [0.97, 0.97, 0.97, 0.0]


_ANY: Final = st.one_of(st.none(), st.floats(), st.floats(0, 1), st.floats(0, 100))


@given(
    st.lists(
        st.builds(Reading, st.floats(0, 100), _ANY, _ANY, _ANY, _ANY, _ANY, _ANY),
        max_size=12,
    )
)
def test_no_reading_makes_an_absurd_state(said: list[Reading]) -> None:
    """Whatever instances say, a state is finite and within bounds."""
    readings = pool("a", "b")
    for number, reading in enumerate(said):
        readings.take("ab"[number % 2], reading)
    state = readings.state(100.0)
    if state is not None:
        assert 0.0 <= state.kv_usage <= 1.0
        assert all(0.0 <= value <= MAX_REQUESTS for value in (state.running, state.waiting))
        assert all(0.0 <= rate <= MAX_EVENTS_PER_S for rate in (state.preemptions_per_s, state.rejections_per_s))
