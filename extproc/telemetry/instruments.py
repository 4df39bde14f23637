"""The ledger as OpenTelemetry instruments, for Prometheus to scrape and, by setting, for a collector to be sent.

Nothing is recorded on the path of a request: every instrument is read at collection. What they are called and mean
stands in `names`.
"""

import contextlib
from collections.abc import Callable
from random import Random
from threading import Thread
from time import monotonic

from opentelemetry.metrics import Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from extproc.routing.router import Router
from extproc.telemetry import names
from extproc.telemetry.declare import declare, each, one
from extproc.telemetry.histograms import PrometheusReader
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.otlp import OtlpReader, this_process, tracer_provider
from extproc.telemetry.pressure import declare_pressure
from extproc.telemetry.spans import Spans
from extproc.telemetry.standing import declare_standing
from extproc.telemetry.status import Status
from extproc.telemetry.web import Site

_CLOSE_S = 2.0
"""How long the end of the process waits for a collector to take the last of it."""


class Telemetry:
    """Instruments over one ledger and one router, and the spans of one process."""

    def __init__(self, ledger: Ledger, router: Router, *, otlp_endpoint: str = "", trace_share: float = 0.0) -> None:
        """Instruments that nobody has read yet.

        Args:
            ledger: what happened.
            router: what is known.
            otlp_endpoint: of the collector that is sent metrics and spans; empty for none.
            trace_share: of the exchanges whose caller does not say, how many get a span.

        Raises:
            MissingPartError: sending needs an extra that is not installed.
        """
        self.registry = CollectorRegistry()
        """What a scrape collects."""
        self.spans: Spans | None = None
        """Who takes in exchanges to trace; None where there is no collector."""
        self._tracing: TracerProvider | None = None
        resource, pushing = this_process(), []
        if otlp_endpoint:
            pushing = [OtlpReader(otlp_endpoint, ledger)]
            self._tracing = tracer_provider(otlp_endpoint, resource, ledger)
            self.spans = Spans(self._tracing, share=trace_share, random=Random())  # noqa: S311 - sampling is no secret
        readers = [PrometheusReader(ledger, self.registry), *pushing]
        self._provider = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("dualpool")
        _declare_requests(meter, ledger)
        _declare_answers(meter, ledger)
        _declare_judgements(meter, ledger)
        _declare_operation(meter, ledger)
        declare_pressure(meter, ledger, router)
        declare_standing(meter, router)
        declare(meter, names.SPANS_DROPPED, one(lambda: self.spans.dropped if self.spans else 0))
        self._site: Site | None = None

    def serve(self, host: str, port: int, status: Callable[[], Status] | None = None) -> None:
        """Answer Prometheus scrapes, and who asks how the service stands, on threads of their own.

        Raises:
            OSError: the address cannot be bound.
        """
        self._site = Site(host, port, registry=self.registry, status=status)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Stop answering, send the last of it and release the instruments.

        Args:
            timeout_s: how long a collector may take for that; it is then left alone.
        """
        if self._site is not None:
            self._site.close()
        self._close_within(timeout_s)

    def _close_within(self, timeout_s: float) -> None:
        """All at once: whether a collector still answers, nobody knows."""
        closing = [self._provider.shutdown, *([] if self._tracing is None else [self._tracing.shutdown])]
        threads = [Thread(target=_quietly, args=(close,), daemon=True) for close in closing]
        for thread in threads:
            thread.start()
        ends_s = monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, ends_s - monotonic()))


def _quietly(close: Callable[[], None]) -> None:
    """There is nobody left to tell."""
    with contextlib.suppress(Exception):
        close()


def _declare_requests(meter: Meter, ledger: Ledger) -> None:
    def decisions() -> list[Observation]:
        return [
            Observation(count, {"pool": pool, "reason": reason, "provenance": provenance, "stage": stage})
            for (pool, reason, provenance, stage), count in list(ledger.decisions.items())
        ]

    declare(meter, names.DECISIONS, decisions)
    declare(meter, names.OBSERVED, one(lambda: ledger.observed))
    declare(meter, names.FOLLOWED, each("pool", ledger.followed))
    declare(meter, names.UNDECIDED, each("reason", ledger.undecided))
    declare(meter, names.INTERNAL_ERRORS, one(lambda: ledger.internal_errors))
    declare(meter, names.STREAMS, one(lambda: ledger.streams))
    declare(meter, names.SHADOW, one(lambda: int(ledger.shadow)))


def _declare_answers(meter: Meter, ledger: Ledger) -> None:
    declare(meter, names.ANSWERS_READ, each("outcome", ledger.answers_read))
    declare(meter, names.LEARNED, one(lambda: ledger.learned))
    declare(meter, names.COMPARED, each("category", ledger.compared))
    declare(meter, names.ABS_ERROR, each("category", ledger.abs_errors))


def _declare_judgements(meter: Meter, ledger: Ledger) -> None:
    declare(meter, names.JUDGED, one(lambda: ledger.judged))
    declare(meter, names.MISROUTES, each("direction", ledger.misroutes))
    declare(meter, names.JUDGED_WEIGHTED, one(lambda: ledger.judged_weight))
    declare(meter, names.MISROUTES_WEIGHTED, each("direction", ledger.misroute_weights))
    declare(meter, names.UNDER_REALISED, one(lambda: ledger.under_realised))
    declare(meter, names.TRUNCATIONS, one(lambda: ledger.truncations))
    declare(meter, names.TRUNCATIONS_WEIGHTED, one(lambda: ledger.truncation_weight))
    declare(meter, names.ESCALATIONS, each("status_class", ledger.escalations))
    declare(meter, names.ESCALATIONS_WEIGHTED, each("status_class", ledger.escalation_weights))
    declare(meter, names.REFUSALS, each("refusal", ledger.refusals))


def _declare_operation(meter: Meter, ledger: Ledger) -> None:
    declare(meter, names.STATE_SAVES, each("outcome", ledger.state_saves))
    declare(meter, names.SETTINGS_RELOADS, each("outcome", ledger.reloads))
    declare(meter, names.SETTINGS_REFUSED, one(lambda: int(ledger.settings_refused)))
    declare(meter, names.SETTINGS_AWAITING_RESTART, one(lambda: ledger.settings_awaiting_restart))
    declare(meter, names.ACCESS_LOG_LINES, each("outcome", ledger.access_log_lines))
    declare(meter, names.PEERS_LESSONS, each("outcome", ledger.peer_lessons))
    declare(meter, names.OTLP_FAILURES, each("signal", ledger.otlp_failures))
