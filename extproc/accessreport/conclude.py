"""Turns a tally into findings: weighted shares with intervals, and what they say of the promise; shows nothing."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from extproc.accessreport.findings import (
    Coverage,
    Errors,
    Findings,
    Misroutes,
    ModelRow,
    Part,
    Promise,
    ThresholdRow,
)
from extproc.accessreport.shares import Share, Values, Weight, share_of
from extproc.accessreport.tally import Judged, Labels, Lengths, OfModel, Tally
from extproc.errors import ConfigurationError

THRESHOLDS = (1024, 2048, 4096, 6144, 8192, 12_288, 16_384, 24_576, 32_768)
"""That are looked at beside the log's own, where none are asked for."""
_RARE = 3.0
"""So many times 1/promise requests must be judged until none under-routed means that the promise is kept: the rule of
three (Hanley and Lippman-Hand, JAMA 249, 1983)."""


def conclude(tally: Tally, *, files: Sequence[str], promise: float, thresholds: Sequence[int] = ()) -> Findings:
    """What a tally says.

    Args:
        tally: of all lines.
        files: where they stood.
        promise: share of requests that may be sent short and not fit.
        thresholds: to look at; empty for `THRESHOLDS` and the log's own.

    Raises:
        ConfigurationError: there was no decision in it.
    """
    if not tally.requests:
        raise ConfigurationError(_empty(tally, files))
    span_s = 0.0 if tally.first is None or tally.last is None else (tally.last - tally.first).total_seconds()
    misroutes = _misroutes(tally.judged)
    steered = tally.shadow < tally.requests
    return Findings(
        files=tuple(files),
        requests=tally.requests,
        malformed=tally.malformed,
        undecided=_parts(tally.undecided, tally.requests + tally.undecided.total()),
        first=_iso(tally.first),
        last=_iso(tally.last),
        span_s=span_s,
        rate_per_s=(tally.requests - 1) / span_s if span_s else None,
        shadow_share=tally.shadow / tally.requests,
        thresholds_tokens=tally.thresholds,
        short_share=sum(model.short for model in tally.models.values()) / tally.requests,
        reasons=_parts(tally.reasons, tally.requests),
        stages=_parts(tally.stages, tally.requests),
        provenances=_parts(tally.provenances, tally.requests),
        coverage=_coverage(tally),
        promise=promise,
        promised=_promised(misroutes.under, promise),
        judged_needed=round(_RARE / promise),
        misroutes=misroutes,
        truncated=share_of(tally.truncated, tally.followed) if steered else None,
        escalated=share_of(tally.escalated, tally.answered) if steered else None,
        refusals=_parts(tally.refusals, tally.requests),
        errors=tuple(_errors(category, found) for category, found in sorted(tally.errors.items())),
        models=tuple(_model(name, found) for name, found in _busiest(tally)),
        thresholds=_thresholds(tally, thresholds),
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def _empty(tally: Tally, files: Sequence[str]) -> str:
    where, other = ", ".join(files), tally.malformed + tally.undecided.total()
    holds = f"{other} lines, none of which is a decision" if other else "nothing"
    return f"{where}: an access log of dualpool was expected, and it holds {holds}. Set access_log to have one written."


def _parts(labels: Labels, among: int) -> tuple[Part, ...]:
    """The most frequent first."""
    ordered = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Part(names, count, count / among) for names, count in ordered)


def _coverage(tally: Tally) -> Coverage:
    tellable = tally.requests - tally.lengthless
    untold = 1.0 - tally.read.total / tellable if tellable else 0.0
    return Coverage(tally.asked.count, tally.read.count, tally.read.total, tally.lengthless, max(0.0, untold))


def _misroutes(judged: Judged) -> Misroutes:
    under, over = (share_of(found, judged.all) for found in (judged.under, judged.over))
    return Misroutes(judged.all.count, judged.all.total, under, over)


def _promised(under: Share | None, promise: float) -> Promise:
    if under is None or under.low <= promise < under.high:
        return Promise.OPEN
    return Promise.KEPT if under.high <= promise else Promise.BROKEN


def _errors(category: str, found: Values) -> Errors:
    p50, p95 = found.sizes(0.5, 0.95)
    return Errors(category, len(found), p50, p95, found.mean())


def _busiest(tally: Tally) -> list[tuple[str, OfModel]]:
    return sorted(tally.models.items(), key=lambda item: (-item[1].requests, item[0]))


def _model(name: str, found: OfModel) -> ModelRow:
    error = found.errors.sizes(0.5)[0] if len(found.errors) else None
    return ModelRow(
        name, found.requests, found.short / max(1, found.requests), found.read, _misroutes(found.judged), error
    )


def _thresholds(tally: Tally, asked: Sequence[int]) -> tuple[ThresholdRow, ...]:
    own = set(tally.thresholds or ())
    if not tally.lengths.weight:
        return ()
    tellable = 1.0 - tally.lengthless / tally.requests
    return tuple(
        _threshold(tally.lengths, tokens, tellable, decided=tokens in own)
        for tokens in sorted({*asked} if asked else {*THRESHOLDS, *own})
    )


def _threshold(lengths: Lengths, threshold_tokens: int, tellable: float, *, decided: bool) -> ThresholdRow:
    weight, fits = np.array(lengths.weight), np.array(lengths.budget_tokens) <= threshold_tokens
    tokens = weight * np.array(lengths.used_tokens)
    share = share_of(_weight(weight[fits]), _weight(weight))
    assert share is not None
    taken = float(tokens[fits].sum() / tokens.sum())
    return ThresholdRow(threshold_tokens, share, tellable * share.mean, taken, decided)


def _weight(weights: npt.NDArray[np.float64]) -> Weight:
    found = Weight()
    found.count, found.total, found.squares = len(weights), float(weights.sum()), float((weights**2).sum())
    return found
