import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.fleet.answers import Interval
from extproc.fleet.report.shown import change, count, per_mille, per_second, percent, plural, seconds, spread, usd

SHOWN = (change, count, per_mille, per_second, percent, seconds, usd)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count(1234), "1,234"),
        (count(12.34), "12.3"),
        (usd(2_864_000), "2.9 M$"),
        (usd(-2_864_000), "−2.9 M$"),
        (usd(286_400), "286 k$"),
        (usd(999_960), "1.0 M$"),
        (usd(950), "950 $"),
        (usd(1.2e9), "1.2 bn$"),
        (percent(0.419), "41.9 %"),
        (percent(-0.069), "−6.9 %"),
        (percent(0.00034), "0.034 %"),
        (percent(0.99996), "99.996 %"),
        (percent(1.0), "100 %"),
        (percent(0.0), "0 %"),
        (percent(-1e-9), "0 %"),
        (change(0.031), "+3.1 %"),
        (change(-0.031), "−3.1 %"),
        (change(0.0), "0 %"),
        (seconds(1.823), "1.82 s"),
        (seconds(2.0), "2 s"),
        (seconds(0.062), "62 ms"),
        (seconds(0.0042), "4.2 ms"),
        (seconds(0.42), "0.42 s"),
        (seconds(250.4), "250 s"),
        (per_mille(8.7), "8.7 ‰"),
        (per_second(1000.4), "1,000"),
        (per_second(99.96), "100"),
        (per_second(12.34), "12.3"),
        (per_second(4.0), "4"),
        (per_second(0.001), "0.001"),
        (per_second(0.00001), "0.00001"),
        (per_second(0.0), "0"),
        (plural(1, "GPU"), "1 GPU"),
        (plural(1200, "GPU"), "1,200 GPUs"),
    ],
)
def test_numbers_read_well(found: str, expected: str) -> None:
    """As a person would write them."""
    assert found == expected


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_dash(shown: type, value: float) -> None:
    """Whatever the unit."""
    assert shown(value) == "–"


@given(st.floats(-1e15, 1e15), st.sampled_from(SHOWN))
def test_every_number_can_be_shown(value: float, shown: type) -> None:
    """None raises, none shows an exponent of a float, none a hyphen for a minus."""
    text = shown(value)
    assert "-" not in text
    assert "nan" not in text


def test_an_interval_names_its_unit_once() -> None:
    """Unless its bounds are in different units."""
    assert spread(Interval(0.419, 0.401, 0.436), percent) == "41.9 % (40.1 to 43.6 %)"
    assert spread(Interval(0.1, 0.062, 0.14), seconds) == "0.1 s (62 ms to 0.14 s)"


def test_an_interval_without_width_is_a_number() -> None:
    """Nor are bounds shown that are not known."""
    assert spread(Interval(0.4, 0.4, 0.4), percent) == "40.0 %"
    assert spread(Interval(0.4, math.nan, math.nan), percent) == "40.0 %"
    assert spread(Interval(math.nan, math.nan, math.nan), percent) == "–"
