"""Moves the threshold slowly towards where both pools are pressed alike; knows pressures and time, no request.

Lowering the threshold sends more requests long, which relieves the short pool; raising it relieves the long one. (The
paper names adapting B_short from queue and preemption signals as future work: arXiv 2604.08075.)
"""

import math
from dataclasses import dataclass

from extproc.routing.pressure import CALM, EASED, FULL

_LONGEST_STEP_S = 10.0
"""Time that counts as elapsed at most: who was not asked for long does not catch up at once."""
_S_PER_MIN = 60.0
_GRAIN = math.log(1.01)
"""The threshold is told in steps of one per cent, so that the router does not follow every tremor."""


@dataclass(frozen=True, slots=True)
class AdaptiveRules:
    """How far, how fast and from when on the threshold moves."""

    threshold_min_tokens: int = 1024
    """The least it falls to; the operator's own threshold if that is lower still."""
    away_per_min: float = 0.1
    """Away from the operator's threshold: of its logarithm, at most this a minute; 0.1 is 10 %, a halving in seven."""
    back_per_min: float = 0.2
    """Likewise back towards it, where pressure demands that: what was planned is left with more care."""
    home_per_min: float = 0.03
    """Likewise back towards it, while both pools are calm."""
    smoothing_s: float = 30.0
    """Time constant of the mean by which pressures are judged: about how long a request stays in its pool."""
    begin: float = 0.5
    """The difference of pressures from which the threshold moves."""
    end: float = 0.25
    """And below which it stops again."""


class AdaptiveThreshold:
    """Owns the threshold. Not thread-safe.

    Pressures p (of `pressure.pressure_of`, cut off at 1) are smoothed; d = p_short − p_long decides:

        d > begin                 the threshold falls until d < end
        d < −begin                it rises until d > −end
        both pressures calm       it returns to the operator's threshold
        else                      it stays

    It leaves the operator's threshold only for a pool that has room, and no further once that pool is not at ease.

    Both pools overloaded make d = 0, and so do both idle: no threshold helps the first or is needed by the second.
    Nothing is added up over time but the threshold itself, which ends at its bounds: nothing winds up. What a move
    brings about shows after the pools have worked off what they hold; at `away_per_min` that is a few per cent later,
    and a pressure that swings with the period T moves the threshold by back_per_min · T / 2 at most, up and down alike.
    """

    def __init__(self, rules: AdaptiveRules, *, threshold_tokens: int, short_max_model_len: int) -> None:
        """At the operator's threshold.

        Args:
            rules: how it moves.
            threshold_tokens: where the operator has put it.
            short_max_model_len: which it never exceeds.
        """
        self._rules = rules
        self._wanted_tokens, self._most_tokens = threshold_tokens, short_max_model_len
        self._log = math.log(self.home_tokens)
        self._short: float | None = None
        self._long: float | None = None
        self._moving = 0
        self._last_s: float | None = None

    @property
    def home_tokens(self) -> int:
        """The operator's threshold, or what the short pool holds if that is less."""
        return min(self._wanted_tokens, self._most_tokens)

    @property
    def tokens(self) -> int:
        """The threshold: a whole number of per cents away from the operator's, or at a bound."""
        least, most, home = self._least_tokens(), self._most_tokens, math.log(self.home_tokens)
        for bound in (least, most):
            if self._log == math.log(bound):
                return bound
        told = math.exp(home + round((self._log - home) / _GRAIN) * _GRAIN)
        return min(max(round(told), least), most)

    def fit(self, short_max_model_len: int) -> None:
        """The short pool turned out to hold so much."""
        at_home = self._log == math.log(self.home_tokens)
        self._most_tokens = short_max_model_len
        self._log = math.log(self.home_tokens) if at_home else self._bounded(self._log)

    def pin(self, threshold_tokens: int) -> None:
        """The operator has put the threshold elsewhere: it begins there anew. The same one again changes nothing."""
        if threshold_tokens != self._wanted_tokens:
            self._wanted_tokens = threshold_tokens
            self._log, self._moving = math.log(self.home_tokens), 0

    def step(self, now_s: float, short: float | None, long: float | None) -> int:
        """The threshold until the next step.

        Args:
            now_s: of any clock that does not run backwards.
            short: pressure of the short pool; None without a fresh reading.
            long: of the long pool, likewise.
        """
        elapsed_s = 0.0 if self._last_s is None else min(max(0.0, now_s - self._last_s), _LONGEST_STEP_S)
        self._last_s = now_s
        if short is None or long is None:
            self._short = self._long = None
            self._moving = 0
            return self.tokens
        weight = 1.0 - math.exp(-elapsed_s / self._rules.smoothing_s)
        self._short = _smoothed(self._short, min(short, FULL), weight)
        self._long = _smoothed(self._long, min(long, FULL), weight)
        self._move(self._short, self._long, elapsed_s / _S_PER_MIN)
        return self.tokens

    def _move(self, short: float, long: float, minutes: float) -> None:
        offset = self._log - math.log(self.home_tokens)
        self._moving = self._direction(short, long, offset)
        if self._moving:
            per_min = self._rules.back_per_min if self._moving * offset < 0 else self._rules.away_per_min
            self._log = self._bounded(self._log + self._moving * per_min * minutes)
        elif max(short, long) <= CALM:
            most = self._rules.home_per_min * minutes
            self._log -= min(max(offset, -most), most)

    def _direction(self, short: float, long: float, offset: float) -> int:
        """-1 to lower the threshold, 1 to raise it, 0 to leave it."""
        rules, excess = self._rules, short - long
        moving = self._moving
        if abs(excess) >= rules.begin:
            moving = -1 if excess > 0 else 1
        elif abs(excess) < rules.end or self._moving * excess > 0:
            return 0
        room = EASED if moving == self._moving else CALM
        return 0 if moving * offset >= 0 and min(short, long) > room else moving

    def _bounded(self, log_tokens: float) -> float:
        return min(max(log_tokens, math.log(self._least_tokens())), math.log(self._most_tokens))

    def _least_tokens(self) -> int:
        return min(self._rules.threshold_min_tokens, self.home_tokens)


def _smoothed(mean: float | None, value: float, weight: float) -> float:
    return value if mean is None else mean + weight * (value - mean)
