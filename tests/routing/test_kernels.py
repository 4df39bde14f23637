import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extproc.compiled import CAN_COMPILE
from extproc.routing import features, kernels
from extproc.routing.exemplars import CAPACITY
from extproc.routing.features import COUNT
from extproc.routing.kernels import Array, Bytes, Narrow
from extproc.routing.linear import TERMS

Kernel = Callable[..., Any]
FRAMING = (310, 1, 12, 3)
"""Structure bytes, one prompt, its messages, its tools."""
SHARES = len(FRAMING)
"""As many shares as framing in small examples."""
EVERY_BYTE = bytes(range(256))
TEXTS = {
    "empty": b"",
    "one": b"x",
    "line break": b"\n",
    "every byte": EVERY_BYTE,
    "every byte, descending": EVERY_BYTE[::-1],
    "the last, often": b"\xff" * 1000,
    "every pair": bytes(byte for first in range(0, 256, 5) for second in range(0, 256, 3) for byte in (first, second)),
}


def plain(function: Kernel) -> Kernel:
    """The function before it was compiled; where nothing is compiled it is that already."""
    found: Kernel = getattr(function, "py_func", function)
    return found


def both(function: Kernel) -> pytest.MarkDecorator:
    """Runs a test with the compiled function, and with the plain one: what counts lines sees that one alone."""
    return pytest.mark.parametrize("kernel", [function, plain(function)], ids=["compiled", "plain"])


def texts() -> pytest.MarkDecorator:
    """Runs a test with texts at the edges of what there is."""
    return pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def exact_numbers(low: int, high: int) -> st.SearchStrategy[float]:
    """Eighths: few enough of them add and multiply without rounding, in any order."""
    return st.integers(8 * low, 8 * high).map(lambda eighths: eighths / 8)


def exact(shape: int | tuple[int, ...], low: int, high: int) -> st.SearchStrategy[Array]:
    """An array of such numbers."""
    return arrays(np.float64, shape, elements=exact_numbers(low, high))


def assert_alike(found: Any, expected: Any) -> None:
    """Equal but for rounding, against the greatest of them: what cancels is not held against itself."""
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * float(np.abs(expected).max(initial=1e-30)))


# Bytes


Tables = tuple[Bytes, Bytes, Bytes]
"""Kinds of the byte before, classes of a byte, and what each pair of them counts for."""
REAL: Tables = (features._BEFORE, features._AFTER, features._OF_PAIRS)


def tables(seed: int) -> Tables:
    """Any kinds and classes, whose pairs count for up to three of up to nine features."""
    rng = np.random.default_rng(seed)
    kinds, classes, most = (int(number) for number in rng.integers(1, 10, 3))
    of_pairs = rng.integers(0, most + 1, (rng.integers(1, 4), kinds * classes), np.uint8)
    of_pairs[-1, -1] = most
    return (
        (classes * rng.integers(0, kinds, 256)).astype(np.uint8),
        rng.integers(0, classes, 256).astype(np.uint8),
        of_pairs,
    )


def shares_by_pairs(text: bytes, text_bytes: int, kinds: Bytes, classes: Bytes, of_pairs: Bytes) -> list[float]:
    """The same by a count of pairs of bytes, without their classes."""
    found: Counter[int] = Counter()
    for (before, byte), times in Counter(zip(b"\n" + text, text, strict=False)).items():
        for feature in of_pairs[:, int(kinds[before]) + int(classes[byte])].tolist():
            found[feature] += times
    return [found[feature] / max(1, text_bytes) for feature in range(int(of_pairs.max()))]


@texts()
@both(kernels.shares)
def test_shares_are_counts_of_pairs(kernel: Kernel, text: bytes) -> None:
    """By the tables of the estimator and by others; a line break comes before the text, and the last feature is none.

    The number of bytes to divide by is told apart, as bytes may have been left out; nothing is divided by 0.
    """
    for text_bytes in (len(text), len(text) + 3, 0):
        for each in (REAL, *map(tables, range(5))):
            assert kernel(text, text_bytes, *each).tolist() == shares_by_pairs(text, text_bytes, *each)


@both(kernels.shares)
@given(text=st.binary(max_size=200) | st.text(max_size=60).map(str.encode), seed=st.integers(0, 2**32))
def test_shares_are_counts_of_pairs_whatever_they_count_for(kernel: Kernel, text: bytes, seed: int) -> None:
    """Of any text, under any tables."""
    each = tables(seed)
    assert kernel(text, len(text), *each).tolist() == shares_by_pairs(text, len(text), *each)


# Linear functions


def terms_of(shares: Array, text_bytes: int, framing: tuple[int, ...]) -> Array:
    """Counts of bytes, then of what the template frames."""
    return np.concatenate((shares * text_bytes, np.array(framing, np.float64)))


@pytest.mark.parametrize("text_bytes", [0, 1, 70_000, 10**9])
@pytest.mark.parametrize("framing", [FRAMING, (0, 0, 0, 0)])
@both(kernels.linear)
def test_both_functions_are_products_with_the_terms(
    kernel: Kernel, text_bytes: int, framing: tuple[int, int, int, int]
) -> None:
    """Of shares times bytes and of the framing, for weights of either sign."""
    rng = np.random.default_rng(text_bytes)
    weights, shares = rng.normal(size=(2, TERMS)), rng.dirichlet(np.ones(COUNT))
    assert_alike(kernel(weights, shares, text_bytes, framing), weights @ terms_of(shares, text_bytes, framing))


@both(kernels.linear)
@given(exact((2, 2 * SHARES), -2, 2), exact(SHARES, 0, 1), st.integers(0, 10**6))
def test_linear_functions_of_any_weights(kernel: Kernel, weights: Array, shares: Array, text_bytes: int) -> None:
    """Where nothing is rounded they are the products to the last digit."""
    expected = weights @ terms_of(shares, text_bytes, FRAMING)
    assert list(kernel(weights, shares, text_bytes, FRAMING)) == expected.tolist()


@pytest.mark.parametrize("text_bytes", [0, 1, 70_000, 10**9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@both(kernels.row_of)
def test_a_row_holds_terms_as_shares_of_their_estimate(kernel: Kernel, text_bytes: int, sign: float) -> None:
    """Scaled, and never divided by less than the least estimate, which a prior below 0 comes to."""
    rng = np.random.default_rng(text_bytes)
    prior, scale, shares = sign * rng.random(TERMS), rng.random(TERMS), rng.dirichlet(np.ones(COUNT))
    terms = terms_of(shares, text_bytes, FRAMING)
    expected = max(17.5, float(prior @ terms))
    assert (expected == 17.5) == (sign < 0)
    row, total = kernel(prior, scale, shares, text_bytes, FRAMING, 17.5)
    assert total == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(row, terms * scale / expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("row", "delta", "ratio"),
    [
        ([0.0, 0.0], [3.0, -3.0], 1.0),
        ([0.5, 0.25], [1.0, 2.0], 2.0),
        ([0.5, 0.25], [-1.0, 1.0], 0.75),
        ([0.5, 0.5], [-0.7, -0.7], 0.3),
        ([0.5, 0.5], [-1.0, -1.0], 0.3),
        ([1e6, 1.0], [-1e6, 0.0], 0.3),
        ([], [], 1.0),
    ],
)
@both(kernels.log_of_prior)
def test_the_ratio_to_the_prior_has_a_floor(kernel: Kernel, row: list[float], delta: list[float], ratio: float) -> None:
    """1 + φδ, and three tenths where that is less or has no logarithm; worked by hand."""
    assert kernel(np.array(row), np.array(delta), 0.3) == pytest.approx(math.log(ratio), abs=1e-15)


@both(kernels.log_of_prior)
@given(exact(TERMS, -2, 2), exact(TERMS, -2, 2))
def test_the_ratio_to_the_prior_of_any_row(kernel: Kernel, row: Array, delta: Array) -> None:
    """A product, of as many terms as there are."""
    assert kernel(row, delta, 0.3) == pytest.approx(math.log(max(0.3, 1.0 + float(row @ delta))))


# The nearest exemplar


def halves_of(places: Narrow) -> Narrow:
    """Half the square of each column's length, as the exemplars have it."""
    halves: Narrow = (places**2).sum(axis=0) / 2
    return halves


def squares(place: Narrow, places: Narrow, used: int) -> list[float]:
    """Squared distances, each by itself."""
    wide = places.astype(np.float64)
    return [float(((wide[:, at] - place) ** 2).sum()) for at in range(used)]


@pytest.mark.parametrize("used", [1, 2, 40, CAPACITY])
@pytest.mark.parametrize("sparse", [False, True])
@both(kernels.nearest)
def test_the_nearest_place_is_found(kernel: Kernel, used: int, sparse: bool) -> None:  # noqa: FBT001 - a parameter
    """Among those in use, for texts that have all features and for texts that lack most; and how far it is."""
    rng = np.random.default_rng(used)
    places = np.sqrt(rng.dirichlet(np.ones(COUNT), CAPACITY).T).astype(np.float32, order="C")
    places[:, used:] = 50.0
    for _ in range(10):
        place = np.sqrt(rng.dirichlet(np.ones(COUNT)) * (rng.random(COUNT) < (0.2 if sparse else 1.1)))
        narrow = place.astype(np.float32)
        at, squared = kernel(narrow, places, halves_of(places), used)
        expected = squares(narrow, places, used)
        assert expected[at] == pytest.approx(min(expected), abs=1e-6)
        assert squared == pytest.approx(expected[at], rel=1e-5)


@both(kernels.nearest)
@given(
    arrays(np.float32, (2, 6), elements=st.sampled_from((-1.5, 0.0, 0.5))),
    arrays(np.float32, 2, elements=exact_numbers(-2, 2)),
    st.integers(1, 6),
)
def test_the_nearest_of_any_places(kernel: Kernel, places: Narrow, place: Narrow, used: int) -> None:
    """Of several as near as each other the first; one that is not in use is not found, however near."""
    expected = squares(place, places, used)
    assert kernel(place, places, halves_of(places), used) == (expected.index(min(expected)), min(expected))


@both(kernels.nearest)
def test_a_text_without_features_has_a_nearest_place(kernel: Kernel) -> None:
    """That nearest to nothing, which is the shortest."""
    places = np.array([[3.0, 1.0, 0.0], [4.0, 1.0, 2.0]], np.float32)
    assert kernel(np.zeros(2, np.float32), places, halves_of(places), 3) == (1, 2.0)


def a_table(seed: int) -> dict[str, Any]:
    """Exemplars that were taught, and a fit."""
    rng = np.random.default_rng(seed)
    places = np.sqrt(rng.dirichlet(np.ones(COUNT), CAPACITY).T).astype(np.float32, order="C")
    return {
        "places": places,
        "halves": halves_of(places),
        "learned": rng.random((3, CAPACITY)),
        "rows": rng.random((CAPACITY, TERMS)) / TERMS,
        "delta": rng.normal(0.0, 0.3, TERMS),
    }


@pytest.mark.parametrize("used", [1, 2, CAPACITY])
@both(kernels.consult)
def test_the_exemplar_nearest_to_a_text_is_consulted(kernel: Kernel, used: int) -> None:
    """At the square roots of its shares: what was learned there, the mean held against what the fit makes of its row.

    Each exemplar in use is asked for by its own shares, so which is nearest is no matter of rounding.
    """
    table = a_table(used)
    places, halves, learned, rows, delta = table.values()
    for at in range(0, used, 37):
        shares = places[:, at].astype(np.float64) ** 2
        found, squared, samples, error, scatter = kernel(shares, places, halves, used, learned, rows, delta, 0.3)
        log_ratio = math.log(max(0.3, 1.0 + float(rows[at] @ delta)))
        assert found == at
        assert squared == pytest.approx(0.0, abs=1e-12)
        assert (samples, scatter) == (learned[0, at], learned[2, at])
        assert error == pytest.approx(learned[1, at] - log_ratio, abs=1e-12)


@both(kernels.consult)
def test_a_text_like_none_seen_is_held_against_the_nearest_all_the_same(kernel: Kernel) -> None:
    """A text of nothing, and one of a single feature: the distance says what that is worth."""
    places, halves, learned, rows, delta = a_table(3).values()
    for shares in (np.zeros(COUNT), np.eye(COUNT)[5].copy()):
        found, squared, *_ = kernel(shares, places, halves, 300, learned, rows, delta, 0.3)
        expected = squares(np.sqrt(shares, dtype=np.float32), places, 300)
        assert expected[found] == pytest.approx(min(expected), abs=1e-6)
        assert squared == pytest.approx(expected[found], rel=1e-5)


# Ridge regression


@pytest.mark.parametrize("size", [1, 5, TERMS])
@pytest.mark.parametrize("forgetting", [1.0, 0.9, 0.0])
@both(kernels.take_in)
def test_rows_are_taken_in_as_their_outer_products(kernel: Kernel, size: int, forgetting: float) -> None:
    """Each weighed by λ to the power of its age, in place, with what was there before ageing likewise."""
    rng = np.random.default_rng(size)
    rows, values = rng.normal(size=(30, size)), rng.normal(size=30)
    information, moment = np.eye(size), np.ones(size)
    for row, value in zip(rows, values.tolist(), strict=True):
        assert kernel(information, moment, row, value, forgetting) is None
    ages = forgetting ** np.arange(30)[::-1]
    outer = sum(age * np.outer(row, row) for age, row in zip(ages, rows, strict=True))
    assert_alike(information, forgetting**30 * np.eye(size) + outer)
    assert_alike(moment, forgetting**30 * np.ones(size) + (ages * values) @ rows)
    assert (information == information.T).all()


@both(kernels.take_in)
@given(exact((SHARES, SHARES), -9, 9), exact(SHARES, -9, 9), exact(SHARES, -9, 9), exact_numbers(-9, 9))
def test_any_row_is_taken_in(kernel: Kernel, information: Array, moment: Array, row: Array, value: float) -> None:
    """By itself and to the last digit, where nothing is rounded; the row is left as it was."""
    expected = 0.5 * information + np.outer(row, row), 0.5 * moment + row * value
    given_row = row.copy()
    kernel(information, moment, row, value, 0.5)
    assert (information == expected[0]).all()
    assert (moment == expected[1]).all()
    assert (row == given_row).all()


def sums_of_rows(seed: int, size: int, decades: float) -> Array:
    """Statistics of few or many rows whose terms differ by so many decades; a fifth of the terms never occurs."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-decades / 2, decades / 2, size) * (rng.random(size) < 0.8)
    information: Array = np.zeros((size, size))
    for row in rng.random((rng.integers(0, 2 * size), size)) * scale:
        information += np.outer(row, row)
    return information


@pytest.mark.parametrize("size", [1, 2, 5, TERMS])
@pytest.mark.parametrize("seed", range(5))
@both(kernels.solution)
def test_the_solution_is_that_of_a_solver_with_pivots(kernel: Kernel, size: int, seed: int) -> None:
    """Of rows whose terms are of like size, few or many of them; neither argument is changed."""
    rng = np.random.default_rng(seed)
    information, right = sums_of_rows(seed, size, 1.0), rng.normal(size=size)
    arguments = information.copy(), right.copy()
    expected = np.linalg.solve(information + 0.07 * np.eye(size), right)
    np.testing.assert_allclose(kernel(information, 0.07, right), expected, rtol=1e-9, atol=1e-9)
    assert (information == arguments[0]).all()
    assert (right == arguments[1]).all()


@pytest.mark.parametrize("decades", [6, 12])
@pytest.mark.parametrize("seed", range(10))
@both(kernels.solution)
def test_ill_scaled_systems_are_solved_as_well_as_numbers_allow(kernel: Kernel, decades: int, seed: int) -> None:
    """What each equation leaves over is rounding of its own terms; terms that never occur stay with the prior."""
    information, right = sums_of_rows(seed, TERMS, decades), np.random.default_rng(seed).normal(size=TERMS)
    left = information + 0.07 * np.eye(TERMS)
    x = kernel(information, 0.07, right)
    assert (np.abs(left @ x - right) <= 1e-9 * (np.abs(left) @ np.abs(x) + np.abs(right))).all()
    never = np.diag(information) == 0
    assert never.any()
    np.testing.assert_allclose(x[never], right[never] / 0.07, rtol=1e-12)


@both(kernels.solution)
def test_without_rows_the_solution_is_the_priors(kernel: Kernel) -> None:
    """The right side over the precision, whatever its size."""
    right = np.array((3.0, 0.0, -1e9))
    assert kernel(np.zeros((3, 3)), 0.5, right).tolist() == (right / 0.5).tolist()


@both(kernels.solution)
@given(st.integers(1, 6).flatmap(lambda size: exact((8, size), -3, 3)), st.integers(0, 2**32))
def test_the_solution_for_any_rows(kernel: Kernel, rows: Array, seed: int) -> None:
    """Zero, equal or opposite ones too: the precision leaves no direction open."""
    size = rows.shape[1]
    information, right = (rows.T @ rows).copy(), np.random.default_rng(seed).normal(size=size)
    expected = np.linalg.solve(information + 0.07 * np.eye(size), right)
    np.testing.assert_allclose(kernel(information, 0.07, right), expected, rtol=1e-8, atol=1e-8)


# Margins


EDGES: Array = np.array((-4.0, -1.0, 0.0, 0.5, 8.0))
BINS = len(EDGES) + 1
HERE = (-math.inf, -1e300, -4.5, -4.0, -2.0, -1.0, -0.25, -0.0, 0.0, 0.25, 0.5, 7.75, 8.0, 9.0, math.inf)
"""Below, on, between and above the edges."""


@pytest.mark.parametrize("fading", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("error", HERE)
@both(kernels.count_in)
def test_errors_and_distances_are_counted_in_while_the_past_fades(kernel: Kernel, fading: float, error: float) -> None:
    """Errors fade to the prior, distances to nothing; what lies on an edge belongs to the bin above it."""
    prior, before, far = np.arange(6.0), np.array((4.0, 0.0, 1.5, 7.0, 2.0, 0.5)), np.arange(6.0)[::-1].copy()
    for distance in HERE:
        errors, distances = before.copy(), far.copy()
        expected = (1.0 - fading) * before + fading * prior
        expected[bisect_right(EDGES.tolist(), error)] += 1.0
        expected_distances = (1.0 - fading) * far
        expected_distances[bisect_right(EDGES.tolist(), distance)] += 3.5
        assert kernel(errors, prior, distances, fading, EDGES, error, distance, 3.5) is None
        assert errors.tolist() == expected.tolist()
        assert distances.tolist() == expected_distances.tolist()
        assert prior.tolist() == list(range(6))


@pytest.mark.parametrize("bins", [1, 2, 117])
@both(kernels.tails)
def test_tails_are_sums_of_what_lies_above(kernel: Kernel, bins: int) -> None:
    """Of each bin half, and all bins above it, as shares of the whole histogram."""
    errors = np.random.default_rng(bins).random(bins)
    above = np.append(np.cumsum(errors[::-1])[::-1][1:], 0.0)
    given_errors = errors.copy()
    assert_alike(kernel(errors), (above + errors / 2) / errors.sum())
    assert (errors == given_errors).all()


@pytest.mark.parametrize("at", [0, 3, 5])
@both(kernels.tails)
def test_tails_of_one_bin_alone(kernel: Kernel, at: int) -> None:
    """One below it, half in it, nothing above."""
    assert kernel(2.0 * np.eye(6)[at]).tolist() == [1.0] * at + [0.5] + [0.0] * (5 - at)


def first_edge(positions: Array, risks: Array, most: float) -> int:
    """The same from below: each edge is tried in turn. Edge 0 lies between the first two bins."""
    fits = [float(positions[edge + 1 :] @ risks[edge + 1 :]) <= most for edge in range(len(positions) - 1)]
    return [*fits, True].index(True)


@both(kernels.edge_by_positions)
@given(exact(BINS, 0, 3), exact(BINS, 0, 1), exact_numbers(-1, 20))
def test_the_edge_is_the_first_that_keeps_the_promise(
    kernel: Kernel, positions: Array, risks: Array, most: float
) -> None:
    """A bin that just fills the promise is still above the edge."""
    assert kernel(positions, risks, most) == first_edge(positions, risks, most)


@pytest.mark.parametrize(("most", "expected"), [(6.0, 0), (5.0, 0), (4.5, 1), (3.0, 2), (1.0, 4), (0.5, 5), (0.0, 5)])
@both(kernels.edge_by_positions)
def test_the_edge_worked_by_hand(kernel: Kernel, most: float, expected: int) -> None:
    """One in each bin: five lie above edge 0, one above the last edge; the bin below all edges never counts."""
    assert kernel(np.ones(BINS), np.ones(BINS), most) == expected


@both(kernels.edge_by_positions)
def test_without_positions_every_edge_keeps_the_promise(kernel: Kernel) -> None:
    """Even that of nothing at all."""
    assert kernel(np.zeros(BINS), np.ones(BINS), 0.0) == 0


def first_row(distances: Array, risks: Array, beyond: npt.NDArray[np.int64], most: float) -> int:
    """The same with all rows at once."""
    under = risks[beyond] @ distances[: beyond.shape[1]]
    return [*(under <= most).tolist(), True].index(True)


@both(kernels.row_by_distances)
@given(
    exact(BINS, 0, 3),
    exact(BINS, 0, 1),
    arrays(np.int64, st.tuples(st.integers(0, 4), st.integers(0, BINS)), elements=st.integers(0, BINS - 1)),
    exact_numbers(-1, 10),
)
def test_the_row_is_the_first_that_keeps_the_promise(
    kernel: Kernel, distances: Array, risks: Array, beyond: npt.NDArray[np.int64], most: float
) -> None:
    """Whatever the rows after it come to; distances beyond the columns do not count."""
    assert kernel(distances, risks, beyond, most) == first_row(distances, risks, beyond, most)


@pytest.mark.parametrize(("most", "expected"), [(9.0, 0), (6.0, 0), (5.5, 1), (3.0, 1), (2.75, 2), (0.0, 2)])
@both(kernels.row_by_distances)
def test_the_row_worked_by_hand(kernel: Kernel, most: float, expected: int) -> None:
    """Two and four distances at full risk come to 6, at half of it to 3; there is no third row."""
    distances, risks = np.array((2.0, 4.0, 99.0)), np.array((1.0, 0.5))
    assert kernel(distances, risks, np.array(((0, 0), (1, 1))), most) == expected


# Types


EXAMPLES: dict[str, tuple[Any, ...]] = {
    "shares": (b"text", 4, *REAL),
    "linear": (np.ones((2, 2 * SHARES)), np.ones(SHARES), 4, FRAMING),
    "row_of": (np.ones(2 * SHARES), np.ones(2 * SHARES), np.ones(SHARES), 4, FRAMING, 1.0),
    "log_of_prior": (np.ones(SHARES), np.ones(SHARES), 0.3),
    "nearest": (np.ones(2, np.float32), np.ones((2, 3), np.float32), np.ones(3, np.float32), 3),
    "consult": (
        *(np.ones(2), np.ones((2, 3), np.float32), np.ones(3, np.float32), 3),
        *(np.ones((3, 3)), np.ones((3, SHARES)), np.ones(SHARES), 0.3),
    ),
    "take_in": (np.ones((2, 2)), np.ones(2), np.ones(2), 1.0, 0.5),
    "solution": (np.ones((2, 2)), 1.0, np.ones(2)),
    "count_in": (np.ones(BINS), np.ones(BINS), np.ones(BINS), 0.5, EDGES, 0.0, 0.0, 1.0),
    "tails": (np.ones(BINS),),
    "edge_by_positions": (np.ones(BINS), np.ones(BINS), 1.0),
    "row_by_distances": (np.ones(BINS), np.ones(BINS), np.zeros((2, 3), np.int64), 1.0),
}
"""Arguments of each kernel, of the types that it was compiled for."""
OTHERS = {np.float64: np.float32, np.float32: np.float64, np.uint8: np.int64, np.int64: np.int32}

compiled_here = pytest.mark.skipif(not CAN_COMPILE, reason="nothing is compiled here: plain functions take anything")
every_kernel = pytest.mark.parametrize("name", EXAMPLES)


def unlike(argument: Any) -> Iterator[Any]:
    """The same values in other types: arrays of other numbers, with gaps, by columns; what is nearly bytes."""
    if isinstance(argument, bytes):
        yield from (bytearray(argument), memoryview(argument), argument.decode())
    elif isinstance(argument, np.ndarray):
        yield argument.astype(OTHERS[argument.dtype.type])
        yield np.repeat(argument, 2, axis=-1)[..., ::2]
        yield argument.tolist()
        if argument.ndim > 1:
            yield np.asfortranarray(argument)
    else:
        yield from (None, "1")


def test_there_is_an_example_of_every_kernel() -> None:
    """None is left out below."""
    defined = {name for name, value in vars(kernels).items() if getattr(value, "__module__", "") == kernels.__name__}
    assert defined == set(EXAMPLES)


@every_kernel
def test_examples_are_of_the_right_types(name: str) -> None:
    """Compiled or plain, each kernel takes its example and makes the same of it, single numbers as Python has them."""
    results = []
    for kernel in (getattr(kernels, name), plain(getattr(kernels, name))):
        arguments = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in EXAMPLES[name]]
        result = kernel(*arguments)
        results.append((result if isinstance(result, tuple) else (result,), arguments))
    for one, other in zip(*(result + tuple(arguments) for result, arguments in results), strict=True):
        np.testing.assert_array_equal(one, other)
        assert type(one) is type(other)
        assert not isinstance(one, np.generic)


@compiled_here
@every_kernel
def test_nothing_is_compiled_for_other_types(name: str) -> None:
    """A kernel has one signature, and refuses what does not fit it at once: no request waits for the compiler."""
    kernel: Any = getattr(kernels, name)
    assert len(kernel.signatures) == 1
    for at, argument in enumerate(EXAMPLES[name]):
        for other in unlike(argument):
            with pytest.raises(TypeError, match="No matching definition"):
                kernel(*EXAMPLES[name][:at], other, *EXAMPLES[name][at + 1 :])
    assert len(kernel.signatures) == 1


@compiled_here
def test_whole_numbers_pass_for_others() -> None:
    """They are taken as those, and nothing is compiled for them either."""
    kernel: Any = kernels.solution
    assert kernel(np.zeros((2, 2)), 2, np.ones(2)).tolist() == [0.5, 0.5]
    assert len(kernel.signatures) == 1
