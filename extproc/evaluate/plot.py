"""An evaluation as a picture: misroutes, errors, and the promise over time. Needs matplotlib; computes nothing."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from extproc.errors import ConfigurationError
from extproc.evaluate.evaluation import Evaluation, Range
from extproc.evaluate.figures import QUANTILES
from extproc.evaluate.options import EvaluateOptions

SUFFIXES = (".png", ".svg", ".pdf")
_KINDS = {"under": "tab:red", "over": "tab:gray"}


def check(path: Path, options: EvaluateOptions) -> None:
    """Refuse what could not be drawn, before anything is run.

    Raises:
        ConfigurationError: says what would do.
    """
    if options.requests is None:
        raise ConfigurationError("--plot needs --requests: sessions are not drawn")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    if not path.resolve().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: there is no such folder")


def plot(evaluation: Evaluation, options: EvaluateOptions, path: Path) -> None:
    """Draw to a file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        draw(evaluation, options).savefig(path, dpi=150)
    except OSError as error:
        raise ConfigurationError(f"--plot {path} cannot be written: {error.strerror}") from error


def draw(evaluation: Evaluation, options: EvaluateOptions) -> Figure:
    """Three panels side by side."""
    drawing = Figure(figsize=(15, 4.5), layout="constrained")
    misroutes, errors, over_time = drawing.subplots(1, 3)
    _misroutes(misroutes, evaluation)
    _errors(errors, evaluation)
    _over_time(over_time, evaluation, options)
    for axes in (misroutes, errors, over_time):
        axes.legend()
    return drawing


def _misroutes(axes: Axes, evaluation: Evaluation) -> None:
    """Under and over side by side for each estimator, with the range over seeds."""
    names, width = list(evaluation.estimators), 0.4
    for offset, (kind, color) in enumerate(_KINDS.items()):
        values = [_percent(getattr(report.figures.shares, kind)) for report in evaluation.estimators.values()]
        spans = [report.range[kind] or _NO_RANGE for report in evaluation.estimators.values()]
        below = [max(0.0, value - 100 * span.min) for value, span in zip(values, spans, strict=True)]
        above = [max(0.0, 100 * span.max - value) for value, span in zip(values, spans, strict=True)]
        places = [at + (offset - 0.5) * width for at in range(len(names))]
        axes.bar(places, values, width, yerr=[below, above], capsize=3, label=kind, color=color)
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set(title="Misrouted, with the range over seeds", ylabel="% of requests")


def _errors(axes: Axes, evaluation: Evaluation) -> None:
    """Distribution function of the signed relative error."""
    steps = [step / QUANTILES for step in range(QUANTILES + 1)]
    for name, report in evaluation.estimators.items():
        errors = [100 * error for error in report.figures.error_quantiles]
        axes.plot(errors, steps[: len(errors)], label=name)
    axes.set(title="Error of the mean estimate", xlabel="% (negative: too few tokens)", xlim=(-50, 50))
    axes.set_ylabel("share of estimated requests")


def _over_time(axes: Axes, evaluation: Evaluation, options: EvaluateOptions) -> None:
    """Under-routed share of all requests so far; the scale is logarithmic above the promise, so that 0 can be shown."""
    for name, report in evaluation.estimators.items():
        moments = report.figures.over_time
        axes.plot(
            [moment.until for moment in moments], [_percent(moment.under_so_far) for moment in moments], label=name
        )
    axes.axhline(100 * options.promise, color="black", linestyle="--", label="promise")
    axes.set_yscale("symlog", linthresh=100 * options.promise)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set(title="Under-routed so far", xlabel="share of the stream", ylabel="% of requests")


def _percent(share: float | None) -> float:
    """Nothing is drawn of what is no number."""
    return math.nan if share is None else 100 * share


_NO_RANGE = Range(math.nan, math.nan)
