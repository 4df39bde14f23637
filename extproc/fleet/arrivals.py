"""When requests arrive: at recorded times, at random, or in bursts; knows no request. Times are seconds from 0 on.

How bursty traffic is, is told by the index of dispersion of its counts: their variance over their mean in windows of
equal length, 1 for Poisson arrivals (Cox and Lewis, The Statistical Analysis of Series of Events, 1966).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.values import Floats

WINDOW_S = 10.0
"""In which counts are taken: about as long as a queue in front of an instance takes to build up and to drain."""
PIECE_S = 30.0
"""How long a rate of bursty arrivals lasts. With it, dispersion beyond chance is 2.3 and 2.8 times as large in windows
of 30 and 60 s as in 10 s; in public traces it is 1.7 to 2.8 and 2.3 to 5.4 times (Azure 2023, Mooncake)."""
BATCH = 65_536
"""Arrivals at a time."""
_WINDOWS_MIN = 2
"""A variance needs as many."""


class ArrivalKind(StrEnum):
    """What arrivals are like."""

    RECORDED = "recorded"
    """At the trace's own times."""
    POISSON = "poisson"
    """At random, at one rate."""
    BURSTY = "bursty"
    """At random, at a rate that changes as much as the trace's."""


@dataclass(frozen=True, slots=True)
class Poisson:
    """Arrivals that know nothing of each other."""

    rate_per_s: float

    def blocks(self, rng: np.random.Generator) -> Iterator[Floats]:
        """Ascending times, without end."""
        now_s = 0.0
        while True:
            times = now_s + np.cumsum(rng.exponential(1.0 / self.rate_per_s, BATCH))
            yield times
            now_s = float(times[-1])


@dataclass(frozen=True, slots=True)
class Bursty:
    """Poisson arrivals whose rate is drawn anew every `PIECE_S` seconds, from a gamma distribution (a Cox process).

    With pieces of D seconds and a gamma of shape k, counts in windows of w ≤ D seconds that begin anywhere have a mean
    m and the variance m + m²/k · (1 − w/3D): so k = m · (1 − w/3D) / (dispersion − 1). The dispersion is kept whatever
    the rate, as if more users of the same sort came who know nothing of each other; what moves all users at once (hours
    of the day, an outage elsewhere) is not in it: give a larger dispersion for that.
    """

    rate_per_s: float
    dispersion: float
    """Variance of counts over their mean, in windows of `WINDOW_S`; above 1."""

    def blocks(self, rng: np.random.Generator) -> Iterator[Floats]:
        """Ascending times, without end. A block may be empty."""
        seen = 1.0 - WINDOW_S / (3.0 * PIECE_S)
        shape = self.rate_per_s * WINDOW_S * seen / (self.dispersion - 1.0)
        mean = self.rate_per_s * PIECE_S
        pieces = max(1, int(BATCH / mean))
        first = 0
        while True:
            counts = rng.poisson(rng.gamma(shape, mean / shape, pieces))
            starts = np.repeat(np.arange(first, first + pieces, dtype=np.float64), counts)
            yield np.sort(starts + rng.random(len(starts))) * PIECE_S
            first += pieces


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace's own times, over and over, closer together or further apart where another rate is wanted.

    Between the last and the next first arrival lies the mean gap. Times that are drawn together keep their counts: at
    c times the rate, counts in c times shorter windows have the trace's dispersion.
    """

    arrival_s: Floats
    """Ascending from 0."""
    rate_per_s: float

    def blocks(self, rng: np.random.Generator) -> Iterator[Floats]:  # noqa: ARG002 - nothing in it is random
        """Ascending times, without end; whole turns through the trace."""
        scaled = self.arrival_s * (own_rate_per_s(self.arrival_s) / self.rate_per_s)
        period_s = len(scaled) / self.rate_per_s
        turns = np.arange(max(1, BATCH // len(scaled)))[:, np.newaxis]
        while True:
            yield (scaled + turns * period_s).ravel()
            turns = turns + len(turns)


Arrivals = Poisson | Bursty | Recorded


def own_rate_per_s(arrival_s: Floats) -> float:
    """Arrivals per second, by the mean gap between them.

    Raises:
        ConfigurationError: all come at once, so that there is no rate.
    """
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    if span_s <= 0.0:
        raise ConfigurationError("the trace's requests all come at one moment: give a rate, and Poisson arrivals")
    return (len(arrival_s) - 1) / span_s


def dispersion(arrival_s: Floats, window_s: float = WINDOW_S) -> float:
    """Index of dispersion of the counts in whole windows, from the first arrival on; ascending times.

    Raises:
        ConfigurationError: the trace is shorter than two windows.
    """
    windows = int((arrival_s[-1] - arrival_s[0]) / window_s) if len(arrival_s) else 0
    if windows < _WINDOWS_MIN:
        raise ConfigurationError(f"how bursty a trace is cannot be told of less than {_WINDOWS_MIN * window_s:g} s")
    edges = arrival_s[0] + window_s * np.arange(windows + 1)
    counts = np.diff(np.searchsorted(arrival_s, edges))
    return float(counts.var(ddof=1) / counts.mean())


def arrivals_like(kind: ArrivalKind, *, rate_per_s: float, of_dispersion: float | None) -> Poisson | Bursty:
    """Arrivals that are drawn, at a rate.

    Args:
        kind: POISSON or BURSTY.
        rate_per_s: mean.
        of_dispersion: that of the trace; at most 1 makes bursty arrivals plain Poisson ones. None where none is known.

    Raises:
        ConfigurationError: the rate is none, or how bursty the trace is is not known.
    """
    checked(rate_per_s)
    if kind is ArrivalKind.POISSON:
        return Poisson(rate_per_s)
    if kind is ArrivalKind.RECORDED or of_dispersion is None:
        raise ConfigurationError(f"{kind} arrivals need a trace with times: choose {ArrivalKind.POISSON}")
    return Bursty(rate_per_s, of_dispersion) if of_dispersion > 1.0 else Poisson(rate_per_s)


def checked(rate_per_s: float) -> float:
    """The rate, if it is one.

    Raises:
        ConfigurationError: it is not above 0, or has no end.
    """
    if not 0.0 < rate_per_s < float("inf"):
        raise ConfigurationError(f"a rate of {rate_per_s} requests per second is none: it must be above 0")
    return rate_per_s


def chunks(blocks: Iterator[Floats], requests: int) -> Iterator[Floats]:
    """The first so many times, in chunks of `BATCH` and a last smaller one."""
    held = np.empty(0)
    while requests > 0:
        wanted = min(BATCH, requests)
        while len(held) < wanted:
            held = np.concatenate([held, next(blocks)])
        yield held[:wanted]
        held, requests = held[wanted:], requests - wanted
