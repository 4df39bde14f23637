"""The demo's summary for machines; adds nothing up and shows nothing."""

from collections import Counter
from typing import Any

from extproc.demo.scrape import Scraped
from extproc.demo.summary import MS, PairedTimes, RatioLine, Tally, percentile, ratio_lines
from extproc.routing.values import Misroute, Pool, Stage


def as_json(tally: Tally, service: Scraped, times: PairedTimes) -> dict[str, Any]:
    """The summary; numbers rounded to what they mean."""
    ways = (Misroute.UNDER, Misroute.OVER)
    return {
        "requests": tally.requests,
        "failed": tally.failed + times.failed,
        "faults": dict(tally.faults),
        "judged": tally.judged,
        "landed_elsewhere": tally.landed_elsewhere,
        "threshold_tokens": tally.threshold_tokens,
        "routed": {pool.value: tally.landed_on(pool) for pool in Pool},
        "stages": {stage.value: tally.stages[stage] for stage in Stage},
        "misrouted": {way.value: tally.misrouted_by(way) for way in ways},
        "misrouted_by_provenance": {way.value: _by_provenance(tally, way) for way in ways},
        "under_routing": {
            "promised": service.promise,
            "realised": _rounded(tally.under_realised, 5),
            "realised_by_metrics": _rounded(service.under_realised, 5),
        },
        "drift_alarms": service.alarms,
        "decisions": [
            {"pool": key.pool, "reason": key.reason, "provenance": key.provenance, "requests": count}
            for key, count in tally.decided.most_common()
        ],
        "ratios": {category: _ratio_json(line) for category, line in ratio_lines(tally, service.ratios).items()},
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
            name: {"p50": _rounded(percentile(side, 0.50) * MS), "p99": _rounded(percentile(side, 0.99) * MS)}
            for name, side in sides.items()
        },
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
