import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.judgement import Judgement


@pytest.mark.parametrize(("log_tokens", "position"), [(7.0, 0.0), (7.5, 2.0), (6.0, -4.0)])
def test_a_position_is_in_deviations_from_the_mean(log_tokens: float, position: float) -> None:
    """Above the mean it is positive, below it negative; worked by hand for a deviation of a quarter."""
    assert Judgement(7.0, 0.25).position(log_tokens) == position


@given(tokens=st.integers(1, 10**7), factor=st.floats(0.01, 100.0), spread=st.floats(0.003, 2.0))
def test_a_position_is_about_shares_of_the_prompt(tokens: int, factor: float, spread: float) -> None:
    """The same factor above the estimate lies at the same place, however long the prompt."""
    found = Judgement(math.log(tokens), spread).position(math.log(tokens * factor))
    assert found == pytest.approx(math.log(factor) / spread, abs=1e-9)
