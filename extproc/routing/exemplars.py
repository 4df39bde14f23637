"""Prompts like those seen: a bounded table of exemplars, each with what the linear fit gets wrong on its kind.

Within one source of text (a log format, an author, a schema) the linear fit errs by 1 to 2 %, between sources by 5 to
30 %, always to the same side. So a prompt is corrected by the mean error of the nearest exemplar, by as much as that
one is near and well known, and the scatter there says how sure the correction is. Knows shares of bytes, no text.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from extproc.routing import kernels
from extproc.routing.features import COUNT
from extproc.routing.kernels import Array
from extproc.routing.linear import RATIO_MIN, TERMS

CAPACITY = 512
"""Exemplars of one serving model: 150 KiB of features."""
_SAME = 0.04
"""Prompts nearer than this, in the Euclidean distance of square roots of shares, belong to one exemplar."""
_NEAR = 0.08
"""Length over which nearness fades: exp(−d²/2h²)."""
_DOUBTERS = 0.5
"""How many answers the general scatter weighs: one answer of the very same kind already counts twice as much."""
_GENERAL = 0.12
"""Scatter of the linear fit on text like none seen: standard deviation of the error's logarithm over sources."""
_MEMORY = 32.0
"""Answers after which an exemplar's mean becomes a moving one."""
_FAR = 50.0
_SAMPLES, _SCATTER = 0, 2
"""Rows of what is learned, the mean between them."""


Place = npt.NDArray[np.float32]
"""Square roots of shares: differences between rare and between common classes then count alike."""


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What the exemplars make of a prompt."""

    log_error: float
    """To be added to the logarithm of the linear estimate."""
    variance: float
    """Of that logarithm after the correction."""
    weight: float
    """How much the nearest exemplar counted; near 0 for text unlike any seen."""
    nearest: int
    squared_distance: float


class Exemplars:
    """The table of one serving model. Not thread-safe."""

    def __init__(self) -> None:
        self.places = np.full((COUNT, CAPACITY), _FAR, np.float32)
        """A column each."""
        self.rows = np.zeros((CAPACITY, TERMS))
        """φ of each, by which its error follows the linear fit when that changes."""
        self.learned = np.zeros((3, CAPACITY))
        """Of each its samples, then mean and variance of log(truth / prior's estimate), which no fit changes."""
        self.stamps = np.zeros(CAPACITY, np.int64)
        """When each was last taught, by the count of answers."""
        self.used = 1
        """Places looked through: they are taken in order, and none is given back."""
        self._clock = 0
        self._halves = (self.places**2).sum(axis=0) / 2

    @property
    def samples(self) -> Array:
        """Answers that each was taught by; 0 where there is none."""
        samples: Array = self.learned[_SAMPLES]
        return samples

    def correct(self, shares: Array, delta: Array) -> Correction:
        """By the nearest exemplar, whose mean is held against what a linear fit with this δ makes of it now."""
        nearest, squared, samples, error, scatter = kernels.consult(
            shares, self.places, self._halves, self.used, self.learned, self.rows, delta, RATIO_MIN
        )
        weight = math.exp(squared * _FADING) * min(_MEMORY / 2, samples)
        total = weight + _DOUBTERS
        log_error = weight * error / total
        variance = (weight * (scatter + (error - log_error) ** 2) + _UNKNOWN) / total
        return Correction(log_error, variance, weight, nearest, squared)

    def learn(self, shares: Array, row: Array, log_ratio: float, correction: Correction) -> None:
        """Teach the nearest exemplar; where none is near, make one in place of that not taught for longest."""
        at = correction.nearest
        samples, mean, scatter = self.learned[:, at].tolist()
        if correction.squared_distance >= _SAME**2 or not samples:
            self._put(np.sqrt(shares, dtype=np.float32), row, (1.0, log_ratio, _GENERAL**2 / 4))
            return
        samples = min(_MEMORY, samples + 1.0)
        distance = log_ratio - mean
        self.learned[:, at] = samples, mean + distance / samples, scatter + (distance**2 - scatter) / samples
        self._stamp(at)

    def absorb(self, place: Place, row: Array, learned: tuple[float, float, float]) -> None:
        """Take over an exemplar of another table: its samples, mean and variance, weighed with those of one near it."""
        nearest, squared = self._nearest(place)
        mine, mean, scatter = self.learned[:, nearest].tolist()
        if squared >= _SAME**2 or not mine:
            self._put(place, row, learned)
            return
        samples, log_ratio, their_scatter = learned
        share, distance = samples / (samples + mine), log_ratio - mean
        scatter += share * (their_scatter + (1 - share) * distance**2 - scatter)
        self.learned[:, nearest] = min(_MEMORY, mine + samples), mean + share * distance, scatter
        self._stamp(nearest)

    def by_age(self) -> npt.NDArray[np.intp]:
        """Places in use, the one not taught for longest first."""
        used = np.flatnonzero(self.samples)
        return used[np.argsort(self.stamps[used], kind="stable")]

    def discount(self, samples: float) -> None:
        """Let none count more than so many answers, nor be surer than of text like none seen: the world has changed."""
        self.learned[_SAMPLES] = np.minimum(self.learned[_SAMPLES], samples)
        self.learned[_SCATTER] = np.maximum(self.learned[_SCATTER], _GENERAL**2)

    def _nearest(self, place: Place) -> tuple[int, float]:
        """Which exemplar is nearest, and its squared distance."""
        return kernels.nearest(place, self.places, self._halves, self.used)

    def _put(self, place: Place, row: Array, learned: tuple[float, float, float]) -> None:
        at = int(self.stamps.argmin())
        self.used = max(self.used, at + 1)
        self.places[:, at], self.rows[at] = place, row
        self.learned[:, at] = learned
        self._halves[at] = place @ place / 2
        self._stamp(at)

    def _stamp(self, at: int) -> None:
        self._clock += 1
        self.stamps[at] = self._clock


_FADING = -1.0 / (2 * _NEAR**2)
_UNKNOWN = _DOUBTERS * _GENERAL**2
