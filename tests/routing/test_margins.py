import itertools
import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.kernels import Array
from extproc.routing.margins import NEVER, PRIOR_ERRORS, Margin

WIDTH, REACH = 0.25, 10.0
"""Of a bin, and up to where bins are as narrow, in stated deviations."""
ABOVE = [*np.arange(0.0, REACH, WIDTH).tolist(), *(min(1000.0, REACH * 1.25**step) for step in range(22))]
EDGES: list[float] = [-edge for edge in reversed(ABOVE)] + ABOVE[1:]
MIDDLES = [math.nextafter(-1000.0, -math.inf), *(np.array(EDGES[1:]) + EDGES[:-1]) / 2, 1000.0]
"""Of each bin one that lies in it; the two outermost are open, and theirs stand where they begin."""
PRIOR_SAMPLES = 100.0
MEMORY = 4000.0
"""Errors that count in the long run."""
FAR = 50.0
"""Where a room lies that no estimate could mistake, in deviations from the truth."""
VALUES = st.floats(-15, 15) | st.floats(-2000, 2000)
NUMBERS = st.lists(VALUES, max_size=60)
SHARES = st.sampled_from([0.0, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5])


def seen(errors: Array, positions: Array | tuple[float, ...] = (), distances: Array | float = FAR) -> Margin:
    """A margin after these errors, as far from the truth as rooms lay there, and after these rooms of requests."""
    margin = Margin()
    for error, distance in np.broadcast(errors, distances):
        margin.observe(float(error), float(distance))
    for position in np.array(positions).tolist():
        margin.settles(position)
    margin.refresh()
    return margin


def student_density(value: float) -> float:
    """Of Student's t with three degrees of freedom, by its definition."""
    return math.gamma(2.0) / (math.sqrt(3.0 * math.pi) * math.gamma(1.5)) / (1.0 + value * value / 3.0) ** 2


# The prior


def test_the_prior_is_students_t() -> None:
    """Each bin holds what Simpson's rule makes of the density between its edges, and the open ones what is left."""
    for (lower, upper), count in zip(itertools.pairwise(EDGES), PRIOR_ERRORS[1:-1].tolist(), strict=True):
        ends = student_density(lower) + student_density(upper)
        integral = (ends + 4.0 * student_density((lower + upper) / 2)) * (upper - lower) / 6.0
        assert count == pytest.approx(PRIOR_SAMPLES * integral, rel=2e-3 if max(-lower, upper) > REACH else 1e-4)
    assert PRIOR_ERRORS.sum() == pytest.approx(PRIOR_SAMPLES)
    assert pytest.approx(PRIOR_ERRORS[::-1]) == PRIOR_ERRORS
    beyond = 2.0 * math.sqrt(3.0) / math.pi / 1000.0**3
    assert PRIOR_ERRORS[-1] == pytest.approx(PRIOR_SAMPLES * beyond, rel=0.001)


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
    positions = [-1001.0, *sorted(MIDDLES + EDGES + np.arange(-12.0, 12.0, 0.1).tolist()), 1001.0]
    doubts = [margin.doubt(position) for position in positions]
    assert doubts == sorted(doubts, reverse=True)
    assert 1.0 >= doubts[0] > 0.5 > doubts[-1] > 0.0
    assert margin.doubt(1e9) == doubts[-1]
    assert margin.doubt(-1e9) == doubts[0]


@settings(max_examples=100)
@given(NUMBERS, st.sampled_from([0.0, 1e-5, 0.001, 0.07, 0.3, 0.499]))
def test_cuts_are_the_outermost_positions_within_a_risk(errors: list[float], risk: float) -> None:
    """At a cut, the middle of a bin, the risk is kept and one bin further in not; where none is so sure, never."""
    margin = seen(np.array(errors))
    above, below = margin.above(risk), margin.below(risk)
    assert below <= above
    if above < NEVER:
        assert margin.doubt(above) <= risk
    assert margin.doubt(MIDDLES[MIDDLES.index(above) - 1] if above < NEVER else MIDDLES[-1]) > risk
    if below > -NEVER:
        assert 1.0 - margin.doubt(below) <= risk
    assert 1.0 - margin.doubt(MIDDLES[MIDDLES.index(below) + 1] if below > -NEVER else MIDDLES[0]) > risk


def test_a_risk_that_no_bin_is_within_has_no_cut() -> None:
    """Not even a thousand deviations away is anything certain; on either side."""
    assert Margin().above(0.0) == NEVER
    assert Margin().below(0.0) == -NEVER


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
        margin.observe(5.0, FAR)
    assert margin.doubt(2.0) == before
    margin.refresh()
    assert margin.doubt(2.0) > 0.5


@pytest.mark.parametrize("error", [11.0, 25.0, 400.0])
def test_errors_of_many_deviations_count_where_they_are(error: float) -> None:
    """A thousand of them are a tail up to there, give or take a quarter, and none beyond; to either side."""
    above, below = seen(np.full(1000, error)), seen(np.full(1000, -error))
    assert above.doubt(error / 1.3) > 0.8
    assert above.doubt(error * 1.3) < 0.1
    assert below.doubt(-error * 1.3) > 0.9
    assert below.doubt(-error / 1.3) < 0.2


@pytest.mark.parametrize("error", [1000.0, 1e12, math.inf])
def test_errors_however_absurd_count_in_the_outermost_bins(error: float) -> None:
    """A thousand of them to one side are one tail, as far as bins reach."""
    assert seen(np.full(1000, error)).doubt(999.0) > 0.8
    assert seen(np.full(1000, -1.001 * error)).doubt(-999.0) < 0.2


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
    """Of fresh requests no more than promised go short and do not fit, and a deviation less would be too little.

    That is by rooms and errors alone; distances make the margin no narrower, and wider by one and a half at most.
    """
    rng = np.random.default_rng(3)
    learned, rooms = getattr(rng, draw)(size=8000), TRAFFIC[traffic](rng, 5000)
    margin, whole = seen(learned, rooms), seen(learned, rooms, TRAFFIC[traffic](rng, 8000) - learned)
    cut = margin.within(share, sum(margin.positions))
    positions, errors = TRAFFIC[traffic](rng, 500_000), getattr(rng, draw)(size=500_000)
    assert realised(cut, positions, errors) <= 1.15 * share
    narrower = cut - 4 * WIDTH
    assert realised(narrower, positions, errors) > share or np.mean((positions >= narrower) & (positions < cut)) < 1e-4
    assert cut <= whole.within(share, sum(whole.positions)) <= cut + 6 * WIDTH


@settings(max_examples=100)
@given(
    st.lists(st.tuples(VALUES, VALUES), max_size=60),
    st.lists(VALUES, min_size=1, max_size=60),
    SHARES,
)
def test_within_is_the_least_margin_that_brute_force_finds(
    observed: list[tuple[float, float]], positions: list[float], share: float
) -> None:
    """Going through every edge and every request with the stated probabilities, twice, for the larger of the two."""
    margin = Margin()
    for error, distance in observed:
        margin.observe(error, distance)
    margin.refresh()
    for position in positions:
        margin.settles(position)
    by_positions = least_by_positions(margin, positions, share)
    by_distances = least_by_distances(margin, [distance for _, distance in observed], 2.0 * share)
    assert margin.within(share, len(positions)) == max(by_positions, by_distances)


def least_by_positions(margin: Margin, positions: list[float], share: float) -> float:
    """The least edge from which on these requests are at risk to no more than that."""
    at_risk = [(position, margin.doubt(position)) for position in positions]
    allowed = share * len(positions) + 1e-12
    kept = (edge for edge in EDGES if math.fsum(risk for position, risk in at_risk if position >= edge) <= allowed)
    return next(kept, NEVER)


def least_by_distances(margin: Margin, distances: list[float], share: float) -> float:
    """The least edge from 0 on at which those that do not fit, each taken for its bin's middle, go short so rarely."""
    counts = [(1.0 - 1.0 / MEMORY) ** age for age in reversed(range(len(distances)))]
    beyond = [
        (MIDDLES[bisect_right(EDGES, at)], count) for at, count in zip(distances, counts, strict=True) if at < 0.0
    ]
    allowed = share * math.fsum(counts) + 1e-12
    kept = (edge for edge in ABOVE if math.fsum(count * margin.doubt(edge - at) for at, count in beyond) <= allowed)
    return next(kept, NEVER)


CROWDED, SPREAD = 0.3, 0.05
"""Share of the traffic that crowds just above the room, and the estimate's stated deviation."""


def crowding(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Errors and distances of traffic of which a part was trimmed to 1.00 to 1.04 of the room; the rest is anywhere."""
    above_room = np.log(rng.uniform(1.0, 1.04, count)) / SPREAD
    return rng.standard_normal(count), np.where(rng.random(count) < CROWDED, -above_room, rng.uniform(-40, 40, count))


@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
def test_traffic_that_crowds_just_above_the_room_stays_within_about_twice_the_share(share: float) -> None:
    """There an estimate that is low sees ample room: rooms and errors taken for independent would allow far more."""
    rng = np.random.default_rng(10)
    errors, distances = crowding(rng, 12_000)
    both, first_alone = seen(errors, errors + distances, distances), seen(errors, errors + distances)
    fresh, fresh_distances = crowding(rng, 500_000)
    under = [
        realised(margin.within(share, sum(margin.positions)), fresh + fresh_distances, fresh)
        for margin in (both, first_alone)
    ]
    assert under[0] <= 2.2 * share
    assert under[1] > 4.0 * share


def test_truths_below_the_room_cost_no_margin() -> None:
    """Prompts that crowd just below it fit, wherever they go: the margin is that of rooms and errors alone."""
    rng = np.random.default_rng(11)
    errors = rng.standard_normal(4000)
    positions = errors + rng.uniform(0.0, 0.8, 4000)
    crowded, far = seen(errors, positions, positions - errors), seen(errors, positions)
    assert crowded.within(0.001, 4000.0) == far.within(0.001, 4000.0) > 0.0


def test_errors_of_many_deviations_make_a_margin_of_many() -> None:
    """Where one in twenty is off by 25, nothing nearer goes short; where nothing keeps a share, nothing at all."""
    rng = np.random.default_rng(12)
    errors = np.where(rng.random(8000) < 0.05, 25.0, rng.standard_normal(8000))
    positions = rng.uniform(-40.0, 40.0, 8000)
    margin = seen(errors, positions, positions - errors)
    cut = margin.within(0.001, sum(margin.positions))
    assert 20.0 < cut < 25.0 * 1.25
    assert realised(cut, positions, errors) <= 0.002
    assert realised(REACH, positions, errors) > 0.005
    assert margin.within(0.0, sum(margin.positions)) == NEVER


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
    """With little at risk the share alone asks for no margin at all; `above` is as it was, whatever the traffic."""
    errors = np.random.default_rng(5).standard_normal(4000)
    idle, far = seen(errors), seen(errors, (-50.0,) * 10_000)
    assert far.within(0.001, 10_000.0) == 0.0
    assert idle.above(0.05) == far.above(0.05) == pytest.approx(1.645, abs=WIDTH)


def test_a_promise_that_cannot_be_kept_leaves_the_widest_margin() -> None:
    """Nothing may be at risk, and the last bin is, or a prompt too long; a margin beyond the last room is enough."""
    assert seen(np.zeros(0), (5000.0,) * 100).within(0.0, 100.0) == NEVER
    assert seen(np.zeros(100), (), -1.0).within(0.0, 100.0) == NEVER
    assert 50.0 < seen(np.zeros(0), (50.0,) * 100).within(0.0, 100.0) < 50.0 * 1.25


def test_a_smaller_share_makes_a_wider_margin() -> None:
    """Share by share, and likewise the fewer requests it is a share of."""
    rng = np.random.default_rng(6)
    margin = seen(rng.standard_normal(4000), rng.uniform(-9, 9, 4000))
    by_share = [margin.within(share, 4000) for share in (0.5, 0.01, 0.003, 0.001, 0.0001)]
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
    assert sum(margin.positions) == sum(Margin().positions) + 3 + len(positions)


# Memory


def test_errors_of_the_past_fade() -> None:
    """After 12,000 errors half as large, those of before count for a twentieth: the margin is half as wide."""
    rng = np.random.default_rng(7)
    wide, narrow = 2.0 * rng.standard_normal(8000), rng.standard_normal(12_000)
    assert seen(wide).above(0.02) == pytest.approx(2 * 2.054, abs=1.5 * WIDTH)
    assert seen(np.append(wide, narrow)).above(0.02) == pytest.approx(2.054, abs=1.5 * WIDTH)


def test_the_histogram_of_errors_is_bounded_and_keeps_its_prior() -> None:
    """However many there were, they weigh as 4,000, distances too, and the prior beside them as before the first."""
    margin = seen(np.zeros(40_000))
    assert margin.errors.sum() == pytest.approx(PRIOR_ERRORS.sum() + MEMORY, rel=0.001)
    assert margin.distances.sum() == pytest.approx(MEMORY, rel=0.001)
    elsewhere = np.abs(MIDDLES) > WIDTH
    assert margin.errors[elsewhere] == pytest.approx(PRIOR_ERRORS[elsewhere])


def test_a_room_counts_for_as_many_as_it_stands_for_and_an_error_once() -> None:
    """Ten of weight 1 or one of weight 10 make the same of rooms; of errors, one is one."""
    one, ten = Margin(), Margin()
    one.observe(0.5, -2.0, 10.0)
    for _ in range(10):
        ten.observe(0.5, -2.0)
    assert one.distances == pytest.approx(ten.distances, rel=0.01)
    assert one.errors.sum() == pytest.approx(PRIOR_ERRORS.sum() + 1.0, rel=0.001)


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
    """At once, without a refresh; rooms are kept, as the traffic has not changed with the model, distances are not."""
    margin = seen(np.random.default_rng(9).standard_normal(8000), (3.0,) * 100, -1.0)
    rooms = margin.positions.tolist()
    margin.forget()
    fresh = Margin()
    positions = np.arange(-11.0, 11.0, WIDTH).tolist()
    assert [margin.doubt(position) for position in positions] == [fresh.doubt(position) for position in positions]
    assert (margin.errors == PRIOR_ERRORS).all()
    assert margin.positions.tolist() == rooms
    assert not margin.distances.any()
    margin.observe(1.0, FAR)
    assert (fresh.errors == PRIOR_ERRORS).all()
    assert (Margin().errors == PRIOR_ERRORS).all()
