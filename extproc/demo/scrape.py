"""Reads what the service says of itself from its Prometheus text; knows a few metrics' names and not their use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_RATIO = "dualpool_bytes_per_token"
_SAMPLES = "dualpool_bytes_per_token_samples"
_PROMISE = "dualpool_promise"
_UNDER = "dualpool_under_realised"
_ALARMS = "dualpool_drift_alarms_total"


@dataclass(frozen=True, slots=True)
class Learned:
    """What the service has learned of one category."""

    bytes_per_token: float
    samples: int


@dataclass(frozen=True, slots=True)
class Scraped:
    """What the service says of itself."""

    ratios: Mapping[str, Learned] = field(default_factory=dict)
    """By category, of the model with the most samples where there are several."""
    promise: float | None = None
    """Acceptable share of requests sent short that do not fit; None where the estimator promises none."""
    under_realised: float | None = None
    """What became of it by its own metrics; None before anything was judged."""
    alarms: int = 0
    """Times that errors left what was stated for them, over all models."""


def scraped(exposition: str) -> Scraped:
    """What a Prometheus text tells; nothing of what it does not expose."""
    samples = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    alone = {sample.name: sample.value for sample in samples if not sample.labels}
    return Scraped(
        ratios=_ratios(samples),
        promise=alone.get(_PROMISE),
        under_realised=alone.get(_UNDER),
        alarms=sum(int(sample.value) for sample in samples if sample.name == _ALARMS),
    )


def _ratios(samples: Iterable[Sample]) -> dict[str, Learned]:
    ratios: dict[tuple[str, str], float] = {}
    counts: dict[tuple[str, str], int] = {}
    for sample in samples:
        key = sample.labels.get("category", ""), sample.labels.get("model", "")
        if sample.name == _RATIO:
            ratios[key] = sample.value
        elif sample.name == _SAMPLES:
            counts[key] = int(sample.value)
    busiest = sorted(ratios, key=lambda key: counts.get(key, 0))
    return {key[0]: Learned(ratios[key], counts.get(key, 0)) for key in busiest}
