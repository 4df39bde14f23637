"""One trace span for each sampled exchange, joined to its caller's trace; never a word of what was asked or answered.

An exchange that is not sampled costs a comparison: the span is written when the exchange ends, from what it came to.
Whether a caller samples is the caller's word, so that spans are bounded: one that samples all does not cost all.
"""

import re
from random import Random

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from extproc.routing.exchange import Outcome
from extproc.routing.values import Decision

SPAN = "dualpool.exchange"
SPANS_PER_S = 100
"""At most, a worker; as many at once after a quiet second. Each costs the event loop about 60 µs, so all of them less
than a hundredth of its time, and they are what is sent to a collector in one piece every five seconds."""
_NS = 1e9
_FLAGS = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]([0-9a-f])")
"""A `traceparent` of W3C up to its flags; the lowest bit of the last digit says whether the caller samples."""
_SAMPLED = frozenset("13579bdf")
_NOBODY = Context()
"""Empty, and stays so where a header that looks like a caller's trace is none."""


class Spans:
    """Samples exchanges and writes their spans. Runs on one event loop; sending is the provider's, on its thread."""

    def __init__(self, provider: TracerProvider, *, share: float, random: Random) -> None:
        """Spans of nothing yet.

        Args:
            provider: who sends them.
            share: of the exchanges whose caller does not say, how many are sampled.
            random: by which it is decided.
        """
        self.dropped = 0
        """Sampled exchanges for which there was no span left."""
        self._tracer = provider.get_tracer("dualpool")
        self._share = share
        self._random = random
        self._propagator = TraceContextTextMapPropagator()
        self._left, self._last_ns = float(SPANS_PER_S), 0

    def record(self, outcome: Outcome, *, traceparent: str, arrived_ns: int, ended_ns: int) -> None:
        """Take in an exchange that ended; write its span if it is sampled.

        Args:
            outcome: what it came to.
            traceparent: the caller's header; empty where it sent none.
            arrived_ns: when its request's headers came, in nanoseconds since 1970.
            ended_ns: when we saw the last of it.
        """
        parent = _NOBODY
        if traceparent and (flags := _FLAGS.match(traceparent)) is not None:
            if flags[1] not in _SAMPLED:
                return
            parent = self._propagator.extract({"traceparent": traceparent}, _NOBODY)
        if (parent or self._random.random() < self._share) and self._may(ended_ns):
            attributes = attributes_of(outcome)
            span = self._tracer.start_span(SPAN, parent, SpanKind.SERVER, attributes, start_time=arrived_ns)
            span.end(ended_ns)

    def _may(self, now_ns: int) -> bool:
        """Whether a span is left; they come back with time, and none while a clock is set back."""
        since_s = max(0, now_ns - self._last_ns) / _NS
        self._left = min(SPANS_PER_S, self._left + SPANS_PER_S * since_s)
        self._last_ns = now_ns
        if self._left < 1.0:
            self.dropped += 1
            return False
        self._left -= 1.0
        return True


def attributes_of(outcome: Outcome) -> dict[str, AttributeValue]:
    """What a span says: lengths, outcomes and enums."""
    found: dict[str, AttributeValue | None] = {} if outcome.decision is None else _of_decision(outcome.decision)
    found["dualpool.undecided"] = outcome.undecided
    found["dualpool.answer"] = outcome.read
    found["dualpool.refusal"] = outcome.refusal
    found["dualpool.escalated"] = outcome.escalated or None
    found["http.response.status_code"] = outcome.status or None
    correction = outcome.correction
    if correction is not None:
        found["gen_ai.usage.input_tokens"] = correction.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = correction.usage.completion_tokens
        found["dualpool.misroute"] = correction.misroute
        found["dualpool.truncated"] = correction.truncated or None
    return {name: value for name, value in found.items() if value is not None}


def _of_decision(decision: Decision) -> dict[str, AttributeValue | None]:
    return {
        "dualpool.pool": decision.pool,
        "dualpool.reason": decision.reason,
        "dualpool.provenance": decision.provenance,
        "dualpool.stage": decision.stage,
        "dualpool.budget": None if decision.budget is None else decision.budget.total_tokens,
        "dualpool.threshold": decision.threshold_tokens or None,
        "dualpool.doubt": decision.doubt,
        "dualpool.observed": decision.observe,
    }
