"""Reads the service's metrics once what has ended is counted, which is a little later."""

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from extproc.server.notes import SOON_S


def settled(url: str) -> list[Sample]:
    """All metrics, once none of our counters moves any more, or after five seconds."""
    give_up_s, now = time.monotonic() + 5.0, _samples(url)
    while time.monotonic() < give_up_s:
        time.sleep(1.5 * SOON_S)
        before, now = now, _samples(url)
        if _counters(before) == _counters(now):
            break
    return now


def _samples(url: str) -> list[Sample]:
    with urllib.request.urlopen(url) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return [sample for family in families for sample in family.samples]


def _counters(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.name.startswith("dualpool_") and sample.name.endswith("_total")]


def metric_of(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())
