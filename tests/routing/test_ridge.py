import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extproc.routing.kernels import Array
from extproc.routing.ridge import Ridge

PRIOR = (2.0, -0.5, 0.0, 4.0, 0.01)
TERMS = len(PRIOR)
NOISE, TRUST, SCALE_MIN = 0.1, 0.5, 0.05
SCALE = np.array((2.0, 0.5, SCALE_MIN, 4.0, SCALE_MIN))
"""Worked by hand: the prior's weights without their sign, or the least."""


def new(*, forgetting: float = 1.0) -> Ridge:
    """A ridge regression that has seen nothing."""
    return Ridge(PRIOR, scale_min=SCALE_MIN, noise=NOISE, trust=TRUST, forgetting=forgetting)


def taught(rows: Array, values: Array, *, forgetting: float = 1.0) -> Ridge:
    """One that has seen these rows, in order."""
    ridge = new(forgetting=forgetting)
    for row, value in zip(rows, values.tolist(), strict=True):
        ridge.learn(row, value)
    return ridge


def least_squares(rows: Array, values: Array, weights: Array) -> Array:
    """δ by an orthogonal decomposition, without normal equations: the prior is rows of its own."""
    roots = np.sqrt(weights)
    augmented = np.vstack((rows * roots[:, None], np.eye(TERMS) * NOISE / TRUST))
    targets = np.concatenate((values * roots, np.zeros(TERMS)))
    return np.asarray(np.linalg.lstsq(augmented, targets, rcond=None)[0], np.float64)


def ages_weigh(forgetting: float, ages: npt.NDArray[np.int64]) -> Array:
    """What is left of rows after so many others."""
    return np.asarray(forgetting**ages, np.float64)


def random_rows(seed: int, count: int) -> tuple[Array, Array]:
    """Rows that excite every direction, and values that follow no relation."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 1.0, (count, TERMS)), rng.normal(0.0, 2.0, count)


# The solution


def test_before_the_first_row_weights_are_the_priors() -> None:
    """Nothing is added to them, nor lost by scaling."""
    assert new().weights.tolist() == list(PRIOR)


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("forgetting", [1.0, 0.9])
def test_weights_are_those_of_weighted_least_squares(count: int, forgetting: float) -> None:
    """A row weighs λ to the power of its age, the prior always in full; weights are the prior's and s·δ."""
    rows, values = random_rows(count, count)
    ridge = taught(rows, values, forgetting=forgetting)
    delta = least_squares(rows, values, ages_weigh(forgetting, np.arange(count)[::-1]))
    np.testing.assert_allclose(ridge.delta, delta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ridge.weights, np.array(PRIOR) + SCALE * delta, rtol=1e-9, atol=1e-12)


def test_an_old_row_counts_for_what_is_left_of_it() -> None:
    """With half remaining of a row after the next one, the last of many decides; the prior alone holds against it."""
    row = np.eye(TERMS)[0]
    rows, values = np.tile(row, (60, 1)), np.append(np.zeros(59), 1.0)
    ridge = taught(rows, values, forgetting=0.5)
    seen = 2.0 - 0.5**59
    assert ridge.delta[0] == pytest.approx(1.0 / (seen + (NOISE / TRUST) ** 2))


@settings(max_examples=50)
@given(arrays(np.float64, (12, TERMS), elements=st.floats(-3, 3)), arrays(np.float64, 12, elements=st.floats(-3, 3)))
def test_it_equals_least_squares_on_any_rows(rows: Array, values: Array) -> None:
    """Also where rows are 0, equal or nearly so: the prior makes every system solvable."""
    expected = least_squares(rows, values, np.ones(12))
    np.testing.assert_allclose(taught(rows, values).delta, expected, rtol=1e-7, atol=1e-7)


def test_a_relation_is_learned_whatever_the_prior_says() -> None:
    """Many rows without noise outweigh it; one row moves no more than the prior lets it."""
    truth = np.array((0.4, -1.0, 2.0, 0.1, 3.0))
    rows, _ = random_rows(5, 2000)
    np.testing.assert_allclose(taught(rows, rows @ truth).delta, truth, atol=1e-3)
    once = taught(rows[:1], rows[:1] @ truth).delta
    assert np.linalg.norm(once) < np.linalg.norm(truth)


# Replicas


def test_statistics_of_two_replicas_add_to_those_of_one_that_saw_all() -> None:
    """Without forgetting, in whatever order the rows came."""
    rows, values = random_rows(11, 80)
    odd, even, both = taught(rows[1::2], values[1::2]), taught(rows[::2], values[::2]), taught(rows, values)
    odd.information = odd.information + even.information
    odd.moment = odd.moment + even.moment
    odd.solve()
    np.testing.assert_allclose(odd.weights, both.weights, rtol=1e-9)
    assert odd.variance(rows[0]) == pytest.approx(both.variance(rows[0]))


def test_with_forgetting_each_replicas_rows_keep_their_own_age() -> None:
    """Replicas that saw as many rows each, at the same time, add to one that ages by pairs of rows."""
    rows, values = random_rows(12, 80)
    one, other = (taught(rows[part::2], values[part::2], forgetting=0.9) for part in (0, 1))
    one.information = one.information + other.information
    one.moment = one.moment + other.moment
    one.solve()
    expected = least_squares(rows, values, ages_weigh(0.9, np.arange(80)[::-1] // 2))
    np.testing.assert_allclose(one.delta, expected, rtol=1e-9)


def test_a_discount_is_as_so_much_less_of_every_row() -> None:
    """The prior keeps its weight, so what is learned gives way to it, and doubt comes back."""
    rows, values = random_rows(13, 40)
    ridge, before = taught(rows, values), taught(rows, values).variance(rows[0])
    ridge.discount(0.05)
    np.testing.assert_allclose(ridge.delta, least_squares(rows, values, np.full(40, 0.05)), rtol=1e-9)
    assert before < ridge.variance(rows[0]) < new().variance(rows[0])


# Months


def test_directions_no_row_excites_stay_at_the_prior() -> None:
    """After 100,000 rows in a plane askew to the axes, with forgetting: nothing drifts where there is no evidence."""
    rng = np.random.default_rng(21)
    axes = np.linalg.qr(rng.normal(size=(TERMS, TERMS)))[0]
    plane, rest = axes[:, :2], axes[:, 2:]
    rows = rng.normal(size=(100_000, 2)) @ plane.T
    ridge = taught(rows, rows @ plane[:, 0] + rng.normal(0.0, NOISE, len(rows)), forgetting=0.99)
    assert np.abs(rest.T @ ridge.delta).max() < 1e-9
    assert plane[:, 0] @ ridge.delta == pytest.approx(1.0, abs=0.1)
    for direction in np.ascontiguousarray(rest.T):
        assert ridge.variance(direction) == pytest.approx(TRUST**2)


def test_months_of_hostile_rows_leave_it_sound() -> None:
    """After 100,000 nearly collinear rows, five decades in size, weights are those of the rows that are remembered."""
    rng = np.random.default_rng(22)
    line = rng.normal(size=TERMS)
    sizes = 10.0 ** rng.uniform(-3.0, 2.0, 100_000)
    rows = (line + 1e-6 * rng.normal(size=(100_000, TERMS))) * sizes[:, None]
    values = rng.choice((-1e3, 1e3), 100_000)
    ridge = taught(rows, values, forgetting=0.98)
    assert np.isfinite(ridge.weights).all()
    assert (ridge.information == ridge.information.T).all()
    assert np.linalg.eigvalsh(ridge.information).min() > -1e-12 * np.linalg.norm(ridge.information)
    remembered = least_squares(rows[-2000:], values[-2000:], ages_weigh(0.98, np.arange(2000)[::-1]))
    assert ridge.delta @ line == pytest.approx(remembered @ line, rel=1e-6)
    for row in random_rows(23, 1000)[0]:
        ridge.learn(row, float(row.sum()))
    np.testing.assert_allclose(ridge.delta, 1.0, atol=0.02)


# The variance


def test_variance_starts_as_the_prior_trusts_itself() -> None:
    """Of a unit in any direction: the square of how far weights may lie from the prior's."""
    assert new().variance(np.eye(TERMS)[3]) == pytest.approx(TRUST**2)
    assert new().variance(2.0 * np.eye(TERMS)[3]) == pytest.approx(4.0 * TRUST**2)
    assert new().variance(np.zeros(TERMS)) == 0.0


def test_variance_shrinks_in_excited_directions_alone() -> None:
    """Monotonously, as 1/n where rows repeat; elsewhere it stays."""
    excited, other = np.eye(TERMS)[:2]
    ridge, variances = new(), []
    for _ in range(400):
        ridge.learn(excited, 0.3)
        variances.append(ridge.variance(excited))
        assert ridge.variance(other) == pytest.approx(TRUST**2)
    assert variances == sorted(variances, reverse=True)
    assert variances[-1] == pytest.approx(NOISE**2 / 400, rel=0.01)


def test_with_forgetting_variance_comes_to_rest_and_comes_back() -> None:
    """At what 1/(1 − λ) rows leave; where rows no longer come, it is the prior's again, and never more."""
    excited, other = np.eye(TERMS)[:2]
    ridge = taught(np.tile(excited, (500, 1)), np.ones(500), forgetting=0.95)
    assert ridge.variance(excited) == pytest.approx(NOISE**2 / 20, rel=0.01)
    for _ in range(500):
        ridge.learn(other, 1.0)
    assert ridge.variance(excited) == pytest.approx(TRUST**2)
    assert ridge.delta[0] == pytest.approx(0.0, abs=1e-6)


def test_the_stated_variance_is_the_errors_own() -> None:
    """Over 600 worlds drawn as the prior and the noise say, squared errors of φδ are in the mean what was stated."""
    rng = np.random.default_rng(31)
    shares = []
    for _ in range(600):
        truth, rows = rng.normal(0.0, TRUST, TERMS), rng.normal(size=(6, TERMS))
        ridge, row = taught(rows, rows @ truth + rng.normal(0.0, NOISE, 6)), rng.normal(size=TERMS)
        shares.append((row @ (ridge.delta - truth)) ** 2 / ridge.variance(row))
    assert np.mean(shares) == pytest.approx(1.0, abs=0.2)


def test_less_than_no_information_makes_nothing_sure() -> None:
    """Directions of less than no information, as roundings leave them, are as unsure as the prior is at least."""
    rng = np.random.default_rng(32)
    ridge = taught(1e4 * rng.normal(size=(1, TERMS)), np.ones(1))
    ridge.information = ridge.information.astype(np.float32).astype(np.float64)
    least, directions = np.linalg.eigh(ridge.information)
    assert least[0] < -10 * (NOISE / TRUST) ** 2
    assert TRUST**2 <= ridge.variance(directions[:, 0].copy()) < math.inf
    assert all(ridge.variance(row) >= 0.0 for row in rng.normal(size=(100, TERMS)))
