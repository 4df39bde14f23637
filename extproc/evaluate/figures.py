"""Records → figures: shares, percentiles, costs; knows no router and no file.

The mean of several runs has the shape of one run's figures, so every number in a report is a mean over seeds.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from extproc.evaluate.record import Record
from extproc.routing.values import Flaw, Misroute, Stage

Item = TypeVar("Item")
MOMENTS = 20
"""Into so many parts a stream is cut to show it over time."""
QUANTILES = 200
"""Steps in which the distribution of errors is kept for a plot."""


UNDECLARED = "output_undeclared"
"""Why a request is not judged: nobody limits its output."""


class Shares(msgspec.Struct, frozen=True):
    """How often decisions were wrong; shares of all judged requests, None where none was judged."""

    count: float
    """Judged requests."""
    misrouted: float | None = None
    under: float | None = None
    """Sent short and do not fit."""
    over: float | None = None
    """Sent long and would fit."""


class Errors(msgspec.Struct, frozen=True):
    """Distribution of |mean estimate ÷ truth − 1| over the requests that were estimated."""

    count: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    bias: float | None = None
    """Mean of the signed error."""


class Cost(msgspec.Struct, frozen=True):
    """Time that routing took, in microseconds, reading the body not included."""

    count: float
    p50: float
    p99: float


class Moment(msgspec.Struct, frozen=True):
    """One part of the stream."""

    until: float
    """Share of the stream routed at its end."""
    under: float | None
    under_so_far: float | None
    """Of all requests up to its end: what is held against the promise."""
    over: float | None


class CategoryFigures(msgspec.Struct, frozen=True):
    """Of one category as the file names it."""

    count: float
    misrouted: float | None
    under: float | None
    over: float | None
    p50: float | None
    """Median relative error of what was estimated."""


class Figures(msgspec.Struct, frozen=True):
    """What a run came to."""

    shares: Shares
    not_judged: dict[str, float]
    """Share of all requests by what keeps them from being judged: a flaw, or that nobody limits their output."""
    settled_by: dict[str, float]
    """Share of all requests by the stage that settled them."""
    error: Errors
    error_by_stage: dict[str, Errors]
    cost: Cost
    cost_by_stage: dict[str, Cost]
    by_category: dict[str, CategoryFigures]
    first_sight: Shares
    """Of requests whose row had not come before, so that nothing about it can have been memorised."""
    first_sight_error: Errors
    held_out: Shares
    """Of requests whose rows' answers are never read: the clean proof, since they come as others do, at all times."""
    held_out_error: Errors
    observed_share: float
    """Of the answers, how many were read."""
    over_time: list[Moment]
    error_quantiles: list[float]
    """Signed errors at even steps of their distribution."""


def figures(records: Sequence[Record]) -> Figures:
    """The figures of one run, from all its requests in order."""
    by_stage = _grouped(records, lambda record: record.stage.value)
    first = [record for record in records if record.first_sight]
    held_out = [record for record in records if record.held_out]
    errors = _errors_of(records)
    return Figures(
        shares=shares(records),
        not_judged=_not_judged(records),
        settled_by={stage.value: _settled_by(records, stage) for stage in Stage},
        error=error_figures(errors),
        error_by_stage={stage: error_figures(known) for stage, found in by_stage if (known := _errors_of(found))},
        cost=_cost(records),
        cost_by_stage={stage: _cost(found) for stage, found in by_stage},
        by_category={name: _category(found) for name, found in _grouped(records, lambda record: record.category)},
        first_sight=shares(first),
        first_sight_error=error_figures(_errors_of(first)),
        held_out=shares(held_out),
        held_out_error=error_figures(_errors_of(held_out)),
        observed_share=share_of(records, lambda record: record.observed),
        over_time=_over_time(records),
        error_quantiles=_quantiles(errors),
    )


def shares(records: Iterable[Record]) -> Shares:
    """Misroutes among what could be judged."""
    judged = [record for record in records if record.judged]
    if not judged:
        return Shares(0)
    under = share_of(judged, lambda record: record.misroute is Misroute.UNDER)
    over = share_of(judged, lambda record: record.misroute is Misroute.OVER)
    return Shares(count=len(judged), misrouted=under + over, under=under, over=over)


def share_of(records: Sequence[Item], holds: Callable[[Item], bool]) -> float:
    """Share of records for which something holds; 0 of none."""
    return sum(map(holds, records)) / len(records) if records else 0.0


def error_figures(errors: Sequence[float]) -> Errors:
    """Percentiles of signed relative errors by size."""
    if not errors:
        return Errors(0)
    sizes = sorted(map(abs, errors))
    p50, p95, p99 = (percentile(sizes, share) for share in (0.50, 0.95, 0.99))
    return Errors(len(errors), p50, p95, p99, bias=sum(errors) / len(errors))


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def mean(runs: Sequence[Figures]) -> Figures:
    """Number by number; what only some runs have (a rare category) is the mean over those."""
    return msgspec.convert(_mean([msgspec.to_builtins(run) for run in runs]), Figures)


def log_density(records: Sequence[Record], threshold_tokens: int) -> float:
    """Share of true totals per e-fold of length at the threshold, from those within ±10 % of it.

    Times the mean relative error it is about the share that is misrouted where there is no margin.
    """
    near = share_of(records, lambda record: abs(record.total_tokens / threshold_tokens - 1.0) <= _NEAR)
    return near / math.log((1 + _NEAR) / (1 - _NEAR))


def _why_not(record: Record) -> str | None:
    """What keeps a request from being judged."""
    if record.judged:
        return None
    return UNDECLARED if record.flaw is None else record.flaw.value


def _not_judged(records: Sequence[Record]) -> dict[str, float]:
    found = Counter(map(_why_not, records))
    return {why: found[why] / len(records) for why in _WHY}


def _settled_by(records: Sequence[Record], stage: Stage) -> float:
    return share_of(records, lambda record: record.stage is stage)


def _errors_of(records: Iterable[Record]) -> list[float]:
    return [record.error for record in records if record.error is not None]


def _cost(records: Sequence[Record]) -> Cost:
    costs_ns = sorted(record.cost_ns for record in records)
    return Cost(len(records), percentile(costs_ns, 0.50) / 1000, percentile(costs_ns, 0.99) / 1000)


def _category(records: Sequence[Record]) -> CategoryFigures:
    found = shares(records)
    error = error_figures(_errors_of(records))
    return CategoryFigures(found.count, found.misrouted, found.under, found.over, error.p50)


def _grouped(records: Iterable[Record], key: Callable[[Record], str]) -> list[tuple[str, list[Record]]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return sorted(groups.items())


def _over_time(records: Sequence[Record]) -> list[Moment]:
    ends = sorted({round(part * len(records) / MOMENTS) for part in range(1, MOMENTS + 1)} - {0})
    moments = []
    for start, end in zip([0, *ends], ends, strict=False):
        part = shares(records[start:end])
        moments.append(Moment(end / len(records), part.under, shares(records[:end]).under, part.over))
    return moments


def _quantiles(errors: Sequence[float]) -> list[float]:
    ascending = sorted(errors)
    return [percentile(ascending, step / QUANTILES) for step in range(QUANTILES + 1)] if errors else []


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers their mean, of mappings and lists the same shape of means; None counts as missing."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], Mapping):
        keys = dict.fromkeys(key for value in known for key in value)
        return {key: _mean([value[key] for value in known if key in value]) for key in keys}
    if isinstance(known[0], list):
        full = [value for value in known if value]
        return [_mean(parts) for parts in zip(*full, strict=True)]
    return sum(known) / len(known)


_WHY = (*(flaw.value for flaw in Flaw), UNDECLARED)
_NEAR = 0.1
