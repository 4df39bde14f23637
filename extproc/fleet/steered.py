"""A steerer at the wheel of a simulated router: looks at the fleet every few seconds, and keeps the course it took.

It is the service's own steerer; the simulation says when to look.
"""

from dataclasses import dataclass, field

from extproc.fleet.readings import Poller
from extproc.fleet.state import State
from extproc.routing.router import Router
from extproc.routing.steerer import Steerer, SteeringRules

_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Polling:
    """How a steerer sees the fleet."""

    rules: SteeringRules
    every_s: float = 2.0
    """Between two looks, the service's `pool_poll_s`."""
    silences: tuple[tuple[float, float], ...] = ()
    """From when until when no instance answers."""


@dataclass(frozen=True, slots=True)
class Course:
    """What was steered, over time; thinned to a few hundred points."""

    time_s: list[float] = field(default_factory=list)
    threshold_tokens: list[int] = field(default_factory=list)
    spilled_from_short: list[float] = field(default_factory=list)
    """Share of the short pool's requests that go long at present."""
    spilled_from_long: list[float] = field(default_factory=list)


class Steered:
    """One router and who steers it."""

    def __init__(self, polling: Polling, router: Router) -> None:
        """Nothing was looked at yet."""
        self.course = Course()
        """What was steered."""
        self.every_s = polling.every_s
        """Between two looks."""
        self._router, self._poller = router, Poller(polling.silences)
        self._steerer = Steerer(
            polling.rules,
            threshold_tokens=router.policy.threshold_tokens,
            short_max_model_len=router.short_max_model_len,
        )
        self._looks, self._each = 0, 1

    def look(self, state: State, now_s: float) -> None:
        """Read the fleet and steer."""
        short, long = self._poller.states(state, now_s)
        steering = self._steerer.step(now_s, short, long)
        self._router.steer(steering)
        if self._looks % self._each == 0:
            from_short = steering.spill_from is not None and steering.spill_from.value == "short"
            self.course.time_s.append(now_s)
            self.course.threshold_tokens.append(steering.threshold_tokens)
            self.course.spilled_from_short.append(steering.spill_share if from_short else 0.0)
            self.course.spilled_from_long.append(0.0 if from_short else steering.spill_share)
            self._thin()
        self._looks += 1

    def _thin(self) -> None:
        """Drop every other point where there are too many, and keep half as many from now on."""
        course = self.course
        if len(course.time_s) > 2 * _SAMPLES:
            del course.time_s[1::2], course.threshold_tokens[1::2]
            del course.spilled_from_short[1::2], course.spilled_from_long[1::2]
            self._each *= 2
