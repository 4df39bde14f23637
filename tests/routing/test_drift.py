import math

import numpy as np
import pytest

from extproc.routing.drift import Vigil
from extproc.routing.kernels import Array

MARGINAL, PLAIN, ABSURD = 3.1, 4.5, 1e6
"""Outliers, in stated deviations."""


def errors(seed: int, count: int, *, outliers: float = 0.0, size: float = PLAIN) -> Array:
    """Standard normal ones, of which a share is an outlier instead, to either side."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(count)
    out = rng.random(count) < outliers
    drawn[out] = size * rng.choice((-1.0, 1.0), int(out.sum()))
    return drawn


def alarms(vigil: Vigil, watched: Array) -> list[int]:
    """After how many of these answers alarms were raised."""
    return [number for number, error in enumerate(watched.tolist(), start=1) if vigil.observe(error)]


def watching(*, outliers: float = 0.0, seed: int = 0, size: float = PLAIN) -> Vigil:
    """A vigil used to traffic with this share of outliers."""
    vigil = Vigil()
    alarms(vigil, errors(seed, 2500, outliers=outliers, size=size))
    return vigil


# No alarm


def test_errors_that_are_as_stated_raise_no_alarm() -> None:
    """One in 300,000 at most, over six vigils of 100,000 answers each: the few beyond three deviations come apart."""
    assert sum(len(alarms(Vigil(), errors(seed, 100_000))) for seed in range(6)) <= 2


@pytest.mark.parametrize("error", [MARGINAL, -MARGINAL, ABSURD, -ABSURD, math.inf])
@pytest.mark.parametrize("answers", [0, 1, 50, 5000])
def test_a_single_outlier_never_raises_an_alarm(error: float, answers: int) -> None:
    """However absurd, to whichever side, and be it the first answer of all."""
    vigil = Vigil()
    assert not alarms(vigil, np.zeros(answers))
    assert not vigil.observe(error)
    assert vigil.alarms == 0


def test_outliers_far_apart_do_not_add_up() -> None:
    """One in every hundred answers, for ever: what each leaves is forgotten before the next."""
    vigil = Vigil()
    watched = np.zeros(20_000)
    watched[::100] = ABSURD
    assert not alarms(vigil, watched)


def test_what_lies_within_three_deviations_is_no_outlier() -> None:
    """Errors twice as large as usual are for the margins to learn."""
    assert not alarms(Vigil(), np.full(1000, 3.0))


@pytest.mark.parametrize("outliers", [0.1, 0.2, 0.3])
def test_a_steady_share_of_outliers_stops_alarming(outliers: float) -> None:
    """Ten vigils that see it always raise at most five alarms together after 3,000 answers each, and few before."""
    early = late = 0
    for seed in range(10):
        raised = alarms(Vigil(), errors(seed, 15_000, outliers=outliers))
        early += sum(answers <= 3000 for answers in raised)
        late += sum(answers > 3000 for answers in raised)
    assert late <= 5
    assert early <= 50


# Alarm


@pytest.mark.parametrize("size", [MARGINAL, PLAIN, ABSURD])
def test_a_fifth_of_outliers_raises_an_alarm_after_some_dozens_of_answers(size: float) -> None:
    """Of a hundred vigils half within 30 answers and nine in ten within 60; none needs 150."""
    delays = []
    for seed in range(100):
        raised = alarms(watching(seed=seed), errors(1000 + seed, 150, outliers=0.2, size=size))
        delays.append(raised[0] if raised else 1000)
    assert np.quantile(delays, 0.5) <= 30
    assert np.quantile(delays, 0.9) <= 60
    assert max(delays) <= 150


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("answers", [0, 10, 30, 500, 20_000])
def test_a_new_vocabulary_is_noticed_at_once(answers: int, side: float) -> None:
    """Within six answers that are all outliers, also where they are the first, as after a restart."""
    vigil = Vigil()
    alarms(vigil, errors(3, answers))
    raised = alarms(vigil, np.full(6, side * PLAIN))
    assert raised
    assert vigil.alarms == len(raised)


def test_a_vigil_used_to_outliers_still_notices_that_all_are() -> None:
    """A tenth of false usage delays the alarm by a few answers and does not prevent it."""
    for seed in range(20):
        vigil = watching(outliers=0.1, seed=seed)
        before = vigil.alarms
        assert alarms(vigil, np.full(15, PLAIN))
        assert vigil.alarms > before


def test_absurd_errors_raise_an_alarm_no_later_than_marginal_ones() -> None:
    """The size of an error counts, as far as two of the smallest."""
    by_size = [alarms(Vigil(), np.full(20, size))[0] for size in (MARGINAL, PLAIN, ABSURD)]
    assert by_size == sorted(by_size, reverse=True)
    assert by_size[0] > by_size[-1] > 1


@pytest.mark.parametrize(("size", "outliers"), [(ABSURD, 2), (-ABSURD, 2), (MARGINAL, 4)])
def test_after_a_quiet_time_a_few_outliers_in_a_row_are_an_alarm(size: float, outliers: int) -> None:
    """Two that are absurd or four at the margin, and not one less."""
    vigil = Vigil()
    assert not alarms(vigil, np.zeros(1000))
    assert alarms(vigil, np.full(outliers, size)) == [outliers]


@pytest.mark.parametrize(("apart", "raised"), [(8, [10]), (16, [])])
def test_two_absurd_errors_are_an_alarm_within_ten_answers(apart: int, raised: list[int]) -> None:
    """And no longer when twice as many lie between them."""
    vigil = Vigil()
    assert not alarms(vigil, np.zeros(1000))
    assert alarms(vigil, np.array([ABSURD, *np.zeros(apart), ABSURD])) == raised


def test_after_an_alarm_it_watches_anew() -> None:
    """The next alarm takes as much again, or longer: what is usual is remembered, and in the end is no alarm."""
    vigil = watching()
    raised = alarms(vigil, np.full(3000, PLAIN))
    gaps = np.diff([0, *raised])
    assert len(raised) >= 2
    assert gaps[0] >= 2
    assert gaps.tolist() == sorted(gaps.tolist())
    assert raised[-1] < 1000
