import json

from extproc.demo.asjson import as_json
from extproc.demo.mix import ask_of
from extproc.demo.outcome import Outcome, Verdict
from extproc.demo.scrape import Learned, Scraped
from extproc.demo.summary import PairedTimes, Tally

ASK = ask_of(b'{"messages":[{"role":"user","content":"%s"}],"max_tokens":100}' % (b"x" * 1000))
CALIBRATED = Verdict("short", "fits", "calibrated", "prose", "sample")
COLD = Verdict("long", "exceeds", "cold", "prose", "text")


def tally() -> Tally:
    """Against a threshold of 1,000: one right, one misrouted each way, one that failed."""
    found = Tally(threshold_tokens=1000)
    for instance, verdict, prompt_tokens in (("short", CALIBRATED, 250), ("short", CALIBRATED, 950), ("long", COLD, 9)):
        found.add(Outcome(ASK, 200, instance=instance, verdict=verdict, prompt_tokens=prompt_tokens, has_usage=True))
    found.add(Outcome(ASK, fault="ReadTimeout"))
    return found


def test_every_count_stands_in_it() -> None:
    """Where requests went and why, what settled them, and which were misrouted."""
    summary = as_json(tally(), Scraped(), PairedTimes())
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["requests"], summary["failed"], summary["judged"]) == (4, 1, 3)
    assert summary["faults"] == {"ReadTimeout": 1}
    assert summary["routed"] == {"short": 2, "long": 1}
    assert summary["misrouted"] == {"under": 1, "over": 1}
    assert summary["misrouted_by_provenance"] == {"under": {"calibrated": 1}, "over": {"cold": 1}}
    assert {"pool": "long", "reason": "exceeds", "provenance": "cold", "requests": 1} in summary["decisions"]
    assert {stage: count for stage, count in summary["stages"].items() if count} == {"sample": 2, "text": 1}


def test_promise_stands_beside_what_became_of_it() -> None:
    """By the truth and by the service's own metrics; what nobody told is null."""
    service = Scraped({"prose": Learned(4.0, 200)}, promise=0.001, under_realised=0.0004, alarms=2)
    summary = as_json(tally(), service, PairedTimes())
    assert summary["under_routing"] == {"promised": 0.001, "realised": 0.33333, "realised_by_metrics": 0.0004}
    assert summary["drift_alarms"] == 2
    assert summary["ratios"]["prose"]["samples"] == 200
    nothing = as_json(Tally(1000), Scraped(), PairedTimes())
    assert nothing["under_routing"] == {"promised": None, "realised": None, "realised_by_metrics": None}


def test_latency_stands_with_how_it_was_measured() -> None:
    """Both sides and their difference in milliseconds; nothing without pairs."""
    times = PairedTimes(routed_s=[0.003, 0.002, 0.009], baseline_s=[0.001, 0.001, 0.004])
    summary = as_json(tally(), Scraped(), times)
    assert summary["added_latency_ms"] == {"p50": 2.0, "p99": 5.0}
    assert summary["latency_ms"]["pairs"] == 3
    without = as_json(tally(), Scraped(), PairedTimes())
    assert (without["added_latency_ms"], without["latency_ms"]) == ({"p50": None, "p99": None}, {"pairs": 0})


def test_failed_pairs_count_as_failed() -> None:
    """A request that fails in the comparison fails the demo."""
    assert as_json(Tally(1000), Scraped(), PairedTimes(failed=2))["failed"] == 2
