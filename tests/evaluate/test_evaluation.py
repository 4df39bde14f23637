from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.evaluate.evaluation import Evaluation, evaluate, runs_expected
from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.runs import Material, StreamRun
from extproc.evaluate.search import GAMMA_MAX
from extproc.routing.estimators import EmaRules

Asked = Callable[..., EvaluateOptions]


def evaluated(options: EvaluateOptions) -> tuple[Evaluation, int]:
    """An evaluation, and how many runs it announced."""
    announced: list[int] = []
    return evaluate(options, lambda: announced.append(1)), len(announced)


def test_figures_are_means_over_seeds_with_their_range(asked: Asked) -> None:
    """Of two runs the mean, the least and the greatest, estimator by estimator in the order asked for."""
    options = asked()
    found, announced = evaluated(options)
    runs = [StreamRun(Contender.FIXED, seed, options.ema).perform(Material.load(options)) for seed in (0, 1)]
    unders = [run.figures.shares.under or 0.0 for run in runs]
    fixed = found.estimators["fixed"]
    assert list(found.estimators) == ["fixed", "ema"]
    assert fixed.figures.shares.under == pytest.approx(sum(unders) / 2)
    assert fixed.range["under"] == (min(unders), max(unders))
    assert set(fixed.range) == {"misrouted", "under", "over"}
    assert found.rows == 30
    assert found.log_density == pytest.approx(sum(run.log_density for run in runs) / 2)
    assert announced == runs_expected(options) == 4


def test_who_promises_what(asked: Asked) -> None:
    """Neither the fixed ratio nor the published estimator states a miss probability; the latter has a margin."""
    found, _ = evaluated(asked())
    assert [(report.promised_under, report.margin_deviations) for report in found.estimators.values()] == [
        (None, None),
        (None, 2.0),
    ]


def test_a_margin_is_found_by_what_anytime_came_to(asked: Asked) -> None:
    """The published estimator, told categories or not, under-routes no more often; ours states its promise."""
    searched = (Contender.EMA_EQUAL_UNDER, Contender.EMA_TRUE_EQUAL_UNDER)
    options = asked(estimators=(*searched, Contender.ANYTIME), promise=0.2, count=400)
    found, announced = evaluated(options)
    ours = found.estimators["anytime"]
    most = ours.figures.shares.under
    assert most is not None
    assert list(found.estimators) == ["ema-equal-under", "ema-true-equal-under", "anytime"]
    assert (ours.promised_under, ours.margin_deviations) == (0.2, None)
    for name in searched:
        report = found.estimators[name]
        assert report.figures.shares.under is not None
        assert report.figures.shares.under <= most
        assert report.margin_deviations is not None
        assert report.promised_under is None
    assert announced <= runs_expected(options)


def test_a_margin_no_run_has_tried_is_run(asked: Asked) -> None:
    """Where no margin is enough the largest there is stands in the table, with figures of its own."""
    never = asked(
        estimators=(Contender.ANYTIME, Contender.EMA_EQUAL_UNDER), promise=1e-9, ema=EmaRules(warm_up_samples=0)
    )
    report = evaluated(never)[0].estimators["ema-equal-under"]
    assert (report.figures.shares.under or 0.0) > 0.0
    assert report.margin_deviations == GAMMA_MAX


def test_changes_are_pooled_by_estimator(asked: Asked) -> None:
    """Each has come through the swap in both seeds."""
    found, _ = evaluated(asked(swap_tokenizer_at=0.5))
    assert list(found.changes) == ["swap"]
    assert {name: report.requests_during + report.requests_after for name, report in found.changes["swap"].items()} == {
        "fixed": 200,
        "ema": 200,
    }


def test_sessions_alone(sessions_file: Path) -> None:
    """Without requests there are no streams; oracles and searched margins have no part in sessions."""
    options = EvaluateOptions(
        sessions=sessions_file, estimators=(Contender.FIXED, Contender.EMA, Contender.EMA_TRUE), jobs=1
    )
    found, announced = evaluated(options)
    assert (found.rows, found.log_density, found.estimators, found.changes) == (0, None, {}, {})
    assert list(found.sessions) == ["fixed", "ema"]
    assert found.sessions["fixed"].calls == 2
    assert announced == runs_expected(options) == 2
