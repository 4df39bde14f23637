from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.relief import Relief
from extproc.routing.values import Pool


def taken(relief: Relief, requests: int) -> list[bool]:
    """Which of so many requests that could go are taken."""
    return [relief.takes_one() for _ in range(requests)]


def test_nothing_is_relieved_at_first() -> None:
    """Until somebody says so."""
    assert Relief(8192).spill_from is None


def test_a_half_is_every_other_request() -> None:
    """Evenly, so that a short queue is not hit by a run of chance."""
    relief = Relief(8192)
    relief.turn(Pool.SHORT, 0.5)
    assert taken(relief, 6) == [False, True] * 3


@given(st.floats(0.0, 1.0), st.integers(1, 500))
def test_the_share_is_kept_at_every_moment(share: float, requests: int) -> None:
    """Never more than one request off, however many came."""
    relief = Relief(8192)
    relief.turn(Pool.LONG, share)
    for number, count in enumerate(accumulate(taken(relief, requests)), 1):
        assert abs(count - share * number) <= 1.0 + 1e-6


@pytest.mark.parametrize("spill_from", [Pool.SHORT, None])
def test_a_share_of_nothing_relieves_nobody(spill_from: Pool | None) -> None:
    """Whoever was named."""
    relief = Relief(8192)
    relief.turn(spill_from, 0.0)
    assert relief.spill_from is None


def test_the_other_pool_begins_with_a_whole_share() -> None:
    """What was left over from relieving one is not owed to the other; a new share for the same one goes on."""
    relief = Relief(8192)
    relief.turn(Pool.SHORT, 0.5)
    relief.takes_one()
    relief.turn(Pool.SHORT, 0.6)
    assert relief.takes_one()
    relief.turn(Pool.SHORT, 0.9)
    relief.takes_one()
    relief.turn(Pool.LONG, 0.5)
    assert taken(relief, 2) == [False, True]
