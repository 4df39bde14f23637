import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.adaptive import AdaptiveRules, AdaptiveThreshold

RULES = AdaptiveRules(
    threshold_min_tokens=1024,
    away_per_min=0.1,
    back_per_min=0.2,
    home_per_min=0.05,
    smoothing_s=30.0,
    begin=0.5,
    end=0.25,
)
HOME, MOST = 4096, 8192
EVERY_S = 2.0
PRESSURES = st.none() | st.floats(0.0, 10.0)


def threshold(rules: AdaptiveRules = RULES, *, home: int = HOME, most: int = MOST) -> AdaptiveThreshold:
    """One that has seen nothing yet."""
    return AdaptiveThreshold(rules, threshold_tokens=home, short_max_model_len=most)


class Clock:
    """Brings readings at equal distances."""

    def __init__(self, adaptive: AdaptiveThreshold) -> None:
        self.adaptive = adaptive
        self.now_s = 0.0

    def run(self, minutes: float, short: float | None, long: float | None) -> int:
        """The same readings for a while; the threshold they end at."""
        tokens = self.adaptive.tokens
        for _ in range(round(minutes * 60 / EVERY_S)):
            tokens = self.adaptive.step(self.now_s, short, long)
            self.now_s += EVERY_S
        return tokens


def test_it_begins_where_the_operator_has_put_it() -> None:
    """Or at what the short pool holds, if that is less."""
    assert threshold().tokens == HOME
    assert threshold(home=9000).tokens == threshold(home=9000).home_tokens == MOST


def test_a_pressed_short_pool_lowers_it_and_a_pressed_long_pool_raises_it() -> None:
    """Which sends more requests to the pool that has room: ten per cent a minute, to a grain of one."""
    assert Clock(threshold()).run(5, 1.0, 0.0) == pytest.approx(HOME * math.exp(-0.5), rel=0.01)
    assert Clock(threshold()).run(5, 0.0, 1.0) == pytest.approx(HOME * math.exp(0.5), rel=0.01)


def test_it_ends_at_its_bounds_and_leaves_them_at_once() -> None:
    """However long a pool was pressed, nothing has added up that must be worked off first."""
    clock = Clock(threshold())
    assert clock.run(120, 1.0, 0.0) == RULES.threshold_min_tokens
    clock.run(1, 0.0, 1.0)  # until the smoothed pressures have changed sides
    assert clock.run(3, 0.0, 1.0) > 1.25 * RULES.threshold_min_tokens
    assert clock.run(120, 0.0, 1.0) == MOST


def test_a_whole_per_cent_never_leads_beyond_what_the_short_pool_holds() -> None:
    """Nor does the last one before the bound, which may lie between two."""
    clock = Clock(threshold(home=4096, most=4110))
    assert {clock.run(0.1, 0.0, 1.0) for _ in range(10)} <= {4096, 4110}


def test_an_operator_below_the_least_is_not_overruled() -> None:
    """Then the operator's own threshold is the least."""
    assert Clock(threshold(home=512)).run(60, 1.0, 0.0) == 512


@pytest.mark.parametrize("pressure", [0.5, 1.0, 9.0])
def test_pressure_on_both_moves_nothing(pressure: float) -> None:
    """No threshold helps two pools that are both too small, however unequally they are."""
    clock = Clock(threshold())
    moved = clock.run(5, 1.0, 0.0)
    clock.run(0.5, pressure, 5.0 if pressure == 9.0 else pressure)
    settled = clock.adaptive.tokens
    assert clock.run(30, pressure, 5.0 if pressure == 9.0 else pressure) == pytest.approx(settled, rel=0.03)
    assert moved < HOME


def test_two_calm_pools_let_it_drift_home() -> None:
    """Slowly, from either side, and it stays there."""
    for short, long in ((1.0, 0.0), (0.0, 1.0)):
        clock = Clock(threshold())
        away = clock.run(5, short, long)
        clock.run(2, 0.2, 0.2)
        assert away != clock.adaptive.tokens != HOME
        assert clock.run(60, 0.2, 0.2) == HOME


def test_it_goes_on_moving_until_the_difference_is_small() -> None:
    """It begins above one difference and stops below another, so that it does not start and stop at every reading."""
    clock = Clock(threshold())
    begun = clock.run(2, 1.0, 0.2)
    assert clock.run(2, 0.8, 0.4) < begun
    stopped = clock.run(2, 1.0, 0.9)
    assert clock.run(2, 0.8, 0.4) == pytest.approx(stopped, rel=0.001)


def test_it_leaves_home_only_for_a_pool_with_room() -> None:
    """A pool that is not calm gets no more than was planned for it, and one that is no longer at ease no more still."""
    clock = Clock(threshold())
    assert clock.run(5, 1.0, 0.3) == HOME
    gone = clock.run(5, 1.0, 0.1)
    assert gone < HOME
    clock.run(2, 1.0, 0.55)
    assert clock.run(5, 1.0, 0.55) == pytest.approx(clock.adaptive.tokens, rel=0.001)


def test_it_returns_faster_than_it_left() -> None:
    """Also to a pool that is not calm: that much was planned for it."""
    clock = Clock(threshold())
    clock.run(8, 1.0, 0.0)
    gone = clock.run(1.5, 0.3, 1.0)
    assert clock.run(2, 0.3, 1.0) == pytest.approx(gone * math.exp(2 * RULES.back_per_min), rel=0.015)


def test_a_difference_that_changes_sides_stops_it() -> None:
    """It does not go on in the old direction until the new one is as large."""
    quick = AdaptiveThreshold(AdaptiveRules(smoothing_s=0.001), threshold_tokens=HOME, short_max_model_len=MOST)
    clock = Clock(quick)
    low = clock.run(3, 1.0, 0.0)
    assert clock.run(3, 0.5, 0.9) == low


@pytest.mark.parametrize("missing", [(None, 0.0), (1.0, None), (None, None)])
def test_without_readings_it_is_frozen(missing: tuple[float | None, float | None]) -> None:
    """It neither moves on nor drifts home, and judges anew when they are back."""
    clock = Clock(threshold())
    low = clock.run(5, 1.0, 0.0)
    assert clock.run(60, *missing) == low
    assert clock.run(0.1, 0.6, 0.5) == low


def test_a_pause_counts_as_ten_seconds() -> None:
    """A loop that hung or a clock that ran backwards brings no jump."""
    adaptive = threshold()
    for now_s in (0.0, 36_000.0, 10.0):
        tokens = adaptive.step(now_s, 1.0, 0.0)
    assert tokens == pytest.approx(HOME * math.exp(-0.1 * 10 / 60), rel=0.01)


def test_what_the_short_pool_holds_bounds_it() -> None:
    """Where that changes, a threshold at the operator's stays there as far as it fits, another one where it is."""
    adaptive = threshold()
    adaptive.fit(2048)
    assert adaptive.tokens == 2048
    adaptive.fit(MOST)
    assert adaptive.tokens == HOME
    clock = Clock(adaptive)
    high = clock.run(3, 0.0, 1.0)
    adaptive.fit(2 * MOST)
    assert adaptive.tokens == high > HOME


def test_an_operator_who_moves_the_threshold_is_followed_at_once() -> None:
    """Settings that are read again without a change to it move nothing."""
    clock = Clock(threshold())
    low = clock.run(5, 1.0, 0.0)
    clock.adaptive.pin(HOME)
    assert clock.adaptive.tokens == low
    clock.adaptive.pin(6000)
    assert clock.adaptive.tokens == clock.adaptive.home_tokens == 6000


@given(st.lists(st.tuples(PRESSURES, PRESSURES, st.floats(-5.0, 60.0)), max_size=200))
def test_whatever_the_readings_it_keeps_its_bounds(readings: list[tuple[float | None, float | None, float]]) -> None:
    """Between the least and what the short pool holds, and no faster than its step and a grain."""
    adaptive, now_s = threshold(), 0.0
    found = [adaptive.tokens]
    for short, long, elapsed_s in readings:
        now_s += elapsed_s
        found.append(adaptive.step(now_s, short, long))
        assert RULES.threshold_min_tokens <= found[-1] <= MOST
        assert None not in (short, long) or found[-1] == found[-2]
    for before, after in pairwise(found):
        assert abs(math.log(after / before)) <= RULES.back_per_min * 10.0 / 60.0 + 2 * math.log(1.01)


@given(st.integers(1, 300), st.floats(0.0, 1.0))
def test_pressure_that_swings_swings_it_by_half_a_period_at_most(half: int, phase: float) -> None:
    """From side to side as hard as can be, at any period, also its own: no resonance, and no drift to one side.

    Each side is read equally often; where a period is no even number of readings, one side is pressed more than the
    other as far as anybody can tell, and the threshold rightly moves.
    """
    adaptive, found, period_s = threshold(), [], 2.0 * half * EVERY_S
    for number in range(3000):
        now_s = EVERY_S * number
        first_half = (number + round(2 * half * phase)) % (2 * half) < half
        found.append(adaptive.step(now_s, 1.0 if first_half else 0.0, 0.0 if first_half else 1.0))
    swing = RULES.back_per_min * period_s / 2 / 60
    settled = found[len(found) // 2 :]
    assert math.log(max(settled) / min(settled)) <= swing + RULES.back_per_min * EVERY_S / 60 * 2 + 2 * math.log(1.01)
