"""Adds outcomes up to what the demo says at the end; pure arithmetic, knows neither screen nor network.

The truth about a category's ratio is the mean, over the requests the service may learn from, of the prompt's own bytes
by the prompt tokens of its answer. It uses nothing the service measured, only the category it reported.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from extproc.demo.outcome import Outcome
from extproc.demo.scrape import Learned
from extproc.routing.estimators import teaches_ratio
from extproc.routing.request import read_request
from extproc.routing.values import Category, Misroute, Pool

SETTLED_SAMPLES = 200
"""Samples after which a learned ratio is held against the truth."""
TOLERANCE = 0.05
"""How near the truth a settled ratio must be."""
_MS = 1000.0


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
        if outcome.prompt_tokens is not None:
            self._judge(outcome, outcome.prompt_tokens)

    def landed_on(self, pool: str) -> int:
        """Requests that a pool answered."""
        return sum(count for (_, instance), count in self.landed.items() if instance == pool)

    def misrouted_by(self, way: Misroute) -> int:
        """Requests misrouted one way."""
        return sum(count for (found, _, _), count in self.misrouted.items() if found is way)

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
        return (percentile(self.routed_s, share) - percentile(self.baseline_s, share)) * _MS


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


def as_json(tally: Tally, learned: Mapping[str, Learned], times: PairedTimes) -> dict[str, Any]:
    """The summary for machines; numbers rounded to what they mean."""
    return {
        "requests": tally.requests,
        "failed": tally.failed + times.failed,
        "faults": dict(tally.faults),
        "judged": tally.judged,
        "landed_elsewhere": tally.landed_elsewhere,
        "threshold_tokens": tally.threshold_tokens,
        "routed": {pool.value: tally.landed_on(pool) for pool in Pool},
        "misrouted": {way.value: tally.misrouted_by(way) for way in (Misroute.UNDER, Misroute.OVER)},
        "misrouted_by_provenance": {way.value: _by_provenance(tally, way) for way in (Misroute.UNDER, Misroute.OVER)},
        "decisions": [
            {"pool": key.pool, "reason": key.reason, "provenance": key.provenance, "requests": count}
            for key, count in tally.decided.most_common()
        ],
        "ratios": {category: _ratio_json(line) for category, line in ratio_lines(tally, learned).items()},
        "added_latency_ms": {"p50": _rounded(times.added_ms(0.50)), "p99": _rounded(times.added_ms(0.99))},
        "latency_ms": _latency_json(times),
    }


def _by_provenance(tally: Tally, way: Misroute) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (found, _, provenance), count in tally.misrouted.items():
        if found is way:
            counts[provenance or "none"] += count
    return dict(counts)


def _ratio_json(line: RatioLine) -> dict[str, Any]:
    return {
        "learned": _rounded(line.learned),
        "true": _rounded(line.true),
        "samples": line.samples,
        "true_requests": line.true_requests,
        "within_5_percent": line.settled_within_tolerance,
    }


def _latency_json(times: PairedTimes) -> dict[str, Any]:
    """Both sides of the comparison, and what was measured."""
    if not times.routed_s:
        return {"pairs": 0}
    sides = {"routed": times.routed_s, "baseline": times.baseline_s}
    return {
        "pairs": len(times.routed_s),
        "failed": times.failed,
        "measured": "request sent to last byte of a JSON answer, same bodies in turn through both listeners",
        **{
            name: {"p50": _rounded(percentile(side, 0.50) * _MS), "p99": _rounded(percentile(side, 0.99) * _MS)}
            for name, side in sides.items()
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
