"""Reads the service's learned ratios from its Prometheus text; knows two metrics' names and nothing of their use."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_RATIO = "dualpool_bytes_per_token"
_SAMPLES = "dualpool_bytes_per_token_samples"


@dataclass(frozen=True, slots=True)
class Learned:
    """What the service has learned of one category."""

    bytes_per_token: float
    samples: int


def learned_ratios(exposition: str) -> dict[str, Learned]:
    """Each category's ratio, of the model with the most samples where there are several; none where none is exposed."""
    ratios: dict[tuple[str, str], float] = {}
    samples: dict[tuple[str, str], int] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            key = sample.labels.get("category", ""), sample.labels.get("model", "")
            if sample.name == _RATIO:
                ratios[key] = sample.value
            elif sample.name == _SAMPLES:
                samples[key] = int(sample.value)
    busiest = sorted(ratios, key=lambda key: samples.get(key, 0))
    return {key[0]: Learned(ratios[key], samples.get(key, 0)) for key in busiest}
