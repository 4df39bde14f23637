"""How far an estimate must lie from the room it is compared with, so that a promise is kept; knows no text, no pool.

Every estimate states a mean and a standard deviation of the logarithm of the tokens. In units of that deviation,
`u = (log room − mean) / deviation` is where the room lies, and `z = (log truth − mean) / deviation` where the truth
turned out to lie, before anything was learned from it. Two histograms per stage, of u over all requests and of z over
the observed ones, give the share of requests that a margin m sends short though they do not fit:

    under(m) = Σ_{u ≥ m} H(u) · P(z > u) / Σ H

for z does not depend on where the operator put the threshold. The margin is the smallest m whose under-share is within
the promise. All observed errors calibrate it, not only the few near the threshold, which alone could never show one in
a thousand. It is a split-conformal calibration of the tail, spent where the traffic needs it: the promise is about all
requests, so a margin is wide where many requests lie near the threshold and narrow where few do.

Until errors have been seen, a heavy-tailed prior (Student's t with three degrees of freedom) stands for so many.
"""

import math

import numpy as np
import numpy.typing as npt

from extproc.routing.features import Array

_WIDTH = 0.25
_REACH = 10.0
"""Positions and errors beyond so many deviations count as that many."""
_BINS = int(2 * _REACH / _WIDTH)
_PRIOR_SAMPLES = 100.0
_ERROR_MEMORY = 1.0 - 1.0 / 4000.0
"""Of an observed error, for each after it."""
_POSITION_MEMORY = 1.0 - 1.0 / 160.0
"""Of a position, for each refresh: 10,000 estimates at one refresh in 64."""


def _student(edges: Array) -> Array:
    """Cumulative distribution of Student's t with three degrees of freedom (closed form)."""
    scaled = edges / math.sqrt(3.0)
    cumulative: Array = 0.5 + (scaled / (1.0 + scaled**2) + np.arctan(scaled)) / math.pi
    return cumulative


_CENTRES = -_REACH + _WIDTH * (np.arange(_BINS) + 0.5)
_LOWER = _CENTRES - _WIDTH / 2
PRIOR_ERRORS: Array = _PRIOR_SAMPLES * np.diff(_student(np.append(_LOWER, _REACH)))
"""The histogram of z before any error was seen."""


class Margin:
    """The margin of one stage of one serving model. Not thread-safe."""

    def __init__(self) -> None:
        self.errors: Array = PRIOR_ERRORS.copy()
        """Histogram of z, the prior included."""
        self.positions = [0.0] * _BINS
        """Histogram of u."""
        self.short_at = 0.0
        """From this position on a request goes short."""
        self.long_at = 0.0
        """Up to this position a request goes long. Between the two this stage does not settle it."""
        self._tails = _tails(self.errors)

    def settles(self, position: float) -> bool:
        """Count where the room of a request lies, and say whether this stage settles it."""
        self.positions[min(_BINS - 1, max(0, int((position + _REACH) / _WIDTH)))] += 1.0
        return position >= self.short_at or position <= self.long_at

    def observe(self, error: float) -> None:
        """Count an error, in deviations that were stated for it."""
        self.errors *= _ERROR_MEMORY
        self.errors += (1.0 - _ERROR_MEMORY) * PRIOR_ERRORS
        self.errors[min(_BINS - 1, max(0, int((error + _REACH) / _WIDTH)))] += 1.0

    def refresh(self) -> None:
        """Tails anew, and the past of the positions discounted."""
        self._tails = _tails(self.errors)
        self.positions = [_POSITION_MEMORY * count for count in self.positions]

    def doubt(self, position: float) -> float:
        """P(z > u): how likely a prompt is longer than the room at this position."""
        return self._tails[min(_BINS - 1, max(0, int((position + _REACH) / _WIDTH)))]

    def above(self, risk: float) -> float:
        """The least position at which a prompt is longer than its room with at most this probability."""
        return next((at for at, tail in zip(_EDGES, self._tails, strict=True) if tail <= risk), _REACH)

    def below(self, risk: float) -> float:
        """The greatest position at which a prompt fits with at most this probability."""
        return max((at for at, tail in zip(_EDGES, self._tails, strict=True) if 1.0 - tail <= risk), default=-_REACH)

    def within(self, share: float, of_requests: float) -> float:
        """The least position from which on requests may go short for the under-routed ones to be within a share."""
        at_risk = np.array(self.positions) * self._tails
        under = at_risk[::-1].cumsum()[::-1]
        kept: npt.NDArray[np.intp] = np.flatnonzero(under <= share * of_requests)
        return float(_EDGES[kept[0]]) if len(kept) else _REACH

    def forget(self) -> None:
        """Start from the prior again: errors of the past say nothing of those to come."""
        self.errors = PRIOR_ERRORS.copy()
        self._tails = _tails(self.errors)


def _tails(errors: Array) -> list[float]:
    """P(z > centre of a bin), for each."""
    above = errors[::-1].cumsum()[::-1] - errors / 2
    tails: list[float] = (above / errors.sum()).tolist()
    return tails


_EDGES: list[float] = _LOWER.tolist()
