import pytest

from extproc.evaluate.change import Change, band, change, pooled
from extproc.evaluate.record import Record
from extproc.routing.values import Misroute, Stage

FINE = Record(
    "prose", Stage.SAMPLE, 1, judged=True, misroute=None, error=0.0, observed=True, first_sight=True, total_tokens=1
)
UNDER = FINE._replace(misroute=Misroute.UNDER)


def run(unders: set[int], count: int) -> list[Record]:
    """So many requests, some under-routed; an answer is read before each but the first."""
    return [(UNDER if at in unders else FINE)._replace(answers_before=at) for at in range(count)]


@pytest.mark.parametrize(
    ("promise", "found"), [(0.001, (1000, 4)), (0.01, (100, 4)), (0.1, (100, 18)), (0.5, (100, 67))]
)
def test_the_band_holds_what_a_kept_promise_explains(promise: float, found: tuple[int, int]) -> None:
    """99th percentiles of Poisson counts with means 1, 1, 10 and 50, as in any table."""
    assert band(promise) == found


def test_it_is_back_at_the_last_request_that_broke_the_band() -> None:
    """The fifth under-routed in a hundred breaks it, the sixth too; after them it is kept."""
    assert change(run({10, 11, 12, 13, 14, 60}, 300), 0.01).observed_until_within_promise == 60


def test_what_the_band_explains_is_no_breach() -> None:
    """Four in a hundred were never outside, nor is a fifth a hundred requests later."""
    assert change(run({10, 11, 12, 13}, 300), 0.01).observed_until_within_promise == 0
    assert change(run({10, 11, 12, 13, 110}, 300), 0.01).observed_until_within_promise == 0
    assert change(run({10, 11, 12, 13, 109}, 300), 0.01).observed_until_within_promise == 109


def test_a_breach_near_the_end_is_not_back() -> None:
    """A hundred requests must follow it: with fewer the run cannot say."""
    broken = {10, 11, 12, 13, 14}
    assert change(run(broken, 114), 0.01).observed_until_within_promise is None
    assert change(run(broken, 115), 0.01).observed_until_within_promise == 14
    assert change([], 0.01).observed_until_within_promise is None


def test_during_and_after() -> None:
    """The first 300 answers bound what counts as during."""
    assert change(run({0, 1, 2, 400}, 500), 0.5) == Change(0, 3 / 300, 300, 1 / 200, 200)


def test_what_cannot_be_judged_is_left_out() -> None:
    """Requests without a limit on their output are no one's mistake."""
    found = change([record._replace(judged=False) for record in run({1}, 50)] + run({1}, 10), 0.5)
    assert (found.under_during, found.requests_during) == (0.1, 10)
    assert change([], 0.5) == Change(None, None, 0, None, 0)


def test_seeds_together() -> None:
    """Shares are of the requests of all seeds; answers are their mean, and the worst stands beside it."""
    found = pooled([Change(100, 0.01, 300, 0.0, 700), Change(200, 0.04, 100, 0.01, 300)])
    assert (found.observed_until_within_promise, found.worst_seed, found.never_back) == (150, 200, 0)
    assert (found.requests_during, found.requests_after) == (400, 1000)
    assert found.under_during == pytest.approx(7 / 400)
    assert found.under_after == pytest.approx(3 / 1000)


def test_a_seed_without_such_requests_has_no_share() -> None:
    """The others speak for it; where none has any there is none."""
    found = pooled([Change(100, 0.01, 300, None, 0), Change(200, 0.04, 100, None, 0)])
    assert (found.under_after, found.requests_after) == (None, 0)
    assert pooled([Change(0, None, 0, None, 0), Change(0, 0.5, 10, 0.0, 5)]).under_during == 0.5


def test_a_seed_that_never_came_back_is_not_averaged_away() -> None:
    """One such leaves no number."""
    found = pooled([Change(100, 0.01, 300, 0.0, 700), Change(None, 0.04, 100, 0.0, 0)])
    assert (found.observed_until_within_promise, found.worst_seed, found.never_back) == (None, None, 1)
