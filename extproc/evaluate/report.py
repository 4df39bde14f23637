"""An evaluation as tables for people: shows numbers that others computed, decides nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from extproc.evaluate.caveats import caveats
from extproc.evaluate.change import RELEARNED_ANSWERS, ChangeReport, band
from extproc.evaluate.evaluation import EstimatorReport, Evaluation, Range
from extproc.evaluate.figures import Errors
from extproc.evaluate.options import EvaluateOptions
from extproc.evaluate.sessionruns import SessionFigures
from extproc.routing.values import Stage

_PLAIN_WIDTH = 170
"""Where the output is no terminal: wide enough to keep every table whole."""


def console(*, to_stderr: bool) -> Console:
    """A console that never writes control codes to anything but a terminal, and keeps tables whole there."""
    found = Console(stderr=to_stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=to_stderr, highlight=False, width=_PLAIN_WIDTH)


class Steps:
    """Counts finished runs on a progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("runs", total=total)

    def __call__(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)


@contextmanager
def steps(output: Console, total: int) -> Iterator[Steps]:
    """A progress bar where `output` is a terminal that can redraw, silence where it is not."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = output.is_terminal and not output.is_dumb_terminal
    with Progress(*columns, console=output, transient=True, disable=not shown) as progress:
        yield Steps(progress, total)


def show(output: Console, evaluation: Evaluation, options: EvaluateOptions) -> None:
    """Everything, as tables."""
    if evaluation.estimators:
        output.print(_headline(evaluation, options), soft_wrap=True)
        output.print(_misroutes(evaluation, holds_out=options.held_out_share > 0), _work(evaluation))
        output.print(_LEGEND, soft_wrap=True)
    for name, found in evaluation.changes.items():
        output.print(_changes(_TITLES[name], found))
    if evaluation.changes:
        window, most = band(options.promise)
        output.print(
            f"Back within the promise: from so many answers on, never again more than {most} of the last {window}"
            " requests under-routed."
        )
    if evaluation.sessions:
        output.print(_sessions(evaluation))
    warn(output, evaluation, options)


def warn(output: Console, evaluation: Evaluation, options: EvaluateOptions) -> None:
    """What to know of the requests behind the figures."""
    for caveat in caveats(evaluation, options):
        output.print(f"Note: {caveat}", soft_wrap=True, markup=False)


def _headline(evaluation: Evaluation, options: EvaluateOptions) -> str:
    density = evaluation.log_density or 0.0
    return (
        f"{evaluation.rows} rows; {options.seeds} × {options.count} requests, {options.tokenizer} counts, threshold"
        f" {options.threshold_tokens} tokens.\nNear the threshold {density / 100:.2%} of them lie in each 1 % of"
        " length: so many an unbiased estimator without margin misroutes for each 1 % that it errs by in the mean."
    )


def _misroutes(evaluation: Evaluation, *, holds_out: bool) -> Table:
    unseen = "held out" if holds_out else "first sight"
    table = _table(
        "Misroutes", "estimator", "judged", "misrouted", "under", "promised", "over", unseen, "under", "over",
        "observed",
    )  # fmt: skip
    for name, report in evaluation.estimators.items():
        found, spread = report.figures, report.range
        apart = found.held_out if holds_out else found.first_sight
        table.add_row(
            _name(name, report),
            f"{found.shares.count:.0f}",
            _spread(found.shares.misrouted, spread["misrouted"]),
            _spread(found.shares.under, spread["under"]),
            _percent(report.promised_under),
            _spread(found.shares.over, spread["over"]),
            *map(_percent, (apart.misrouted, apart.under, apart.over)),
            f"{found.observed_share:.1%}",
        )
    return table


def _work(evaluation: Evaluation) -> Table:
    """Stages that settled nothing anywhere are left out."""
    reports = evaluation.estimators.values()
    stages = [stage for stage in Stage if any(report.figures.settled_by[stage] for report in reports)]
    settled = [f"by {stage}" for stage in stages]
    columns = ("error p50", "p95", "p99", "bias", *settled, "routing p50", "p99")
    table = _table("Errors and work", "estimator", *columns)
    for name, report in evaluation.estimators.items():
        found = report.figures
        table.add_row(
            _name(name, report),
            *_error_cells(found.error),
            _NONE if found.error.bias is None else f"{found.error.bias:+.1%}",
            *(f"{found.settled_by[stage]:.1%}" for stage in stages),
            f"{found.cost.p50:.0f} µs",
            f"{found.cost.p99:.0f} µs",
        )
    return table


def _changes(title: str, found: dict[str, ChangeReport]) -> Table:
    table = _table(
        title,
        "estimator", "back after answers", "worst seed", f"under until {RELEARNED_ANSWERS} answers", "requests",
        "under later", "requests",
    )  # fmt: skip
    for name, report in found.items():
        table.add_row(
            name,
            _answers(report.observed_until_within_promise, report),
            _answers(report.worst_seed, report),
            _percent(report.under_during),
            str(report.requests_during),
            _percent(report.under_after),
            str(report.requests_after),
        )
    return table


def _answers(count: float | None, report: ChangeReport) -> str:
    return f"not in {report.never_back} seeds" if count is None else f"{count:.0f}"


def _sessions(evaluation: Evaluation) -> Table:
    table = _table(
        "Conversations", "estimator", "calls", "failed", "observed", "extending", "error p50", "p95", "p99",
        "unmatched", "others", "error p50", "p95", "p99",
    )  # fmt: skip
    for name, found in evaluation.sessions.items():
        table.add_row(name, *_session_cells(found))
    return table


def _session_cells(found: SessionFigures) -> list[str]:
    extending, others = found.extending, found.others
    return [
        str(found.calls), str(found.failed), f"{found.observed_share:.1%}",
        f"{extending.count:.0f}", *_error_cells(extending), str(found.unmatched),
        f"{others.count:.0f}", *_error_cells(others),
    ]  # fmt: skip


def _error_cells(error: Errors) -> list[str]:
    return [_percent(value) for value in (error.p50, error.p95, error.p99)]


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(first, title=title, title_justify="left")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _name(name: str, report: EstimatorReport) -> str:
    return name if report.margin_deviations is None else f"{name} (γ = {report.margin_deviations:g})"


def _spread(value: float | None, spread: Range | None) -> str:
    return _NONE if spread is None else f"{_percent(value)} ({100 * spread.min:.2f}–{100 * spread.max:.2f})"


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{share:.2%}"


_NONE = "–"
"""Where there is no number."""

_TITLES = {
    "swap": "After the tokenizer was swapped",
    "held_back": "After the category that was held back began",
    "held_back_itself": "That category's own requests",
}
_LEGEND = """\
Shares are of the requests judged, cold start included: mean of the seeds (least–greatest). First sight: requests whose
row had not come before in the run, most of them at its cold beginning. Held out: requests whose rows' answers are never
read. Error: |mean estimate ÷ truth − 1| of the requests that were estimated. Routing: time per request, its
body read already.\
"""
