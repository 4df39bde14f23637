"""One scenario under one way to steer, simulated once: what its users got, and the course that was taken."""

from dataclasses import dataclass
from typing import NamedTuple

from extproc.fleet.dispatch import Routed
from extproc.fleet.scenarios import Scenario
from extproc.fleet.simulation import RunRules, simulate
from extproc.fleet.steered import Course, Polling
from extproc.fleet.tally import PoolTally, together
from extproc.fleet.values import Outcome
from extproc.routing.steerer import SteeringRules
from extproc.settings import Settings

_REFUSED = (Outcome.REJECTED_LENGTH, Outcome.REJECTED_BUSY)
_LOST = (Outcome.FAILED, Outcome.UNFINISHED)
_WARM_UP_SHARE = 0.1


class Trialled(NamedTuple):
    """What a run came to."""

    requests: int
    """That were counted."""
    ttft_p99_s: float
    short_ttft_p99_s: float
    long_ttft_p99_s: float
    preemptions_per_mille: float
    """Preemptions by 1,000 requests."""
    refused_share: float
    """As too long for the pool they were sent to, or while its queue was full."""
    lost_share: float
    """Failed with their engine, or unfinished."""
    slo_share: float
    course: Course | None
    """None where nobody steers."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A task for another process."""

    scenario: Scenario
    seed: int
    threshold_tokens: int
    rules: SteeringRules | None = None
    """None to leave the router alone."""
    poll_s: float = 2.0
    silences: tuple[tuple[float, float], ...] = ()
    """From when until when no instance answers."""

    @property
    def effort(self) -> float:
        """By its requests."""
        return self.scenario.fleet.rate_per_s * self.scenario.duration_s

    def perform(self) -> Trialled:
        """With a router that has learned nothing yet."""
        fleet, drawn = self.scenario.fleet, self.scenario.draw(self.seed)
        settings = Settings(threshold_tokens=self.threshold_tokens, short_max_model_len=fleet.short_max_model_len)
        polling = None if self.rules is None else Polling(self.rules, self.poll_s, self.silences)
        routed = Routed(settings, self.seed, polling=polling)
        rules = RunRules(
            len(drawn), seed=self.seed, warm_up_share=_WARM_UP_SHARE, slo=fleet.slo, deaths=self.scenario.deaths
        )
        run = simulate(fleet.pools(), drawn, routed, rules=rules)
        return _trialled(run.pools, run.course)


def _trialled(pools: list[PoolTally], course: Course | None) -> Trialled:
    fleet = together(pools)
    return Trialled(
        fleet.arrivals,
        fleet.ttft.quantile_s(0.99),
        pools[0].ttft.quantile_s(0.99),
        pools[1].ttft.quantile_s(0.99),
        1000.0 * fleet.preemptions / max(1, fleet.arrivals),
        fleet.share(*_REFUSED),
        fleet.share(*_LOST),
        fleet.slo_share,
        course,
    )
