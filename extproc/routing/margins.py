"""How far an estimate must lie from the room it is compared with, so that a promise is kept; knows no text, no pool.

Every estimate states a mean and a standard deviation of the logarithm of the tokens. In units of that deviation,
`u = (log room − mean) / deviation` is where the room lies, and `z = (log truth − mean) / deviation` where the truth
turned out to lie, before anything was learned from it. Two histograms per stage, of u over all requests and of z over
the observed ones, give the share of requests that a margin m sends short though they do not fit:

    under(m) = Σ_{u ≥ m} H(u) · P(z > u) / Σ H

and so does D = u − z, where the truth lay below the room, for those whose truth lay above it:

    under(m) = Σ_{D < 0} T(D) · P(z ≥ m − D) / Σ T

The first uses every request and takes u and z for independent, which they are where prompts spread evenly around the
room; the second needs no such thing, but rests on observed requests alone. The margin is the smallest m at which the
first is within the promise and the second within twice that. All errors on requests that estimates decide calibrate it,
not only the few near the threshold, which alone could never show one in a thousand. It is a split-conformal
calibration of the tail, spent where the traffic needs it: the promise is about all requests, so a margin is wide where
many requests lie near the threshold and narrow where few do.

Until errors have been seen, a heavy-tailed prior (Student's t with three degrees of freedom) stands for so many. Until
requests have been seen, the risk of a single one bounds the margin.
"""

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import neg

import numpy as np

from extproc.routing import kernels
from extproc.routing.kernels import Array, Counts

_WIDTH, _REACH = 0.25, 10.0
"""Bins of a quarter of a deviation up to ten deviations, where nearly all errors lie; beyond, each a quarter wider than
the one before, for exact counts have errors of many of their tiny deviations."""
_GROWTH, _FARTHEST = 1.25, 1000.0
NEVER = math.inf
"""A position that no request has: where no margin keeps the promise, nothing goes short."""
_BY_CHANCE = 2.0
"""By how much the second sum may exceed the promise: it rests on few requests, and is there for traffic that crowds
just above the room, where the first is off by far more."""
_PRIOR_SAMPLES = 100.0
_ERROR_FADING = 1.0 / 4000.0
"""Of an observed error, with each after it."""
_POSITION_MEMORY = 1.0 - 1.0 / 160.0
"""Of a position, for each refresh: 10,000 estimates at one refresh in 64."""


def _student(edge: float) -> float:
    """Cumulative distribution of Student's t with three degrees of freedom (closed form)."""
    scaled = edge / math.sqrt(3.0)
    return 0.5 + (scaled / (1.0 + scaled**2) + math.atan(scaled)) / math.pi


def _edges() -> list[float]:
    """Between bins, in ascending order; the first and the last bin are open."""
    near = [_WIDTH * step for step in range(int(_REACH / _WIDTH) + 1)]
    while near[-1] < _FARTHEST:
        near.append(min(_FARTHEST, near[-1] * _GROWTH))
    return [-edge for edge in reversed(near)] + near[1:]


_EDGES = _edges()
_BINS = len(_EDGES) + 1
_MIDDLES = [math.nextafter(_EDGES[0], -math.inf), *((low + high) / 2 for low, high in pairwise(_EDGES)), _EDGES[-1]]
"""Of each bin a position that lies in it; of an open one its edge."""
PRIOR_ERRORS: Array = _PRIOR_SAMPLES * np.diff([0.0, *map(_student, _EDGES), 1.0])
"""The histogram of z before any error was seen."""


class Margin:
    """The margin of one stage of one serving model. Not thread-safe."""

    def __init__(self) -> None:
        self.errors: Array = PRIOR_ERRORS.copy()
        """Histogram of z, the prior included."""
        self.positions: Array = np.zeros(_BINS)
        """Histogram of u."""
        self.distances: Array = np.zeros(_BINS)
        """Histogram of u − z, where the room lay from the truth, over the observed requests."""
        self.short_at = 0.0
        """From this position on a request goes short."""
        self.long_at = 0.0
        """Up to this position a request goes long. Between the two this stage does not settle it."""
        self._tails = kernels.tails(self.errors)
        """P(z > centre of a bin), for each."""

    def settles(self, position: float) -> bool:
        """Count where the room of a request lies, and say whether this stage settles it."""
        self.positions[bisect_right(_EDGES, position)] += 1.0
        return position >= self.short_at or position <= self.long_at

    def observe(self, error: float, distance: float, weight: float = 1.0) -> None:
        """Count an error and how far the room lay from the truth, in deviations that were stated for the estimate.

        Rooms near the truth are observed more often than others, so each counts for as many as it stands for. Errors
        are alike wherever the room lies, so each counts once.
        """
        kernels.count_in(
            self.errors, PRIOR_ERRORS, self.distances, _ERROR_FADING, _EDGES_ARRAY, error, distance, weight
        )

    def refresh(self) -> None:
        """Tails anew, and the past of the positions discounted."""
        self._tails = kernels.tails(self.errors)
        self.positions *= _POSITION_MEMORY

    def doubt(self, position: float) -> float:
        """P(z > u): how likely a prompt is longer than the room at this position."""
        return self._tails.item(bisect_right(_EDGES, position))

    def above(self, risk: float) -> float:
        """The least position at which a prompt is longer than its room with at most this probability."""
        return _OR_NEVER[bisect_left(self._tails, -risk, key=neg)]

    def below(self, risk: float) -> float:
        """The greatest position at which a prompt fits with at most this probability."""
        return _NEVER_OR[bisect_right(self._tails, risk, key=_fits)]

    def within(self, share: float, of_requests: float) -> float:
        """The least position from which on requests may go short for the under-routed ones to be within a share."""
        by_positions = kernels.edge_by_positions(self.positions, self._tails, share * of_requests)
        return max(_EDGE_OR_NEVER[by_positions], self._within_by_distances(_BY_CHANCE * share))

    def _within_by_distances(self, share: float) -> float:
        """The same by the requests whose truth lay above the room: those alone can be under-routed.

        A prompt at distance D < 0 goes short at a margin m if its error is at least m − D.
        """
        most = share * self.distances.sum().item()
        return _EDGE_OR_NEVER[_ZERO + kernels.row_by_distances(self.distances, self._tails, _BEYOND, most)]

    def forget(self) -> None:
        """Start from the prior again: errors of the past say nothing of those to come."""
        self.errors = PRIOR_ERRORS.copy()
        self.distances = np.zeros(_BINS)
        self._tails = kernels.tails(self.errors)


def _fits(tail: float) -> float:
    return 1.0 - tail


_EDGES_ARRAY: Array = np.array(_EDGES)
_EDGE_OR_NEVER = [*_EDGES, NEVER]
_OR_NEVER = [*_MIDDLES, NEVER]
_NEVER_OR = [-NEVER, *_MIDDLES]
_ZERO = _EDGES.index(0.0)
"""The edge at which a room is as long as the prompt; the bin of the same number lies below it."""
_BEYOND: Counts = np.searchsorted(_EDGES, np.subtract.outer(_EDGES[_ZERO:], _MIDDLES[: _ZERO + 1]), side="right")
"""For each margin and each distance below 0 the bin of the least error that sends such a prompt short."""
