"""How an estimator came through a change in the middle of its stream: a new tokenizer, a new kind of text.

Knows records and a promise, no router. Where a category was held back its own answers alone count as answers.
Definitions, all counted from the change on:

- the **band**: of the last W = 1 ÷ promise requests (at least 100) at most k under-routed, k being the 99th percentile
  of a Poisson count with mean W × promise: 1 in 1,000 promised, so at most 4 of the last 1,000;
- **back**: the answers that had been read when the last request was under-routed with the band exceeded by it (0 if
  none was). After it no request broke the band again. None if fewer than W requests followed it in the run: too few
  to say;
- **during**: requests routed before 300 answers had been read; **after**: the others.
"""

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from extproc.evaluate.figures import share_of
from extproc.evaluate.record import Record
from extproc.routing.values import Misroute

RELEARNED_ANSWERS = 300
_LEAST_WINDOW = 100
_SURE = 0.99


class Change(msgspec.Struct, frozen=True):
    """One run after the change."""

    observed_until_within_promise: int | None
    under_during: float | None
    """None of no requests, as below."""
    requests_during: int
    under_after: float | None
    requests_after: int


class ChangeReport(msgspec.Struct, frozen=True):
    """All seeds; shares are of the requests of all of them."""

    observed_until_within_promise: float | None
    """Mean over seeds; None if a seed never came back."""
    worst_seed: int | None
    never_back: int
    """Seeds whose run ended too early to call it back."""
    under_during: float | None
    requests_during: int
    under_after: float | None
    requests_after: int


def change(since: Sequence[Record], promise: float) -> Change:
    """Of the requests routed since the change, in order; those without a limit on their output are left out."""
    judged = [record for record in since if record.judged]
    during = [record for record in judged if record.answers_before < RELEARNED_ANSWERS]
    after = judged[len(during) :]
    return Change(_back(judged, promise), _under(during), len(during), _under(after), len(after))


def pooled(runs: Sequence[Change]) -> ChangeReport:
    """All seeds together."""
    backs = [run.observed_until_within_promise for run in runs]
    known = [back for back in backs if back is not None]
    whole = len(known) == len(backs)
    during, after = sum(run.requests_during for run in runs), sum(run.requests_after for run in runs)
    return ChangeReport(
        observed_until_within_promise=sum(known) / len(known) if whole else None,
        worst_seed=max(known) if whole else None,
        never_back=len(backs) - len(known),
        under_during=_pooled([(run.under_during, run.requests_during) for run in runs]),
        requests_during=during,
        under_after=_pooled([(run.under_after, run.requests_after) for run in runs]),
        requests_after=after,
    )


def band(promise: float) -> tuple[int, int]:
    """The window and the most under-routed requests in it that a kept promise explains."""
    window = max(_LEAST_WINDOW, math.ceil(1 / promise)) if promise else _LEAST_WINDOW
    mean, most = window * promise, 0
    term = below = math.exp(-mean)
    while below < _SURE:
        most += 1
        term *= mean / most
        below += term
    return window, most


def _back(judged: Sequence[Record], promise: float) -> int | None:
    window, most = band(promise)
    unders: deque[int] = deque()
    back, broken_at = 0, -window
    for index, record in enumerate(judged):
        if record.misroute is not Misroute.UNDER:
            continue
        unders.append(index)
        while unders[0] <= index - window:
            unders.popleft()
        if len(unders) > most:
            back, broken_at = record.answers_before, index
    return back if len(judged) - 1 - broken_at >= window else None


def _under(records: Sequence[Record]) -> float | None:
    return share_of(records, lambda record: record.misroute is Misroute.UNDER) if records else None


def _pooled(parts: Sequence[tuple[float | None, int]]) -> float | None:
    """The share of all, from shares of so many each."""
    known = [(share, count) for share, count in parts if share is not None]
    return sum(share * count for share, count in known) / sum(count for _, count in known) if known else None
