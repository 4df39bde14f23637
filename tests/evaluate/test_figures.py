import math

import msgspec
import pytest

from extproc.evaluate.figures import (
    MOMENTS,
    CategoryFigures,
    Cost,
    Errors,
    Shares,
    error_figures,
    figures,
    log_density,
    mean,
    percentile,
    shares,
)
from extproc.evaluate.record import Record
from extproc.routing.values import Flaw, Misroute, Stage

PLAIN = Record(
    category="prose",
    stage=Stage.SAMPLE,
    cost_ns=2000,
    judged=True,
    misroute=None,
    error=0.1,
    observed=False,
    first_sight=True,
    total_tokens=5000,
)
UNDER = PLAIN._replace(misroute=Misroute.UNDER, error=-0.4, category="code", cost_ns=8000)
OVER = PLAIN._replace(misroute=Misroute.OVER, error=0.3, first_sight=False, observed=True)
CERTAIN = PLAIN._replace(stage=Stage.BOUNDS, error=None, cost_ns=1000)
FLAWED = PLAIN._replace(judged=False, stage=Stage.NONE, error=None, flaw=Flaw.UNREADABLE)
UNJUDGED = PLAIN._replace(judged=False, stage=Stage.NONE, error=None, cost_ns=1000)


def test_shares_are_of_what_could_be_judged() -> None:
    """One under and one over of four judged; the fifth had no limit on its output."""
    assert shares([PLAIN, UNDER, OVER, CERTAIN, UNJUDGED]) == Shares(4, 0.5, 0.25, 0.25)
    assert shares([UNJUDGED]) == Shares(0, None, None, None)


def test_errors_are_measured_by_size() -> None:
    """Percentiles of |error|, bias with its sign."""
    found = error_figures([0.1, -0.2, 0.3, -0.4])
    assert (found.count, found.p50, found.p95, found.p99) == (4, 0.2, 0.4, 0.4)
    assert found.bias == pytest.approx(-0.05)
    assert error_figures([]) == Errors(0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.95, 10), (1.0, 10)])
def test_percentiles_are_of_the_nearest_rank(share: float, value: float) -> None:
    """The smallest of ten values that so many do not exceed."""
    assert percentile(range(1, 11), share) == value


def test_the_figures_of_a_run() -> None:
    """Each of them computed by hand from five requests."""
    found = figures([PLAIN, UNDER, OVER, CERTAIN, UNJUDGED])
    assert found.shares == Shares(4, 0.5, 0.25, 0.25)
    assert {stage: share for stage, share in found.settled_by.items() if share} == {
        "none": 0.2,
        "bounds": 0.2,
        "sample": 0.6,
    }
    assert set(found.settled_by) == set(Stage)
    assert (found.error.count, found.error.p50, found.error.p95) == (3, 0.3, 0.4)
    assert found.error_by_stage == {"sample": found.error}
    assert found.cost == Cost(5, 2.0, 8.0)
    assert found.cost_by_stage == {"sample": Cost(3, 2.0, 8.0), "bounds": Cost(1, 1.0, 1.0), "none": Cost(1, 1.0, 1.0)}
    assert found.by_category == {
        "code": CategoryFigures(1, 1.0, 1.0, 0.0, 0.4),
        "prose": CategoryFigures(3, 1 / 3, 0.0, 1 / 3, 0.1),
    }
    assert found.first_sight == Shares(3, 1 / 3, 1 / 3, 0.0)
    assert (found.first_sight_error.count, found.first_sight_error.p95) == (2, 0.4)
    assert found.observed_share == 0.2
    assert found.held_out == Shares(0)
    assert {why: share for why, share in found.not_judged.items() if share} == {"output_undeclared": 0.2}


def test_what_is_not_judged_is_told_by_its_reason() -> None:
    """Flaws by their names, and what limits no output; every reason has its share, in every run."""
    found = figures([PLAIN, UNJUDGED, FLAWED, FLAWED._replace(flaw=Flaw.MEDIA)])
    assert set(found.not_judged) == {*Flaw, "output_undeclared"}
    assert {why: share for why, share in found.not_judged.items() if share} == {
        "output_undeclared": 0.25,
        "unreadable": 0.25,
        "media": 0.25,
    }


def test_where_nothing_is_judged_there_are_no_shares() -> None:
    """Nothing is not none: the mean of such runs has no number either, and one that judged speaks for itself."""
    found = figures([FLAWED, UNJUDGED])
    assert [moment.under_so_far for moment in found.over_time] == [None, None]
    assert found.by_category["prose"] == CategoryFigures(0, None, None, None, None)
    assert mean([found, found]).shares == Shares(0)
    assert mean([found, figures([UNDER, UNDER])]).shares == Shares(1, 1.0, 1.0, 0.0)


def test_what_is_held_out_is_reported_apart() -> None:
    """Of the two requests whose row teaches nothing one is under-routed."""
    found = figures([OVER, OVER, PLAIN._replace(held_out=True), UNDER._replace(held_out=True)])
    assert found.held_out == Shares(2, 0.5, 0.5, 0.0)
    assert (found.held_out_error.count, found.held_out_error.p95) == (2, 0.4)


def test_over_time() -> None:
    """The first half of the stream is clean, every second request of the other half under-routed."""
    found = figures([PLAIN] * 100 + [UNDER, OVER] * 50).over_time
    assert len(found) == MOMENTS
    assert [moment.until for moment in found][::9] == pytest.approx([0.05, 0.5, 0.95])
    assert [(moment.under, moment.under_so_far, moment.over) for moment in (found[0], found[9], found[-1])] == [
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.5, 0.25, 0.5),
    ]


def test_a_stream_shorter_than_its_moments() -> None:
    """There are no more moments than requests."""
    assert [moment.until for moment in figures([PLAIN, UNDER]).over_time] == [0.5, 1.0]


def test_the_distribution_of_errors_runs_from_least_to_greatest() -> None:
    """Signed, so that a plot shows on which side an estimator errs."""
    found = figures([PLAIN, UNDER, OVER]).error_quantiles
    assert (found[0], found[100], found[-1]) == (-0.4, 0.1, 0.3)
    assert found == sorted(found)
    assert figures([CERTAIN]).error_quantiles == []


def test_the_mean_of_runs_is_of_each_number() -> None:
    """Shares, stages, percentiles and moments; a category that only one run has keeps its figures."""
    both = mean([figures([PLAIN, PLAIN]), figures([UNDER, PLAIN])])
    assert both.shares == Shares(2, 0.25, 0.25, 0.0)
    assert both.error.p95 == pytest.approx(0.25)
    assert both.by_category["code"] == CategoryFigures(1, 1.0, 1.0, 0.0, 0.4)
    assert both.by_category["prose"].count == 1.5
    assert [moment.under_so_far for moment in both.over_time] == [0.5, 0.25]
    assert both.error_quantiles[0] == pytest.approx(-0.15)


def test_the_mean_leaves_out_what_is_not_there() -> None:
    """A run in which nothing was estimated has no percentiles to count."""
    both = mean([figures([CERTAIN]), figures([PLAIN])])
    assert (both.error.count, both.error.p50, both.error_quantiles[0]) == (0.5, 0.1, 0.1)
    assert mean([figures([CERTAIN])]).error.p50 is None


def test_the_mean_of_one_run_is_that_run() -> None:
    """Nothing is lost on the way."""
    run = figures([PLAIN, UNDER, OVER, CERTAIN, UNJUDGED])
    assert msgspec.to_builtins(mean([run])) == msgspec.to_builtins(run)


def test_density_is_of_totals_near_the_threshold() -> None:
    """Of four totals two lie within a tenth of 8,192, that is in 0.2 of an e-fold."""
    records = [PLAIN._replace(total_tokens=tokens) for tokens in (7373, 9011, 7372, 9012)]
    assert log_density(records, 8192) == pytest.approx(0.5 / math.log(1.1 / 0.9))
