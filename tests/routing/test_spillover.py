from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.pressure import CALM, EASED, FULL
from extproc.routing.spillover import Load, Spill, Spillover, SpilloverRules
from extproc.routing.values import Pool

RULES = SpilloverRules(share_max=0.5, up_per_s=0.05, down_per_s=0.1)
PRESSED, BETWEEN, CALM_LOAD = Load(FULL, 10), Load(0.75, 10), Load(CALM, 10)
NOTHING = Spill()
LOADS = st.none() | st.builds(Load, st.floats(0.0, 5.0), st.integers(1, 40))


def stepped(
    loads: Sequence[tuple[Load | None, Load | None]], *, every_s: float = 2.0, short_holds_more: bool = True
) -> list[Spill]:
    """What comes of readings that follow each other."""
    spillover = Spillover(RULES)
    return [
        spillover.step(number * every_s, short, long, short_holds_more=short_holds_more)
        for number, (short, long) in enumerate(loads)
    ]


def shares(spills: list[Spill]) -> list[float]:
    """Of each."""
    return [round(spill.share, 6) for spill in spills]


def test_a_pressed_pool_is_relieved_step_by_step_up_to_the_cap() -> None:
    """One reading alone spills nothing; from the second on the share grows by the time between them."""
    found = stepped([(PRESSED, CALM_LOAD)] * 8)
    assert shares(found) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5]
    assert {spill.spill_from for spill in found[1:]} == {Pool.SHORT}


def test_the_long_pool_is_relieved_only_by_a_short_one_that_holds_more() -> None:
    """Where the threshold is all that the short pool holds, nothing that goes long would fit it."""
    pressed_long = [(CALM_LOAD, PRESSED)] * 3
    assert stepped(pressed_long)[-1] == Spill(Pool.LONG, 0.2)
    assert stepped(pressed_long, short_holds_more=False)[-1] == NOTHING


def test_spilling_long_ends_when_the_short_pool_holds_no_more() -> None:
    """The threshold may rise to what it holds while requests spill."""
    spillover = Spillover(RULES)
    for now_s in (0.0, 2.0):
        spillover.step(now_s, CALM_LOAD, PRESSED, short_holds_more=True)
    assert spillover.step(4.0, CALM_LOAD, PRESSED, short_holds_more=False) == NOTHING


@pytest.mark.parametrize("other", [Load(FULL, 10), Load(EASED, 10), Load(CALM + 0.01, 10)])
def test_nothing_spills_to_a_pool_without_room(other: Load) -> None:
    """Two pools under pressure are too small; sending requests back and forth helps nobody."""
    assert stepped([(PRESSED, other)] * 5) == [NOTHING] * 5


def test_the_share_stays_between_the_levels_and_falls_below() -> None:
    """Readings that wander between eased and full change nothing."""
    found = stepped([(PRESSED, CALM_LOAD)] * 4 + [(BETWEEN, CALM_LOAD)] * 3 + [(Load(EASED, 10), CALM_LOAD)] * 3)
    assert shares(found) == [0.0, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.1, 0.0, 0.0]
    assert found[-1] == NOTHING


def test_the_share_falls_when_the_other_pool_has_none_to_give_any_more() -> None:
    """Even while the pool itself is still pressed; between calm and that it only grows no further."""
    found = stepped([(PRESSED, CALM_LOAD)] * 4 + [(PRESSED, Load(0.4, 10))] + [(PRESSED, Load(EASED, 10))])
    assert shares(found) == [0.0, 0.1, 0.2, 0.3, 0.3, 0.1]


@pytest.mark.parametrize("missing", [(None, CALM_LOAD), (PRESSED, None), (None, None)])
def test_without_readings_of_both_pools_nothing_spills_at_once(missing: tuple[Load | None, Load | None]) -> None:
    """And it begins anew when they are back."""
    found = stepped([(PRESSED, CALM_LOAD)] * 5 + [missing] + [(PRESSED, CALM_LOAD)])
    assert shares(found)[4:] == [0.4, 0.0, 0.1]


def test_a_larger_pool_spills_more_slowly_into_a_smaller_one() -> None:
    """What the other pool's instances get grows at the same pace, whatever the sizes; a larger one is not rushed."""
    assert stepped([(Load(FULL, 40), Load(CALM, 10))] * 3)[-1].share == pytest.approx(0.05)
    assert stepped([(Load(FULL, 10), Load(CALM, 40))] * 3)[-1].share == pytest.approx(0.2)


def test_a_long_pause_counts_as_a_short_one() -> None:
    """A loop that hung, or a clock that ran backwards, brings no jump."""
    spillover = Spillover(SpilloverRules(share_max=1.0, up_per_s=0.01, down_per_s=0.01))
    found = [spillover.step(now_s, PRESSED, CALM_LOAD, short_holds_more=True) for now_s in (0.0, 3600.0, 3500.0)]
    assert shares(found) == [0.0, 0.1, 0.1]


@given(st.lists(st.tuples(LOADS, LOADS, st.floats(-5.0, 30.0), st.booleans()), max_size=60))
def test_whatever_the_readings_the_share_keeps_its_bounds(
    readings: list[tuple[Load | None, Load | None, float, bool]],
) -> None:
    """Within the cap, never without readings, one way at a time with nothing in between, and no faster than allowed."""
    spillover, now_s, found = Spillover(RULES), 0.0, [NOTHING]
    for short, long, elapsed_s, short_holds_more in readings:
        now_s += elapsed_s
        found.append(spillover.step(now_s, short, long, short_holds_more=short_holds_more))
        spill = found[-1]
        assert 0.0 <= spill.share <= RULES.share_max
        assert (spill.spill_from is None) == (spill.share == 0.0)
        assert spill.spill_from is None or None not in (short, long)
        assert short_holds_more or spill.spill_from is not Pool.LONG
    for before, after in pairwise(found):
        assert after.share - before.share <= RULES.up_per_s * 10.0 + 1e-9
        assert None in (before.spill_from, after.spill_from) or before.spill_from is after.spill_from
