"""Adds outcomes up to what the demo says at the end; pure arithmetic, knows neither screen nor network.

The truth about a category's ratio is the mean, over the requests the service may learn from, of the prompt's own bytes
by the prompt tokens of its answer. It uses nothing the service measured, only the category it reported.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extproc.demo.outcome import Outcome
from extproc.demo.scrape import Learned
from extproc.routing.estimators import teaches_ratio
from extproc.routing.request import read_request
from extproc.routing.values import Category, Misroute, Stage

SETTLED_SAMPLES = 200
"""Samples after which a learned ratio is held against the truth."""
TOLERANCE = 0.05
"""How near the truth a settled ratio must be."""
MS = 1000.0


@dataclass(frozen=True, slots=True)
class Decided:
    """One way requests were decided; the fields are the service's own words."""

    pool: str
    reason: str
    provenance: str


@dataclass(slots=True)
class Ratios:
    """A running mean of true bytes per token."""

    requests: int = 0
    bytes_per_token_sum: float = 0.0

    @property
    def mean(self) -> float | None:
        """None before the first request."""
        return self.bytes_per_token_sum / self.requests if self.requests else None


@dataclass(slots=True)
class Tally:
    """Everything counted so far."""

    threshold_tokens: int
    requests: int = 0
    judged: int = 0
    """Requests whose true length came back, so that their route can be judged."""
    landed_elsewhere: int = 0
    """Requests that another pool answered than the one the service chose."""
    faults: Counter[str] = field(default_factory=Counter)
    landed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and pool."""
    decided: Counter[Decided] = field(default_factory=Counter)
    stages: Counter[Stage] = field(default_factory=Counter)
    """By what settled them, of those that the service decided."""
    misrouted: Counter[tuple[Misroute, str, str]] = field(default_factory=Counter)
    """By way, kind and provenance."""
    true_ratios: dict[str, Ratios] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Requests without a proper answer."""
        return self.faults.total()

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        verdict, kind = outcome.verdict, outcome.ask.kind
        self.requests += 1
        if outcome.fault:
            self.faults[outcome.fault] += 1
        if outcome.instance:
            self.landed[kind, outcome.instance] += 1
            self.landed_elsewhere += verdict.pool not in {"", outcome.instance}
            self.decided[Decided(outcome.instance, verdict.reason, verdict.provenance)] += 1
        if verdict.pool:
            self.stages[Stage(verdict.stage or Stage.NONE)] += 1
        if outcome.prompt_tokens is not None:
            self._judge(outcome, outcome.prompt_tokens)

    def landed_on(self, pool: str) -> int:
        """Requests that a pool answered."""
        return sum(count for (_, instance), count in self.landed.items() if instance == pool)

    def misrouted_by(self, way: Misroute) -> int:
        """Requests misrouted one way."""
        return sum(count for (found, _, _), count in self.misrouted.items() if found is way)

    @property
    def under_realised(self) -> float | None:
        """Share of requests that went short and did not fit, by the truth; None before one was judged."""
        return self.misrouted_by(Misroute.UNDER) / self.judged if self.judged else None

    def _judge(self, outcome: Outcome, prompt_tokens: int) -> None:
        self.judged += 1
        way = outcome.misroute(self.threshold_tokens)
        if way is not None:
            self.misrouted[way, outcome.ask.kind, outcome.verdict.provenance] += 1
        category = outcome.verdict.category
        if category and outcome.has_usage and prompt_tokens and _teaches(outcome):
            ratios = self.true_ratios.setdefault(category, Ratios())
            ratios.requests += 1
            ratios.bytes_per_token_sum += outcome.ask.text_bytes / prompt_tokens


def _teaches(outcome: Outcome) -> bool:
    facts = read_request(outcome.ask.path, outcome.ask.body).facts
    return teaches_ratio(facts, Category(outcome.verdict.category))


@dataclass(frozen=True, slots=True)
class RatioLine:
    """One category: what was learned beside what is true, in bytes per token."""

    learned: float | None
    samples: int
    true: float | None
    true_requests: int

    @property
    def relative_error(self) -> float | None:
        """(learned − true) / true."""
        return None if self.learned is None or self.true is None else self.learned / self.true - 1.0

    @property
    def settled_within_tolerance(self) -> bool | None:
        """Whether it is near the truth; None while it has fewer samples than that question needs."""
        error = self.relative_error
        return None if error is None or self.samples < SETTLED_SAMPLES else abs(error) <= TOLERANCE


@dataclass(frozen=True, slots=True)
class PairedTimes:
    """The same bodies sent through both listeners, in seconds from sending to the last byte."""

    routed_s: Sequence[float] = ()
    baseline_s: Sequence[float] = ()
    failed: int = 0
    """Requests of either side without a proper answer; their pairs are left out of the times."""

    def added_ms(self, share: float) -> float | None:
        """Difference of one percentile of the two, in milliseconds; None without pairs."""
        if not self.routed_s or not self.baseline_s:
            return None
        return (percentile(self.routed_s, share) - percentile(self.baseline_s, share)) * MS


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio_lines(tally: Tally, learned: Mapping[str, Learned]) -> dict[str, RatioLine]:
    """Each category that was learned or met, by name."""
    lines = {}
    for category in sorted(learned.keys() | tally.true_ratios.keys()):
        known, truth = learned.get(category), tally.true_ratios.get(category, Ratios())
        lines[category] = RatioLine(
            learned=known.bytes_per_token if known else None,
            samples=known.samples if known else 0,
            true=truth.mean,
            true_requests=truth.requests,
        )
    return lines
