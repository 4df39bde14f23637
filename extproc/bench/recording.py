"""What telemetry costs a request in this process: all that the servicer calls for it, and nothing else.

The processor's caches are warm here, as in `effort`; what the threads take that write and send is not in these figures,
but in those of `dualpool bench --telemetry`.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
from opentelemetry.sdk.trace import TracerProvider

from extproc.assembly import build_router
from extproc.routing.exchange import Outcome
from extproc.routing.request import read_request
from extproc.routing.response import ReadOutcome
from extproc.routing.values import Decision, Usage
from extproc.settings import Settings
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.spans import Spans

SHARE_TRACED = 0.01
_WORDS = "words that mean little but weigh like prose, " * 800
_LOG_BYTES = 10**9
_NOW_NS = 1_800_000_000_000_000_000
_PHASES = ("request_headers", "request_body", "response_headers", "response_body")


@contextmanager
def recordings(clock_s: Callable[[], float]) -> Iterator[dict[str, Callable[[], object]]]:
    """What is done for an exchange whose answer is not read, for one whose answer is, and more for one that is traced.

    Args:
        clock_s: read twice for each message.
    """
    ledger, (unread, read) = Ledger(), _outcomes()
    provider = TracerProvider(shutdown_on_exit=False)
    few, every = (Spans(provider, share=share, random=Random(1)) for share in (SHARE_TRACED / 1e6, 1.0))  # noqa: S311
    with AccessLog(Path(os.devnull), _LOG_BYTES, ledger) as access_log:

        def record(outcome: Outcome, decision: Decision, messages: int) -> None:
            for phase in _PHASES[:messages]:
                started_s = clock_s()
                ledger.record_phase(phase, clock_s() - started_s)
            ledger.record_decision(decision)
            ledger.record(outcome)
            access_log.record(outcome, arrived_ns=_NOW_NS)
            few.record(outcome, traceparent="", arrived_ns=_NOW_NS, ended_ns=_NOW_NS)

        assert unread.decision is not None
        assert read.decision is not None
        skipped, observed = unread.decision, read.decision
        yield {
            "telemetry, answer not read": lambda: record(unread, skipped, 2),
            "telemetry, answer read": lambda: record(read, observed, 4),
            "a span": lambda: every.record(read, traceparent="", arrived_ns=_NOW_NS, ended_ns=_NOW_NS),
        }


def _outcomes() -> tuple[Outcome, Outcome]:
    """One and the same chat, whose answer is not read, and read."""
    router = build_router(Settings())
    body = {"model": "bench", "max_tokens": 64, "messages": [{"role": "user", "content": _WORDS}]}
    decision = router.route(read_request("/v1/chat/completions", json.dumps(body).encode()), draw=0.0)
    correction = router.complete(decision, Usage(9000, 64))
    unread = msgspec.structs.replace(decision, observe=False)
    return Outcome(unread, None, None), Outcome(decision, correction, ReadOutcome.USAGE, status=200)
