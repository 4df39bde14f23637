import itertools
import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.histogram import BIN_RATIO, EDGES, LONGER, LONGEST, NOT_YET, Histogram, bin_of

LENGTHS = st.integers(1, 5000)
HALF = 0.5


def seen(*lengths: int, miss_probability: float = HALF, half_life: float = math.inf) -> Histogram:
    """A histogram of these lengths, in order."""
    histogram = Histogram(miss_probability=miss_probability, half_life=half_life)
    for length in lengths:
        histogram.observe(bin_of(length), now=0)
    return histogram


def edge(length: int) -> int:
    """The edge of a length's bin, found by going through all of them."""
    return next(edge for edge in EDGES if edge >= length)


# Bins


def test_edges_grow_by_the_ratio_at_most() -> None:
    """From 1 to the longest, one by one where the ratio is finer than a token."""
    assert (EDGES[0], EDGES[-1]) == (1, LONGEST)
    assert all(low < high <= max(low + 1, BIN_RATIO * low) for low, high in itertools.pairwise(EDGES))
    assert len(EDGES) < 250


@given(st.integers(-5, 2 * LONGEST))
def test_a_bin_ends_with_the_first_edge_that_holds_the_length(length: int) -> None:
    """So that what is promised is never below what was seen."""
    index = bin_of(length)
    if length > LONGEST:
        assert index == LONGER
    else:
        assert EDGES[index] == edge(length)


# The quantile


@settings(max_examples=200)
@given(st.lists(LENGTHS, max_size=120), st.sampled_from(["1/2", "1/5", "1/10", "1/50", "1/100"]))
def test_without_forgetting_it_is_the_conformal_rank(lengths: list[int], p: str) -> None:
    """The length of rank ceil((n + 1)(1 − p)), rounded up to its edge; nothing where there is no such rank."""
    histogram = seen(*lengths, miss_probability=float(Fraction(p)))
    rank = math.ceil((len(lengths) + 1) * (1 - Fraction(p)))
    assert histogram.upper == (edge(sorted(lengths)[rank - 1]) if rank <= len(lengths) else None)
    assert histogram.samples == len(lengths)


def test_one_in_a_thousand_takes_999_lengths() -> None:
    """With fewer nothing can be said; with so many it is the longest seen, with a thousand more the next to longest."""
    lengths = [100] * 998
    assert seen(*lengths, miss_probability=0.001).upper is None
    assert seen(*lengths, 700, miss_probability=0.001).upper == edge(700)
    assert seen(*lengths * 2, 500, 700, 100, miss_probability=0.001).upper == edge(500)


@settings(max_examples=100, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=400), st.sampled_from([2.0, 10.0, 25.0]))
def test_with_forgetting_weights_halve_with_every_half_life(lengths: list[int], half_life: float) -> None:
    """The lowest edge above which there is little enough weight, summed up length by length; also once scaled down."""
    p = 0.3
    histogram = seen(*lengths, miss_probability=p, half_life=half_life)
    weights = [0.5 ** (age / half_life) for age in range(len(lengths), 0, -1)]
    allowed = p * sum(weights) - (1 - p)
    candidates = [
        edge(length)
        for length in lengths
        if sum(w for w, other in zip(weights, lengths, strict=True) if edge(other) > edge(length)) <= allowed + 1e-7
    ]
    assert histogram.upper == min(candidates, default=None)
    assert histogram.samples == pytest.approx(sum(weights))


def test_numbers_stay_sound_for_months() -> None:
    """After thousands of half-lives the weight is that of the geometric series, and the quantile right."""
    rng = Random(1)
    lengths = [rng.randint(1, 1000) for _ in range(40_000)]
    histogram = seen(*lengths, miss_probability=0.1, half_life=10.0)
    decay = 0.5**0.1
    assert histogram.samples == pytest.approx(decay / (1 - decay), rel=1e-9)
    assert histogram.upper == seen(*lengths[-1000:], miss_probability=0.1, half_life=10.0).upper


@pytest.mark.parametrize("p", [0.1, 0.01])
def test_the_next_length_exceeds_it_as_often_as_promised(p: float) -> None:
    """One step ahead, for lengths without an upper bound: at most p, and not much less, or it would be too careful."""
    rng, misses, judged = Random(3), 0, 0
    histogram = Histogram(miss_probability=p, half_life=10 / p)
    for _ in range(40_000):
        length = 1 + int(rng.lognormvariate(5, 1.5))
        if histogram.upper is not None:
            judged += 1
            misses += length > histogram.upper
        histogram.observe(bin_of(length), now=0)
    deviation = math.sqrt(p * (1 - p) / judged)
    assert 0.5 * p < misses / judged < p + 2 * deviation


def test_lengths_beyond_all_edges_have_no_quantile() -> None:
    """As long as more than the promised share may lie there; until then they only raise it."""
    lengths = [10] * 98
    assert seen(*lengths, 2 * LONGEST, miss_probability=0.02).upper == 10
    beyond = seen(*lengths, 2 * LONGEST, 2 * LONGEST, miss_probability=0.02)
    assert (beyond.upper, beyond.enough_since, beyond.top) == (None, 0, LONGER)


def test_it_follows_longer_lengths_sooner_than_shorter_ones() -> None:
    """Some p of all weight lengthens it; to shorten it, what was longer must be forgotten."""
    histogram = seen(*[100] * 3000, miss_probability=0.01, half_life=1000.0)
    assert histogram.upper == edge(100)
    for _ in range(16):
        histogram.observe(bin_of(400), now=0)
    assert histogram.upper == edge(400)
    after = []
    for _ in range(9000):
        histogram.observe(bin_of(50), now=0)
        after.append(histogram.upper)
    assert after[15] == edge(400)
    assert after[5000] == edge(100)
    assert after[-1] == edge(50)


def test_it_remembers_since_when_it_has_enough() -> None:
    """The `now` of the first length that sufficed, whatever follows."""
    histogram = Histogram(miss_probability=0.25, half_life=math.inf)
    for early in (4, 5):
        histogram.observe(0, now=early)
        assert histogram.enough_since == NOT_YET
    histogram.observe(0, now=6)
    histogram.observe(0, now=7)
    assert histogram.enough_since == 6


# Adding up


@given(st.lists(LENGTHS, max_size=50), st.lists(LENGTHS | st.just(2 * LONGEST), max_size=50))
def test_two_add_up_to_one_that_saw_both(first: list[int], second: list[int]) -> None:
    """Without forgetting, exactly; the order does not matter."""
    both = seen(*first, *second)
    for lengths, others in ((first, second), (second, first)):
        added = seen(*lengths)
        added.add(*seen(*others).weights(), now=0)
        assert (added.upper, added.samples, added.top) == (both.upper, both.samples, both.top)
        assert added.weights() == both.weights()


@given(st.lists(LENGTHS, min_size=1, max_size=400))
def test_a_copy_goes_on_like_the_original(lengths: list[int]) -> None:
    """Forgetting included: the newest length weighs one in what is handed over."""
    original = seen(*lengths, half_life=3.0)
    copy = Histogram(miss_probability=HALF, half_life=3.0)
    copy.add(*original.weights(), now=0)
    assert copy.samples == pytest.approx(original.samples)
    for length in (1, 4000, 70, 70):
        original.observe(bin_of(length), now=0)
        copy.observe(bin_of(length), now=0)
    assert copy.samples == pytest.approx(original.samples)
    if len(lengths) > 3:  # few enough that no two sums are close
        assert copy.upper == original.upper


def test_what_is_forgotten_is_not_handed_over() -> None:
    """A state stays as small as what it is about."""
    histogram = seen(5000, *[10] * 100, half_life=2.0)
    assert list(histogram.weights()[0]) == [10]


def test_edges_of_others_are_rounded_up() -> None:
    """A state whose bins were cut otherwise is never read as shorter than it was."""
    histogram = seen()
    histogram.add({99: 1.0, 101: 2.0, 10**9: 1.0, 5000: 0.0}, 0.5, now=2)
    assert histogram.weights() == ({edge(99): 1.0, edge(101): 2.0}, 1.5)
    assert (histogram.upper, histogram.samples, histogram.enough_since) == (edge(101), 4.5, 2)
