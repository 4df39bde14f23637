"""Who is traced, where the span hangs, and what it says."""

from random import Random

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.refusal import Refusal
from extproc.routing.response import ReadOutcome
from extproc.routing.values import (
    Budget,
    Category,
    Correction,
    Decision,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)
from extproc.telemetry.spans import SPANS_PER_S, Spans, attributes_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DECISION = Decision(
    Pool.SHORT,
    Reason.FITS,
    Provenance.CALIBRATED,
    RequestFacts(model="what the client wrote"),
    Budget(2000, 24, 1000),
    Stage.SAMPLE,
    doubt=0.0005,
    observe=True,
    threshold_tokens=8192,
)
CORRECTION = Correction(
    Pool.SHORT, Category.PROSE, Provenance.CALIBRATED, Stage.SAMPLE, 990, Usage(1010, 24), learned=True
)
EARLY = Outcome(None, None, None, Undecided.ENDED_EARLY)


class Traced:
    """Spans of one process, and those that were written."""

    def __init__(self, share: float) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._spans = Spans(provider, share=share, random=Random(7))

    @property
    def dropped(self) -> int:
        """Exchanges that were to be traced and are not."""
        return self._spans.dropped

    def record(self, traceparent: str, times: int = 1, *, apart_ns: int = 10**8) -> tuple[ReadableSpan, ...]:
        """So many exchanges of one caller, one after the other; all spans so far."""
        for number in range(times):
            self._spans.record(EARLY, traceparent=traceparent, arrived_ns=5_000, ended_ns=9_000 + number * apart_ns)
        return self._exporter.get_finished_spans()


def test_a_span_hangs_below_its_caller_s() -> None:
    """In the caller's trace, from the request's headers to the last of the answer we saw."""
    (span,) = Traced(share=0.0).record(f"00-{TRACE}-{PARENT}-01")
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert (span.start_time, span.end_time, span.kind) == (5_000, 9_000, SpanKind.SERVER)


def test_a_caller_that_does_not_sample_gets_no_span() -> None:
    """Whatever our own share is: a span of ours alone would hang in the air."""
    assert Traced(share=1.0).record(f"00-{TRACE}-{PARENT}-00", times=50) == ()


def test_where_the_caller_does_not_say_our_share_holds() -> None:
    """About a tenth, each in a trace of its own."""
    spans = Traced(share=0.1).record("", times=2000)
    assert 150 < len(spans) < 250
    assert all(span.parent is None for span in spans)
    assert len({span.context.trace_id for span in spans if span.context is not None}) == len(spans)


def test_a_caller_that_samples_all_does_not_cost_all() -> None:
    """A thousand exchanges in a second: a second's spans at once and one as often as they come back, the rest counted.

    After a quiet second there are as many again, and a clock that is set back gives none.
    """
    traced, sampled = Traced(share=0.0), f"00-{TRACE}-{PARENT}-01"
    spans = len(traced.record(sampled, times=1001, apart_ns=10**6))
    assert spans == pytest.approx(2 * SPANS_PER_S, abs=1)
    assert traced.dropped == 1001 - spans
    assert len(traced.record(sampled)) == spans
    assert len(traced.record(sampled, times=1000, apart_ns=0)) == spans
    assert len(traced.record(sampled, times=2, apart_ns=2 * 10**9)) == spans + 1


@pytest.mark.parametrize(
    "traceparent",
    ["garbage", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}"],
)
@pytest.mark.parametrize(("share", "spans"), [(0.0, 0), (1.0, 1)])
def test_a_header_that_is_none_says_nothing(traceparent: str, share: float, spans: int) -> None:
    """It neither joins nor samples; our share holds."""
    written = Traced(share).record(traceparent)
    assert len(written) == spans
    assert all(span.parent is None for span in written)


def test_a_span_tells_the_decision_and_what_became_of_it() -> None:
    """In numbers and enums; nothing of the request is in it, the model's name included."""
    under = msgspec.structs.replace(CORRECTION, misroute=Misroute.UNDER, truncated=True)
    assert attributes_of(Outcome(DECISION, under, ReadOutcome.USAGE, status=200, escalated=True)) == {
        "dualpool.pool": "short",
        "dualpool.reason": "fits",
        "dualpool.provenance": "calibrated",
        "dualpool.stage": "sample",
        "dualpool.budget": 1024,
        "dualpool.threshold": 8192,
        "dualpool.doubt": 0.0005,
        "dualpool.observed": True,
        "dualpool.answer": "usage",
        "dualpool.escalated": True,
        "dualpool.misroute": "under",
        "dualpool.truncated": True,
        "http.response.status_code": 200,
        "gen_ai.usage.input_tokens": 1010,
        "gen_ai.usage.output_tokens": 24,
    }


def test_what_there_is_not_is_not_told() -> None:
    """An early end has no decision, and a refusal no usage."""
    assert attributes_of(EARLY) == {"dualpool.undecided": "ended_early"}
    refused = attributes_of(Outcome(DECISION, None, None, status=400, refusal=Refusal.CONTEXT_LENGTH))
    assert refused["dualpool.refusal"] == "context_length"
    assert not [name for name in refused if name.startswith("gen_ai.")]
