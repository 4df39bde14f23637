import pytest

from extproc.fleet.crossing import crossing


@pytest.mark.parametrize(("zero", "power"), [(0.3, 1), (0.9, 7), (0.05, 3), (0.5, 0.2)])
def test_the_zero_of_a_falling_function_is_found(zero: float, power: float) -> None:
    """However bent the function is."""
    found = crossing(lambda x: zero**power - x**power, (0.0, 1.0), zero**power - 1.0, near=1e-9)
    assert found == pytest.approx(zero, rel=1e-3)


def test_a_function_below_0_all_along_has_its_zero_at_the_start() -> None:
    """Nothing is searched for."""
    assert crossing(lambda x: -1.0 - x, (0.25, 1.0), -2.0, near=1e-6) == 0.25


def test_a_jump_is_closed_in_on() -> None:
    """Where no value is near 0, the place is known to one in ten thousand."""
    assert crossing(lambda x: 1.0 if x < 0.7 else -3.0, (0.0, 1.0), -3.0, near=1e-6) == pytest.approx(0.7, rel=1e-3)
