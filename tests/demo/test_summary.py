import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.demo.mix import Ask, ask_of
from extproc.demo.outcome import Outcome, Verdict
from extproc.demo.scrape import Learned
from extproc.demo.summary import PairedTimes, Tally, percentile, ratio_lines
from extproc.routing.values import Misroute, Stage

CALIBRATED = Verdict("short", "fits", "calibrated", "prose", "sample")
COLD = Verdict("long", "exceeds", "cold", "prose", "text")
UNASKED = Verdict()
NO_INFERENCE = Verdict("long", "not_inference", "fallback")


def chat(text: str) -> Ask:
    """A chat of one message that reserves 100 tokens."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 100}
    return ask_of(json.dumps(body).encode())


def tally_of(*outcomes: Outcome) -> Tally:
    """All outcomes, against a threshold of 1,000."""
    tally = Tally(threshold_tokens=1000)
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def test_counts_by_pool_reason_and_way() -> None:
    """Each answer counts where it landed, and a route the truth contradicts counts as misrouted its way."""
    ask = chat("x" * 1000)
    tally = tally_of(
        Outcome(ask, 200, instance="short", verdict=CALIBRATED, prompt_tokens=250),
        Outcome(ask, 200, instance="short", verdict=CALIBRATED, prompt_tokens=950),
        Outcome(ask, 200, instance="long", verdict=COLD, prompt_tokens=250),
        Outcome(ask, fault="ReadTimeout"),
    )
    assert (tally.requests, tally.failed, tally.judged) == (4, 1, 3)
    assert tally.faults == {"ReadTimeout": 1}
    assert (tally.landed_on("short"), tally.landed_on("long")) == (2, 1)
    assert tally.misrouted == {(Misroute.UNDER, "file", "calibrated"): 1, (Misroute.OVER, "file", "cold"): 1}
    assert tally.under_realised == pytest.approx(1 / 3)


def test_requests_count_by_what_settled_them() -> None:
    """A decision without a stage measured nothing; a request the service was not asked about counts nowhere."""
    tally = tally_of(*(Outcome(chat("x"), 200, verdict=found) for found in (CALIBRATED, COLD, NO_INFERENCE, UNASKED)))
    assert tally.stages == {Stage.SAMPLE: 1, Stage.TEXT: 1, Stage.NONE: 1}


def test_nothing_judged_has_no_share() -> None:
    """Rather than a share of nought."""
    assert tally_of(Outcome(chat("x"), fault="ReadTimeout")).under_realised is None


def test_landing_elsewhere_is_counted() -> None:
    """An answer from the pool the service did not choose counts; one that it never decided does not."""
    tally = tally_of(
        Outcome(chat("x"), 200, instance="long", verdict=CALIBRATED),
        Outcome(chat("x"), 200, instance="short", verdict=CALIBRATED),
        Outcome(chat("x"), 200, instance="long"),
    )
    assert tally.landed_elsewhere == 1


def test_truth_is_the_mean_over_teaching_requests() -> None:
    """The mean of each request's own ratio; those too small to teach or without usage are left out."""
    long, short = chat("x" * 1000), chat("x" * 20)
    tally = tally_of(
        Outcome(long, 200, instance="short", verdict=CALIBRATED, prompt_tokens=200, has_usage=True),
        Outcome(long, 200, instance="short", verdict=CALIBRATED, prompt_tokens=250, has_usage=True),
        Outcome(short, 200, instance="short", verdict=CALIBRATED, prompt_tokens=20, has_usage=True),
        Outcome(long, 200, instance="short", verdict=CALIBRATED, prompt_tokens=500),
    )
    line = ratio_lines(tally, {"prose": Learned(4.5, 3)})["prose"]
    assert line.true == pytest.approx((5.0 + 4.0) / 2)
    assert line.true_requests == 2
    assert line.relative_error == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("learned", "samples", "near"), [(4.19, 200, True), (4.3, 200, False), (4.0, 199, None), (3.7, 500, False)]
)
def test_nearness_is_judged_after_enough_samples(learned: float, samples: int, *, near: bool | None) -> None:
    """Within five per cent or not, and no judgement before the samples are there."""
    tally = tally_of(Outcome(chat("x" * 1000), 200, verdict=CALIBRATED, prompt_tokens=250, has_usage=True))
    assert ratio_lines(tally, {"prose": Learned(learned, samples)})["prose"].settled_within_tolerance is near


def test_learned_without_truth_and_truth_without_learned() -> None:
    """A category known to one side only is shown, without an error."""
    tally = tally_of(Outcome(chat("x" * 1000), 200, verdict=CALIBRATED, prompt_tokens=250, has_usage=True))
    lines = ratio_lines(tally, {"code": Learned(3.0, 5)})
    assert [(lines[name].learned, lines[name].true) for name in ("code", "prose")] == [(3.0, None), (None, 4.0)]
    assert all(line.relative_error is None for line in lines.values())


def test_added_latency_is_the_difference_of_percentiles() -> None:
    """Milliseconds between the two sides at the same percentile; none without pairs."""
    times = PairedTimes(routed_s=[0.003, 0.002, 0.009], baseline_s=[0.001, 0.001, 0.004])
    assert times.added_ms(0.5) == pytest.approx(2.0)
    assert times.added_ms(0.99) == pytest.approx(5.0)
    assert PairedTimes().added_ms(0.5) is None


@settings(max_examples=50)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_percentile_covers_its_share(values: list[float], share: float) -> None:
    """At least the share of all values lies at or below it, and it is one of them."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
