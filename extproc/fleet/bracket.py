"""Finds the least number that keeps an objective, in few tries; knows nothing of what is tried.

A try says by how much the failures exceed what is allowed, as the logarithm of their ratio. From a start it strides,
each time twice as far, until one number fails and one keeps; between those it interpolates, by the method ITP (Oliveira
and Takahashi, ACM Transactions on Mathematical Software 47, 2020), which takes hardly a try more than bisection where
tries come to nothing regular, and far fewer where they do.
"""

import math
from dataclasses import dataclass

_TOLERANCE = math.log(4) / 128
"""Of the logarithm of what is found: 1.1 %."""
_TRUNCATION = 0.2
"""κ₁ of ITP, of the first bracket's width, with κ₂ = 2."""
_STRIDE_MOST = math.log(8)
_SLACK = 1
"""n₀ of ITP: tries more than those of bisection, at most."""


@dataclass(slots=True)
class Bracket:
    """A search. Try what it proposes and tell it what came of that, until it proposes nothing more."""

    start: float
    """What is tried first."""
    stride: float
    """From there, in logarithms, while all tries come to the same."""
    whole: bool
    """Whether only whole numbers can be tried."""
    fails: float = 0.0
    """The largest that does."""
    keeps: float = math.inf
    """The least that does."""
    _excess: float = math.nan
    """At `fails`."""
    _spare: float = math.nan
    """At `keeps`: below 0."""
    _left: int = 0
    _width: float = 0.0

    def proposal(self) -> float | None:
        """What to try next; None where the answer is `keeps`."""
        if self.fails == 0.0 and self.keeps == math.inf:
            return self.start
        if self._is_found():
            return None
        if self.fails == 0.0:
            return self._rounded(self.keeps * math.exp(-self.stride))
        if self.keeps == math.inf:
            return self._rounded(self.fails * math.exp(self.stride))
        return self._rounded(math.exp(self._between(math.log(self.fails), math.log(self.keeps))))

    def put(self, tried: float, excess: float) -> None:
        """Logarithm of failures over those allowed; it keeps the objective where that is not positive."""
        if self.fails > 0.0 or self.keeps < math.inf:
            self.stride = min(2 * self.stride, _STRIDE_MOST)
        if excess > 0.0:
            self.fails, self._excess = tried, excess
        else:
            self.keeps, self._spare = tried, excess

    def _is_found(self) -> bool:
        if self.whole:
            return self.keeps - self.fails <= 1.0
        return self.fails > 0.0 and self.keeps <= self.fails * math.exp(_TOLERANCE * (1 + 1e-6))

    def _rounded(self, number: float) -> float:
        """A whole number strictly inside, where there must be one."""
        return max(self.fails + 1, min(round(number), self.keeps - 1)) if self.whole else number

    def _between(self, low: float, high: float) -> float:
        """Interpolate; go a little towards the middle; stay so near to it that the tries do with bisection."""
        width, middle = high - low, (low + high) / 2
        if not self._width:
            self._width, self._left = width, max(0, math.ceil(math.log2(width / _TOLERANCE))) + _SLACK
        at = (self._excess * high - self._spare * low) / (self._excess - self._spare)
        shift = _TRUNCATION * width * (width / self._width)
        at = middle if abs(middle - at) <= shift else at + math.copysign(shift, middle - at)
        reach = max(0.0, _TOLERANCE / 2 * 2.0**self._left - width / 2)
        self._left -= 1
        return min(max(at, middle - reach), middle + reach)
