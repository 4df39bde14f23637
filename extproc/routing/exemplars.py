"""Prompts like those seen: a bounded table of exemplars, each with what the linear fit gets wrong on its kind.

Within one source of text (a log format, an author, a schema) the linear fit errs by 1 to 2 %, between sources by 5 to
30 %, always to the same side. So a prompt is corrected by the mean error of the nearest exemplar, by as much as that
one is near and well known, and the scatter there says how sure the correction is. Knows shares of bytes, no text.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from extproc.routing.features import COUNT, Array
from extproc.routing.linear import TERMS

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
        self.places = np.full((CAPACITY, COUNT), _FAR, np.float32)
        self.rows = np.zeros((CAPACITY, TERMS))
        """φ of each, by which its error follows the linear fit when that changes."""
        self.samples = np.zeros(CAPACITY)
        self.log_ratios = np.zeros(CAPACITY)
        """Mean of log(truth / prior's estimate): it does not change with the linear fit."""
        self.scatters = np.zeros(CAPACITY)
        """Variance of that."""
        self.stamps = np.zeros(CAPACITY, np.int64)
        """When each was last taught, by the count of answers."""
        self.used = 1
        """Places looked through: they are taken in order, and none is given back."""
        self._clock = 0
        self._halves = (self.places**2).sum(axis=1) / 2
        self._errors: list[float] = [0.0] * CAPACITY

    def correct(self, shares: Array) -> Correction:
        """By the nearest exemplar."""
        nearest, squared = self._nearest(np.sqrt(shares, dtype=np.float32))
        weight = math.exp(squared * _FADING) * min(_MEMORY / 2, self.samples.item(nearest))
        error, total = self._errors[nearest], weight + _DOUBTERS
        log_error = weight * error / total
        scatter = self.scatters.item(nearest) + (error - log_error) ** 2
        variance = (weight * scatter + _UNKNOWN) / total
        return Correction(log_error, variance, weight, nearest, squared)

    def learn(self, shares: Array, row: Array, log_ratio: float, correction: Correction) -> None:
        """Teach the nearest exemplar; where none is near, make one in place of that not taught for longest."""
        if correction.squared_distance < _SAME**2 and self.samples[correction.nearest]:
            at = correction.nearest
            self.samples[at] = min(_MEMORY, self.samples[at] + 1.0)
            distance = log_ratio - self.log_ratios[at]
            self.log_ratios[at] += distance / self.samples[at]
            self.scatters[at] += (distance**2 - self.scatters[at]) / self.samples[at]
            self._stamp(at)
        else:
            self._put(np.sqrt(shares, dtype=np.float32), row, (1.0, log_ratio, _GENERAL**2 / 4))

    def absorb(self, place: Place, row: Array, learned: tuple[float, float, float]) -> None:
        """Take over an exemplar of another table: its samples, mean and variance, weighed with those of one near it."""
        nearest, squared = self._nearest(place)
        if squared >= _SAME**2 or not self.samples[nearest]:
            self._put(place, row, learned)
            return
        samples, log_ratio, scatter = learned
        share = samples / (samples + self.samples[nearest])
        distance = log_ratio - self.log_ratios[nearest]
        self.scatters[nearest] += share * (scatter + (1 - share) * distance**2 - self.scatters[nearest])
        self.log_ratios[nearest] += share * distance
        self.samples[nearest] = min(_MEMORY, self.samples[nearest] + samples)
        self._stamp(nearest)

    def by_age(self) -> npt.NDArray[np.intp]:
        """Places in use, the one not taught for longest first."""
        used = np.flatnonzero(self.samples)
        return used[np.argsort(self.stamps[used], kind="stable")]

    def relate(self, linear_log_ratios: Array) -> None:
        """Errors anew, against what the linear fit now makes of each exemplar, of the first `used` at least."""
        first = len(linear_log_ratios)
        errors = np.where(self.samples[:first] > 0, self.log_ratios[:first] - linear_log_ratios, 0.0)
        self._errors[:first] = errors.tolist()

    def discount(self, samples: float) -> None:
        """Let none count more than so many answers, nor be surer than of text like none seen: the world has changed."""
        np.minimum(self.samples, samples, out=self.samples)
        np.maximum(self.scatters, _GENERAL**2, out=self.scatters)

    def _nearest(self, place: Place) -> tuple[int, float]:
        """Which exemplar is nearest, and its squared distance: |c|²/2 − c·p is least where |c − p|² is."""
        halves = self._halves[: self.used] - self.places[: self.used].dot(place)
        nearest = int(halves.argmin())
        return nearest, max(0.0, 2.0 * halves.item(nearest) + place.dot(place).item())

    def _put(self, place: Place, row: Array, learned: tuple[float, float, float]) -> None:
        at = int(self.stamps.argmin())
        self.used = max(self.used, at + 1)
        self.places[at], self.rows[at] = place, row
        self.samples[at], self.log_ratios[at], self.scatters[at] = learned
        self._halves[at] = place @ place / 2
        self._stamp(at)

    def _stamp(self, at: int) -> None:
        self._clock += 1
        self.stamps[at] = self._clock


_FADING = -1.0 / (2 * _NEAR**2)
_UNKNOWN = _DOUBTERS * _GENERAL**2
