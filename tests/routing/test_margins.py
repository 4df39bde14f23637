import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.features import Array
from extproc.routing.margins import PRIOR_ERRORS, Margin

WIDTH, REACH = 0.25, 10.0
"""Of a bin, and where the last one ends, in stated deviations."""
EDGES = np.arange(-REACH, REACH, WIDTH)
PRIOR_SAMPLES = 100.0
MEMORY = 4000.0
"""Errors that count in the long run."""
NUMBERS = st.lists(st.floats(-15, 15), max_size=60)
SHARES = st.sampled_from([0.0, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5])


def seen(errors: Array, positions: Array | tuple[float, ...] = ()) -> Margin:
    """A margin after these errors and rooms of requests."""
    margin = Margin()
    for error in errors.tolist():
        margin.observe(error)
    for position in np.array(positions).tolist():
        margin.settles(position)
    margin.refresh()
    return margin


def student_density(value: float) -> float:
    """Of Student's t with three degrees of freedom, by its definition."""
    return math.gamma(2.0) / (math.sqrt(3.0 * math.pi) * math.gamma(1.5)) / (1.0 + value * value / 3.0) ** 2


# The prior


def test_the_prior_is_students_t() -> None:
    """Each bin but the outermost holds what Simpson's rule makes of the density between its edges."""
    for lower, count in list(zip(EDGES.tolist(), PRIOR_ERRORS.tolist(), strict=True))[1:-1]:
        ends = student_density(lower) + student_density(lower + WIDTH)
        integral = (ends + 4.0 * student_density(lower + WIDTH / 2)) * WIDTH / 6.0
        assert count == pytest.approx(PRIOR_SAMPLES * integral, rel=1e-4)
    assert PRIOR_ERRORS.sum() == pytest.approx(PRIOR_SAMPLES, rel=0.003)
    assert pytest.approx(PRIOR_ERRORS[::-1]) == PRIOR_ERRORS


def test_the_prior_alone_gives_wide_margins() -> None:
    """As tables of Student's t have it, 2.35 and 4.54 deviations for 5 % and 1 %, and far out more than a normal's."""
    margin = Margin()
    assert margin.above(0.5) == pytest.approx(0.0, abs=WIDTH)
    assert margin.above(0.05) == pytest.approx(2.353, abs=WIDTH)
    assert margin.above(0.01) == pytest.approx(4.541, abs=WIDTH)
    assert margin.above(0.001) > 2.5 * 3.09


def test_margins_narrow_as_errors_earn_it() -> None:
    """The more errors are as stated, the narrower, down to what normal errors need and a little for the prior."""
    counts = [0, 100, 500, 2000, 20_000]
    wide = [seen(np.random.default_rng(1).standard_normal(count)).above(0.002) for count in counts]
    assert wide == sorted(wide, reverse=True)
    assert 2.88 - WIDTH <= wide[-1] <= 2.88 + 2 * WIDTH < wide[1]


# Tails


@settings(max_examples=100)
@given(NUMBERS)
def test_doubt_falls_with_the_room(errors: list[float]) -> None:
    """From more than a half to less, within 0 and 1, and no further than the last bin, whatever was observed."""
    margin = seen(np.array(errors))
    doubts = [margin.doubt(position) for position in np.arange(-12.0, 12.0, 0.1).tolist()]
    assert doubts == sorted(doubts, reverse=True)
    assert 1.0 >= doubts[0] > 0.5 > doubts[-1] > 0.0
    assert margin.doubt(1e9) == doubts[-1]
    assert margin.doubt(-1e9) == doubts[0]


@settings(max_examples=100)
@given(NUMBERS, st.sampled_from([0.0, 1e-5, 0.001, 0.07, 0.3, 0.499]))
def test_cuts_are_the_outermost_positions_within_a_risk(errors: list[float], risk: float) -> None:
    """At a cut the risk is kept and one bin further in it is not; where no bin is so sure, the reach is the end."""
    margin = seen(np.array(errors))
    above, below = margin.above(risk), margin.below(risk)
    assert below <= above
    if above < REACH:
        assert margin.doubt(above) <= risk
    assert margin.doubt(above - WIDTH) > risk
    if below > -REACH:
        assert 1.0 - margin.doubt(below) <= risk
    assert 1.0 - margin.doubt(below + WIDTH) > risk


@pytest.mark.parametrize("draw", ["standard_normal", "laplace", "uniform"])
def test_tails_are_those_of_the_errors(draw: str) -> None:
    """After 4,000 of them, what is stated is the share of fresh errors beyond, within 2.5 % and never far below it."""
    rng = np.random.default_rng(2)
    sample: Callable[[int], Array] = lambda count: np.asarray(getattr(rng, draw)(size=count))  # noqa: E731
    margin, fresh = seen(sample(4000)), sample(200_000)
    for position in np.arange(-3.0, 3.0, WIDTH) + WIDTH / 2:
        share = float((fresh > position).mean())
        assert margin.doubt(float(position)) == pytest.approx(share, abs=0.025)
        if share < 0.01:
            assert margin.doubt(float(position)) > 0.7 * share


def test_errors_speak_from_the_next_refresh_on() -> None:
    """Until then decisions are by the tails that stood."""
    margin = Margin()
    before = margin.doubt(2.0)
    for _ in range(100):
        margin.observe(5.0)
    assert margin.doubt(2.0) == before
    margin.refresh()
    assert margin.doubt(2.0) > 0.5


def test_errors_beyond_the_reach_count_at_its_end() -> None:
    """However absurd: a thousand of them to one side are one tail."""
    margin = seen(np.full(1000, 1e12))
    assert margin.doubt(9.0) > 0.8
    assert seen(np.full(1000, -1e12)).doubt(-9.0) < 0.2


# The share of all requests


def realised(margin: float, positions: Array, errors: Array) -> float:
    """Share of requests that go short from a margin on and do not fit."""
    return float(((positions >= margin) & (errors > positions)).mean())


TRAFFIC: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "spread evenly": lambda rng, count: rng.uniform(-9, 9, count),
    "mostly short": lambda rng, count: rng.gamma(2.0, 3.0, count),
    "dense at the threshold": lambda rng, count: rng.normal(0.0, 1.5, count),
    "two clusters": lambda rng, count: np.where(rng.random(count) < 0.5, rng.normal(2.5, 0.4, count), 8.0),
}


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("draw", ["standard_normal", "laplace"])
@pytest.mark.parametrize("share", [0.001, 0.01])
def test_the_realised_share_is_within_the_promised_one(traffic: str, draw: str, share: float) -> None:
    """Of fresh requests no more than promised go short and do not fit, and a deviation less would be too little."""
    rng = np.random.default_rng(3)
    margin = seen(getattr(rng, draw)(size=8000), TRAFFIC[traffic](rng, 5000))
    cut = margin.within(share, sum(margin.positions))
    positions, errors = TRAFFIC[traffic](rng, 500_000), getattr(rng, draw)(size=500_000)
    assert realised(cut, positions, errors) <= 1.15 * share
    narrower = cut - 4 * WIDTH
    assert realised(narrower, positions, errors) > share or np.mean((positions >= narrower) & (positions < cut)) < 1e-4


@settings(max_examples=100)
@given(NUMBERS, st.lists(st.floats(-12, 12), min_size=1, max_size=60), SHARES)
def test_within_is_the_least_margin_that_brute_force_finds(
    errors: list[float], positions: list[float], share: float
) -> None:
    """Going through every edge and every request with the stated probabilities."""
    margin = Margin()
    for error in errors:
        margin.observe(error)
    margin.refresh()
    for position in positions:
        margin.settles(position)
    capped = np.clip(positions, -REACH, REACH - WIDTH / 2)
    binned = EDGES[np.floor((capped + REACH) / WIDTH).astype(int)]
    at_risk = np.array([margin.doubt(position) for position in binned.tolist()])
    allowed = [edge for edge in EDGES.tolist() if at_risk[binned >= edge].sum() <= share * len(positions) + 1e-12]
    assert margin.within(share, len(positions)) == (allowed[0] if allowed else REACH)


def test_more_requests_near_the_threshold_make_a_wider_margin() -> None:
    """The same errors and the same promise about all: the denser the traffic there, the less each may risk."""
    rng = np.random.default_rng(4)
    errors = rng.standard_normal(8000)
    margins = []
    for near in (10, 100, 1000, 5000):
        positions = np.append(rng.uniform(0.0, 6.0, near), np.full(10_000 - near, 9.9))
        margins.append(seen(errors, positions).within(0.001, 10_000))
    assert margins == sorted(margins)
    assert margins[-1] > margins[0] + 4 * WIDTH


def test_where_no_traffic_is_near_a_cap_on_single_requests_must_rule() -> None:
    """With nothing at risk the share alone would send everything short; `above` is as it was, whatever the traffic."""
    errors = np.random.default_rng(5).standard_normal(4000)
    idle, far = seen(errors), seen(errors, (-50.0,) * 1000)
    assert idle.within(0.001, 1.0) == -REACH
    assert far.within(0.001, 1000.0) == pytest.approx(-REACH + WIDTH)
    assert idle.above(0.05) == far.above(0.05) == pytest.approx(1.645, abs=WIDTH)


def test_a_promise_that_cannot_be_kept_leaves_the_widest_margin() -> None:
    """Nothing may be at risk, and the last bin is."""
    assert seen(np.zeros(0), (50.0,) * 100).within(0.0, 100.0) == REACH


def test_a_smaller_share_makes_a_wider_margin() -> None:
    """Share by share, and likewise the fewer requests it is a share of."""
    rng = np.random.default_rng(6)
    margin = seen(rng.standard_normal(4000), rng.uniform(-9, 9, 4000))
    by_share = [margin.within(share, 4000) for share in (0.5, 0.1, 0.01, 0.001, 0.0001)]
    by_requests = [margin.within(0.01, requests) for requests in (40_000, 4000, 400)]
    assert by_share == sorted(set(by_share))
    assert by_requests == sorted(set(by_requests))


# Settling


def test_a_stage_settles_what_lies_outside_its_cuts() -> None:
    """Both cuts included; a new margin settles all, at the estimate itself."""
    margin = Margin()
    assert all(margin.settles(position) for position in (-1.0, 0.0, 1.0))
    margin.long_at, margin.short_at = -1.0, 2.0
    positions = (-50.0, -1.0, -0.99, 0.0, 1.99, 2.0, 50.0)
    assert [margin.settles(position) for position in positions] == [True, True, False, False, False, True, True]
    assert sum(margin.positions) == 3 + len(positions)


# Memory


def test_errors_of_the_past_fade() -> None:
    """After 12,000 errors half as large, those of before count for a twentieth: the margin is half as wide."""
    rng = np.random.default_rng(7)
    wide, narrow = 2.0 * rng.standard_normal(8000), rng.standard_normal(12_000)
    assert seen(wide).above(0.02) == pytest.approx(2 * 2.054, abs=1.5 * WIDTH)
    assert seen(np.append(wide, narrow)).above(0.02) == pytest.approx(2.054, abs=1.5 * WIDTH)


def test_the_histogram_of_errors_is_bounded_and_keeps_its_prior() -> None:
    """However many there were, they weigh as 4,000, and the prior beside them as before the first."""
    margin = seen(np.zeros(40_000))
    assert margin.errors.sum() == pytest.approx(PRIOR_ERRORS.sum() + MEMORY, rel=0.001)
    elsewhere = np.abs(EDGES + WIDTH / 2) > WIDTH
    assert margin.errors[elsewhere] == pytest.approx(PRIOR_ERRORS[elsewhere])


def test_rooms_of_the_past_fade() -> None:
    """When traffic no longer comes near the threshold, the margin narrows again; counts of rooms are bounded."""
    rng = np.random.default_rng(8)
    margin, margins = seen(rng.standard_normal(4000)), []
    for near in itertools.chain([True] * 300, [False] * 1500):
        for _ in range(64):
            margin.settles(rng.uniform(0.0, 4.0) if near else 9.9)
        margin.refresh()
        margins.append(margin.within(0.001, sum(margin.positions)))
    assert margins[299] > margins[-1] + WIDTH
    assert sum(margin.positions) == pytest.approx(64 * 159, rel=0.01)


def test_forgetting_starts_from_the_prior_again() -> None:
    """At once, without a refresh; rooms are kept, as the traffic has not changed with the model."""
    margin = seen(np.random.default_rng(9).standard_normal(8000), (3.0,) * 100)
    rooms = list(margin.positions)
    margin.forget()
    fresh = Margin()
    positions = np.arange(-11.0, 11.0, WIDTH).tolist()
    assert [margin.doubt(position) for position in positions] == [fresh.doubt(position) for position in positions]
    assert (margin.errors == PRIOR_ERRORS).all()
    assert margin.positions == rooms
    margin.observe(1.0)
    assert (fresh.errors == PRIOR_ERRORS).all()
    assert (Margin().errors == PRIOR_ERRORS).all()
