import pytest

from extproc.evaluate.search import GAMMA_MAX, STEPS, gamma_at


def test_the_margin_that_gives_the_share_is_found() -> None:
    """For a share that halves with each unit of γ, an eighth is found at three, to a sixteenth, from above."""
    found = gamma_at(0.125, lambda gamma: 0.5**gamma)
    assert found == pytest.approx(3.0, abs=GAMMA_MAX / 2**STEPS)
    assert 0.5**found <= 0.125


def test_no_margin_is_enough_where_it_is() -> None:
    """One look tells."""
    tried: list[float] = []

    def under_at(gamma: float) -> float:
        tried.append(gamma)
        return 0.01

    assert gamma_at(0.01, under_at) == 0.0
    assert tried == [0.0]


def test_where_no_margin_helps_the_largest_is_given() -> None:
    """A share that never falls is not searched for ever."""
    assert gamma_at(0.0, lambda _: 0.2) == GAMMA_MAX
