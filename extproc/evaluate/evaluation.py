"""The whole evaluation: which runs are made, and what they come to together; knows no file and no screen.

Every figure of an estimator is the mean over its seeds; the shares of misroutes come with their least and greatest.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from extproc.evaluate.change import ChangeReport, pooled
from extproc.evaluate.figures import Figures, mean
from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.runs import Material, StreamOutcome, StreamRun
from extproc.evaluate.search import STEPS, gamma_at
from extproc.evaluate.sessionruns import SessionFigures, SessionRun
from extproc.evaluate.workers import Workers, workers
from extproc.routing.estimators import EmaRules

Streams = dict[Contender, list[StreamOutcome]]
"""What each estimator's runs came to, seed by seed."""


class Range(NamedTuple):
    """Over the seeds."""

    min: float
    max: float


class EstimatorReport(msgspec.Struct, frozen=True):
    """What one estimator came to on requests."""

    figures: Figures
    """Mean over seeds."""
    range: dict[str, Range | None]
    """Of the shares misrouted, under and over; None where nothing was judged."""
    promised_under: float | None
    """None where the estimator promises nothing."""
    margin_deviations: float | None
    """γ, for the published estimator."""


class Evaluation(msgspec.Struct, frozen=True):
    """Everything that was found."""

    rows: int
    """Of those that were of use."""
    left_out: dict[str, int]
    """What is wrong with a row of the file → how many were left out for it."""
    flawed_rows: dict[str, int]
    """What keeps a row's budget from being told → how many there are; they are drawn like others and not judged."""
    log_density: float | None
    """See `extproc.evaluate.figures.log_density`."""
    estimators: dict[str, EstimatorReport]
    changes: dict[str, dict[str, ChangeReport]]
    """What happened in the middle of the stream → estimator → how it came through."""
    sessions: dict[str, SessionFigures]


def runs_expected(options: EvaluateOptions) -> int:
    """How many runs `evaluate` makes at most."""
    plain = sum(not contender.searched for contender in options.estimators)
    searched = len(options.estimators) - plain
    streams = options.seeds * (plain + searched * (STEPS + 1)) if options.requests else 0
    return streams + (len(_of_sessions(options)) if options.sessions else 0)


def evaluate(options: EvaluateOptions, done: Callable[[], None]) -> Evaluation:
    """Make every run and put them together.

    Args:
        options: what is asked.
        done: called whenever a run is finished.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    material = Material.load(options)
    with workers(options, material, done) as made:
        streams = _streams(options, made) if options.requests else {}
        sessions = _sessions(options, made) if options.sessions else {}
    outcomes = next(iter(streams.values()), [])
    return Evaluation(
        rows=len(material.rows),
        left_out=material.left_out,
        flawed_rows=material.requests.flaws(),
        log_density=sum(outcome.log_density for outcome in outcomes) / len(outcomes) if outcomes else None,
        estimators={name: _report(name, found, options) for name, found in streams.items()},
        changes=_changes(streams),
        sessions=sessions,
    )


def _streams(options: EvaluateOptions, made: Workers) -> Streams:
    """Those with a margin to find come last, since it is found by what `anytime` came to."""
    plain = [contender for contender in options.estimators if not contender.searched]
    runs = [run for contender in plain for run in _seeds(contender, options.ema, options.seeds)]
    outcomes = made.make(runs)
    found = {name: outcomes[at * options.seeds : (at + 1) * options.seeds] for at, name in enumerate(plain)}
    for contender in options.estimators:
        if contender.searched:
            found[contender] = _searched(contender, found, options, made)
    return {contender: found[contender] for contender in options.estimators}


def _seeds(contender: Contender, ema: EmaRules, seeds: int) -> list[StreamRun]:
    return [StreamRun(contender, seed, ema) for seed in range(seeds)]


def _searched(contender: Contender, found: Streams, options: EvaluateOptions, made: Workers) -> list[StreamOutcome]:
    """The runs at the margin found; each margin is tried on all seeds."""
    tried: dict[float, list[StreamOutcome]] = {}

    def under_at(gamma: float) -> float:
        ema = replace(options.ema, margin_deviations=gamma)
        tried[gamma] = made.make(_seeds(contender, ema, options.seeds))
        return _under(tried[gamma])

    gamma = gamma_at(_under(found[Contender.ANYTIME]), under_at)
    if gamma not in tried:
        under_at(gamma)
    return tried[gamma]


def _under(outcomes: Sequence[StreamOutcome]) -> float:
    """0 where nothing could be judged: then no margin is needed."""
    return sum(outcome.figures.shares.under or 0.0 for outcome in outcomes) / len(outcomes)


def _report(name: Contender, outcomes: Sequence[StreamOutcome], options: EvaluateOptions) -> EstimatorReport:
    return EstimatorReport(
        figures=mean([outcome.figures for outcome in outcomes]),
        range={share: _range(share, outcomes) for share in ("misrouted", "under", "over")},
        promised_under=options.promise if name is Contender.ANYTIME else None,
        margin_deviations=outcomes[0].margin_deviations,
    )


def _range(share: str, outcomes: Sequence[StreamOutcome]) -> Range | None:
    values = [getattr(outcome.figures.shares, share) for outcome in outcomes]
    known = [value for value in values if value is not None]
    return Range(min(known), max(known)) if known else None


def _changes(streams: Streams) -> dict[str, dict[str, ChangeReport]]:
    names = dict.fromkeys(name for outcomes in streams.values() for name in outcomes[0].changes)
    return {
        name: {
            contender.value: pooled([outcome.changes[name] for outcome in streams[contender]]) for contender in streams
        }
        for name in names
    }


def _of_sessions(options: EvaluateOptions) -> list[Contender]:
    """Logs of sessions have no categories to be told and no streams to be held against."""
    return [contender for contender in options.estimators if not (contender.searched or contender.told)]


def _sessions(options: EvaluateOptions, made: Workers) -> dict[str, SessionFigures]:
    contenders = _of_sessions(options)
    found = made.make([SessionRun(contender) for contender in contenders])
    return {contender.value: figures for contender, figures in zip(contenders, found, strict=True)}
