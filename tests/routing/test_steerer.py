import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.adaptive import AdaptiveRules
from extproc.routing.pressure import PressureRules, pressure_of
from extproc.routing.spillover import SpilloverRules
from extproc.routing.steerer import Steerer, SteeringRules
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool

HOME, MOST = 4096, 8192
BUSY = PoolState(instances=10, running=60.0, waiting=9.0, kv_usage=0.5)
IDLE = PoolState(instances=10, running=5.0, waiting=0.0, kv_usage=0.1)
SPILLS = SteeringRules()
ADAPTS = SteeringRules(spillover=None, adaptive=AdaptiveRules())
BOTH = SteeringRules(adaptive=AdaptiveRules())
NEITHER = SteeringRules(spillover=None)
STATES = st.none() | st.builds(
    PoolState,
    st.integers(1, 40),
    st.floats(0, 300),
    st.floats(0, 300),
    st.floats(0, 1),
    st.floats(0, 10),
    st.floats(0, 10),
)


def steerer(rules: SteeringRules = SPILLS, *, home: int = HOME, most: int = MOST) -> Steerer:
    """One that has seen nothing yet."""
    return Steerer(rules, threshold_tokens=home, short_max_model_len=most)


def driven(
    subject: Steerer, short: PoolState | None, long: PoolState | None, *, steps: int, from_s: float = 0.0
) -> Steering:
    """The same readings every two seconds; what the last one led to."""
    for number in range(steps - 1):
        subject.step(from_s + 2.0 * number, short, long)
    return subject.step(from_s + 2.0 * (steps - 1), short, long)


def test_by_default_it_spills_and_leaves_the_threshold_alone() -> None:
    """The quick rule is safe anywhere; the slow one is for who asks for it."""
    assert driven(steerer(), BUSY, IDLE, steps=60) == Steering(HOME, Pool.SHORT, SpilloverRules().share_max)


def test_a_steerer_without_rules_says_what_the_operator_says() -> None:
    """Whatever the pools are like."""
    assert driven(steerer(NEITHER), BUSY, IDLE, steps=60) == Steering(HOME)


def test_the_threshold_alone_moves_towards_the_pool_with_room() -> None:
    """In both directions, and says so."""
    lower, higher = steerer(ADAPTS), steerer(ADAPTS)
    assert driven(lower, BUSY, IDLE, steps=60) == Steering(lower.threshold_tokens)
    assert driven(higher, IDLE, BUSY, steps=60) == Steering(higher.threshold_tokens)
    assert lower.threshold_tokens < HOME < higher.threshold_tokens


def test_a_spill_that_lasts_moves_the_threshold_in_its_place() -> None:
    """A pool that no longer waits because half of its requests go elsewhere is not at ease."""
    subject = steerer(BOTH)
    driven(subject, BUSY, IDLE, steps=10)
    held = PoolState(instances=10, running=60.0, waiting=3.0, kv_usage=0.5)
    before = subject.threshold_tokens
    steering = driven(subject, held, IDLE, steps=60, from_s=20.0)
    assert steering.spill_share > 0.3
    assert steering.threshold_tokens < before < HOME


def test_a_relieved_long_pool_counts_as_pressed_too() -> None:
    """Then the threshold rises, and the spilling ends where the short pool holds no more."""
    subject = steerer(BOTH, home=8000)
    driven(subject, IDLE, BUSY, steps=10)
    held = PoolState(instances=10, running=60.0, waiting=2.5, kv_usage=0.5)
    assert driven(subject, IDLE, held, steps=60, from_s=20.0) == Steering(MOST)


@pytest.mark.parametrize("missing", [(None, IDLE), (BUSY, None), (None, None)])
@pytest.mark.parametrize("rules", [SPILLS, ADAPTS, BOTH, NEITHER])
def test_without_readings_nothing_is_steered(
    rules: SteeringRules, missing: tuple[PoolState | None, PoolState | None]
) -> None:
    """No spilling from that moment on, and a threshold that stays where it is."""
    subject = steerer(rules)
    moved = driven(subject, BUSY, IDLE, steps=100).threshold_tokens
    assert driven(subject, *missing, steps=100, from_s=200.0) == Steering(moved)


@pytest.mark.parametrize("rules", [SPILLS, ADAPTS, BOTH, NEITHER])
def test_the_pressure_of_what_is_seen_can_be_shown(rules: SteeringRules) -> None:
    """Of each pool by itself as it was at the last step, whatever is done about it; nothing of one that is not seen."""
    subject = steerer(rules)
    assert subject.pressures == {}
    driven(subject, BUSY, IDLE, steps=100)
    expected = {Pool.SHORT: pressure_of(BUSY, rules.pressure), Pool.LONG: pressure_of(IDLE, rules.pressure)}
    assert subject.pressures == expected
    driven(subject, None, IDLE, steps=1, from_s=200.0)
    assert subject.pressures == {Pool.LONG: expected[Pool.LONG]}


def test_what_counts_as_pressure_is_the_operators() -> None:
    """Who has large batches lets more requests wait."""
    lax = SteeringRules(pressure=PressureRules(waiting=20.0))
    assert driven(steerer(lax), BUSY, IDLE, steps=60) == Steering(HOME)


@pytest.mark.parametrize("rules", [SPILLS, ADAPTS])
def test_no_threshold_exceeds_what_the_short_pool_holds(rules: SteeringRules) -> None:
    """As it is told, or as it turns out; what was wanted comes back with the context."""
    subject = steerer(rules, home=9000)
    assert subject.threshold_tokens == MOST
    subject.fit(4096)
    assert subject.step(0.0, IDLE, IDLE).threshold_tokens == 4096
    subject.fit(16_384)
    assert subject.step(1.0, IDLE, IDLE).threshold_tokens == 9000


@pytest.mark.parametrize("rules", [SPILLS, ADAPTS])
def test_an_operator_who_moves_the_threshold_is_followed(rules: SteeringRules) -> None:
    """At once, whether it may move or not."""
    subject = steerer(rules)
    driven(subject, BUSY, IDLE, steps=30)
    subject.pin(6000)
    assert subject.threshold_tokens == 6000


def test_rules_that_change_leave_alone_what_they_do_not_say() -> None:
    """A new limit of spilling does not move the threshold; turning adaptation off puts it where the operator has it."""
    subject = steerer(BOTH)
    low = driven(subject, BUSY, IDLE, steps=100)
    subject.change(SteeringRules(pressure=PressureRules(waiting=5.0), adaptive=AdaptiveRules()))
    assert subject.step(200.0, BUSY, IDLE).spill_share == low.spill_share == SpilloverRules().share_max
    subject.change(SteeringRules(spillover=SpilloverRules(share_max=0.2), adaptive=AdaptiveRules()))
    after = subject.step(202.0, BUSY, IDLE)
    assert after.spill_share == 0.0
    assert after.threshold_tokens <= low.threshold_tokens < HOME
    subject.change(NEITHER)
    assert subject.step(204.0, BUSY, IDLE) == Steering(HOME)
    subject.change(ADAPTS)
    assert subject.threshold_tokens == HOME


@given(
    st.lists(st.tuples(STATES, STATES, st.floats(0.0, 20.0)), max_size=60),
    st.sampled_from([SPILLS, ADAPTS, BOTH, NEITHER]),
    st.integers(200, 12_000),
)
def test_whatever_the_readings_it_keeps_its_bounds(
    readings: list[tuple[PoolState | None, PoolState | None, float]], rules: SteeringRules, home: int
) -> None:
    """No threshold the short pool cannot hold, no share beyond the cap, nothing spilled without readings of both."""
    subject, now_s = steerer(rules, home=home), 0.0
    for short, long, elapsed_s in readings:
        now_s += elapsed_s
        steering = subject.step(now_s, short, long)
        assert min(home, AdaptiveRules().threshold_min_tokens) <= steering.threshold_tokens <= MOST
        assert 0.0 <= steering.spill_share <= SpilloverRules().share_max
        assert steering.spill_share == 0.0 or (short is not None and long is not None)
        assert steering.spill_from is not Pool.LONG or home < MOST or rules.adaptive is not None
