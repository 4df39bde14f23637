import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.exemplars import CAPACITY, Exemplars
from extproc.routing.features import COUNT
from extproc.routing.kernels import Array
from extproc.routing.linear import TERMS

GENERAL = 0.12**2
"""Variance on text like none seen."""
SAME, NEAR = 0.04, 0.08
"""Distances, as the module states them."""
UNTAUGHT: Array = np.zeros(TERMS)
"""δ of a linear fit that says what the prior does."""


def kind(rng: np.random.Generator) -> Array:
    """Shares of a random kind of text."""
    return rng.dirichlet(np.full(COUNT, 0.4))


def moved(shares: Array, distance: float) -> Array:
    """Shares whose square roots lie so far from those of others."""
    roots = np.sqrt(shares)
    roots[int(roots.argmax())] -= distance
    return np.asarray(roots**2, np.float64)


def teach(table: Exemplars, shares: Array, log_ratio: float, *, term: int = 0) -> None:
    """One answer to a prompt of which that term is all there is."""
    table.learn(shares, np.eye(TERMS)[term], log_ratio, table.correct(shares, UNTAUGHT))


def saying(log_ratio: float) -> Array:
    """δ of a linear fit that makes this of every prompt that was taught without naming a term."""
    delta = UNTAUGHT.copy()
    delta[0] = math.expm1(log_ratio)
    return delta


def taught(*answers: tuple[Array, float]) -> Exemplars:
    """A table after these answers, in order."""
    table = Exemplars()
    for shares, log_ratio in answers:
        teach(table, shares, log_ratio)
    return table


def in_use(table: Exemplars) -> int:
    """How many exemplars there are."""
    return int((table.samples > 0).sum())


# The nearest


def test_text_unlike_any_seen_is_not_corrected() -> None:
    """An empty table knows the general scatter alone."""
    correction = Exemplars().correct(kind(np.random.default_rng(1)), UNTAUGHT)
    assert (correction.log_error, correction.weight) == (0.0, 0.0)
    assert correction.variance == pytest.approx(GENERAL)


def test_the_nearest_is_the_one_that_brute_force_finds() -> None:
    """Among 300 kinds, for 300 texts, in 64-bit floats; its squared distance too, however small."""
    rng, table = np.random.default_rng(2), Exemplars()
    kinds = [kind(rng) for _ in range(300)]
    for shares in kinds:
        teach(table, shares, 0.1)
    places = table.places[:, table.samples > 0].T.astype(np.float64)
    assert len(places) == 300
    for near in range(300):
        shares = moved(kinds[near], 0.03) if near % 2 else kind(rng)
        squares = ((places - np.sqrt(shares)) ** 2).sum(axis=1)
        correction = table.correct(shares, UNTAUGHT)
        assert squares[correction.nearest] == pytest.approx(squares.min(), abs=1e-6)
        assert correction.squared_distance == pytest.approx(squares.min(), abs=1e-6)


@settings(max_examples=100)
@given(st.lists(st.lists(st.floats(0, 1), min_size=COUNT, max_size=COUNT), min_size=1, max_size=12))
def test_a_text_seen_before_is_nearest_to_itself(kinds: list[list[float]]) -> None:
    """Whatever its features, those of nothing at all included: it is found within the distance of one kind."""
    table = taught(*((np.array(shares), 0.1) for shares in kinds))
    for shares in kinds:
        correction = table.correct(np.array(shares), UNTAUGHT)
        assert correction.squared_distance < SAME**2 + 1e-5
        assert correction.weight > 0.0
        assert math.isfinite(correction.log_error)
        assert 0.0 < correction.variance < 1.0


# The correction


def test_a_kind_seen_often_is_corrected_and_a_far_one_is_not() -> None:
    """Fifty answers that were 30 % longer are believed there, by half at some distance, and not at all far away."""
    here = kind(np.random.default_rng(3))
    table = taught(*[(here, math.log(1.3))] * 50)
    assert table.correct(here, UNTAUGHT).log_error == pytest.approx(math.log(1.3), rel=1 / 30)
    distances = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4]
    errors = [table.correct(moved(here, distance), UNTAUGHT).log_error for distance in distances]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.001
    halved = NEAR * math.sqrt(2 * math.log(32))
    assert table.correct(moved(here, halved), UNTAUGHT).log_error == pytest.approx(math.log(1.3) / 2, rel=0.01)


def test_trust_grows_with_the_answers_of_a_kind() -> None:
    """One answer is believed by two thirds; the more there are, the nearer to their mean."""
    here, table, errors = kind(np.random.default_rng(4)), Exemplars(), []
    for _ in range(40):
        teach(table, here, 0.2)
        errors.append(table.correct(here, UNTAUGHT).log_error)
    assert errors[0] == pytest.approx(0.2 * 2 / 3)
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(0.2, rel=0.04)


def test_the_correction_is_the_difference_to_the_linear_fit() -> None:
    """When that comes to say itself what the exemplar does, nothing is left to correct; when it says more, the less."""
    here = kind(np.random.default_rng(5))
    table = taught(*[(here, 0.2)] * 40)
    for linear in (0.2, 0.5):
        assert table.correct(here, saying(linear)).log_error == pytest.approx(0.2 - linear, rel=0.04, abs=1e-9)


def test_each_exemplar_is_held_against_what_the_linear_fit_makes_of_its_own_row() -> None:
    """Terms of others do not matter; places of the table that are not in use have no error, whatever the fit is."""
    rng, table = np.random.default_rng(6), Exemplars()
    one, other = kind(rng), kind(rng)
    teach(table, one, 0.1, term=0)
    teach(table, other, math.log(1.25), term=1)
    delta = np.full(TERMS, math.expm1(7.0))
    delta[:2] = 0.0, 0.25
    assert table.correct(one, delta).log_error == pytest.approx(0.1 * 2 / 3)
    assert table.correct(other, delta).log_error == 0.0
    assert Exemplars().correct(one, delta).log_error == 0.0


def test_one_answer_is_stated_as_little_sure() -> None:
    """Worked by hand: its own scatter is half the general deviation, and what is not believed of it counts as error."""
    here = kind(np.random.default_rng(19))
    correction = taught((here, 0.3)).correct(here, UNTAUGHT)
    assert (correction.weight, correction.log_error) == pytest.approx((1.0, 0.2))
    assert correction.variance == pytest.approx((0.06**2 + 0.1**2 + 0.5 * GENERAL) / 1.5)


@pytest.mark.parametrize("scatter", [0.01, 0.05, 0.2])
def test_the_stated_scatter_is_that_of_the_errors(scatter: float) -> None:
    """After 500 answers the last 32 speak, and the general scatter with the weight of half an answer."""
    rng = np.random.default_rng(7)
    here, table, stated = kind(rng), Exemplars(), []
    for error in rng.normal(0.1, scatter, 500):
        teach(table, here, float(error))
        stated.append(table.correct(here, UNTAUGHT).variance)
    expected = (16 * scatter**2 + 0.5 * GENERAL) / 16.5
    assert np.mean(stated[100:]) == pytest.approx(expected, rel=1 / 3)


def test_a_mean_moves_on_after_so_many_answers() -> None:
    """A kind that was 20 % longer for 1,000 answers is known to be shorter after 100 others."""
    here = kind(np.random.default_rng(8))
    table = taught(*[(here, 0.2)] * 1000, *[(here, -0.2)] * 100)
    assert table.correct(here, UNTAUGHT).log_error == pytest.approx(-0.2, rel=0.15)
    assert table.samples.max() == 32


def test_a_discount_makes_few_answers_count() -> None:
    """A known kind is as unsure as one never seen, and the next answer is believed before all that came before it."""
    here = kind(np.random.default_rng(9))
    table = taught(*[(here, 0.2)] * 100)
    assert table.correct(here, UNTAUGHT).variance < GENERAL / 10
    table.discount(0.5)
    assert table.correct(here, UNTAUGHT).variance >= GENERAL
    assert in_use(table) == 1
    teach(table, here, -0.4)
    assert table.learned[1][table.correct(here, UNTAUGHT).nearest] == pytest.approx(0.2 - 0.6 / 1.5)


def test_a_discount_takes_nothing_from_what_is_less_sure() -> None:
    """It caps: a scatter larger than the general one stays."""
    here = kind(np.random.default_rng(10))
    table = taught(*[(here, ratio) for ratio in (-0.6, 0.6)] * 20)
    scatter = table.learned[2].max()
    table.discount(64.0)
    assert (table.learned[2].max(), table.samples.max()) == (scatter, 32)


# The table


def test_answers_of_one_kind_make_one_exemplar_and_others_their_own() -> None:
    """The distance that parts them is that of one kind."""
    here = kind(np.random.default_rng(11))
    table = taught((here, 0.1), (moved(here, 0.9 * SAME), 0.1), (here, 0.1))
    assert in_use(table) == 1
    teach(table, moved(here, 1.1 * SAME), 0.1)
    assert in_use(table) == 2


def test_the_table_is_bounded_and_the_oldest_gives_way() -> None:
    """Of 700 kinds the last 512 are left, but for one of the first that was taught again all along."""
    rng, table = np.random.default_rng(12), Exemplars()
    kinds = [kind(rng) for _ in range(700)]
    for shares in kinds:
        teach(table, shares, 0.1)
        teach(table, kinds[0], 0.1)
        assert in_use(table) == table.used <= CAPACITY
    assert in_use(table) == CAPACITY
    known = [table.correct(shares, UNTAUGHT).squared_distance < SAME**2 for shares in kinds]
    assert known == [True] + [False] * (700 - CAPACITY) + [True] * (CAPACITY - 1)
    assert table.places.shape == (COUNT, CAPACITY)


def test_what_gave_way_leaves_nothing_behind() -> None:
    """The new exemplar begins with one answer; the next correction there is by it alone."""
    rng, table = np.random.default_rng(13), Exemplars()
    old = kind(rng)
    for _ in range(32):
        teach(table, old, 0.9)
    for _ in range(CAPACITY):
        teach(table, new := kind(rng), 0.1)
    assert table.samples.max() == 1
    assert np.abs(table.learned[1] - 0.1).max() < 1e-9
    assert table.correct(new, UNTAUGHT).log_error == pytest.approx(0.1 * 2 / 3)


def test_an_exemplar_keeps_the_terms_of_its_first_prompt() -> None:
    """By them its error follows the linear fit; later prompts of its kind change the mean alone."""
    here, table = kind(np.random.default_rng(20)), Exemplars()
    for term in (1.0, 2.0):
        table.learn(here, np.full(TERMS, term), 0.1, table.correct(here, UNTAUGHT))
    assert table.rows[table.by_age()].tolist() == [[1.0] * TERMS]


def test_exemplars_come_by_age() -> None:
    """That not taught for longest comes first, and unused places of the table not at all."""
    rng = np.random.default_rng(14)
    kinds = [kind(rng) for _ in range(5)]
    table = taught(*((shares, 0.1 * number) for number, shares in enumerate(kinds)), (kinds[1], 0.1))
    assert table.learned[1][table.by_age()] == pytest.approx([0.0, 0.2, 0.3, 0.4, 0.1])
    assert Exemplars().by_age().tolist() == []


# Other tables


def place(shares: Array) -> npt.NDArray[np.float32]:
    """As another table has it."""
    return np.sqrt(shares).astype(np.float32)


def absorb_all(table: Exemplars, other: Exemplars) -> None:
    """Take over another table, oldest first."""
    for at in other.by_age().tolist():
        learned = tuple(other.learned[:, at].tolist())
        table.absorb(other.places[:, at].copy(), other.rows[at], learned)


def test_a_kind_both_know_gets_the_weighted_mean() -> None:
    """Mean and variance are those of both samples together; ten answers and thirty, worked by hand."""
    here = kind(np.random.default_rng(15))
    table = Exemplars()
    table.absorb(place(here), np.zeros(TERMS), (10.0, 0.1, 0.01))
    table.absorb(place(moved(here, 0.02)), np.ones(TERMS), (30.0, 0.3, 0.02))
    at = table.by_age().item()
    assert table.learned[1][at] == pytest.approx(0.25)
    assert table.learned[2][at] == pytest.approx(0.25 * (0.01 + 0.15**2) + 0.75 * (0.02 + 0.05**2))
    assert table.samples[at] == 32
    assert table.rows[at].tolist() == [0.0] * TERMS


def test_absorbing_weighs_as_the_samples_themselves_would() -> None:
    """Two tables of a few answers each, put together, have the mean of all."""
    rng = np.random.default_rng(16)
    here, ratios = kind(rng), rng.normal(0.2, 0.05, 12).tolist()
    one, other = taught(*((here, ratio) for ratio in ratios[:4])), taught(*((here, ratio) for ratio in ratios[4:]))
    absorb_all(one, other)
    assert one.learned[1][one.correct(here, UNTAUGHT).nearest] == pytest.approx(np.mean(ratios))
    assert one.samples.max() == 12


def test_what_another_table_knows_is_parted_and_dated_as_answers_are() -> None:
    """Beyond the distance of one kind it is an exemplar of its own, and a known kind becomes the youngest."""
    rng = np.random.default_rng(21)
    here, other = kind(rng), kind(rng)
    table = taught((here, 0.1), (other, 0.2))
    table.absorb(place(moved(here, 0.9 * SAME)), np.zeros(TERMS), (1.0, 0.1, 0.01))
    assert table.learned[1][table.by_age()] == pytest.approx([0.2, 0.1])
    table.absorb(place(moved(here, 1.1 * SAME)), np.zeros(TERMS), (1.0, 0.3, 0.01))
    assert table.learned[1][table.by_age()] == pytest.approx([0.2, 0.1, 0.3])


def test_kinds_only_the_other_knows_are_taken_over() -> None:
    """A cold table becomes like the other: corrections, scatter, order of age, and what gives way first."""
    rng = np.random.default_rng(17)
    kinds = [kind(rng) for _ in range(CAPACITY)]
    old, new = taught(*((shares, float(rng.normal(0.0, 0.1))) for shares in kinds)), Exemplars()
    absorb_all(new, old)
    assert in_use(new) == CAPACITY
    for shares in kinds[::50]:
        expected, found = (table.correct(shares, saying(0.05)) for table in (old, new))
        assert (found.log_error, found.variance) == pytest.approx((expected.log_error, expected.variance))
    assert (new.learned[1][new.by_age()] == old.learned[1][old.by_age()]).all()
    teach(new, kind(rng), 0.1)
    assert new.correct(kinds[0], UNTAUGHT).squared_distance > SAME**2
