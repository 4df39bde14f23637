"""Sends metrics and spans to a collector by OTLP over HTTP, on threads of its own: a dead collector delays nobody.

What it is sent with is an extra. Credentials and certificates come from OpenTelemetry's own environment variables
(OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE), names for this process from OTEL_RESOURCE_ATTRIBUTES.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from extproc.errors import MissingPartError
from extproc.telemetry.histograms import Histograms
from extproc.telemetry.labels import Signal
from extproc.telemetry.ledger import Ledger

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

INTERVAL_S = 15.0
"""How often metrics are sent; Prometheus is mostly set to scrape as often."""
_TIMEOUT_S = 5.0
"""For one sending, with all its attempts."""
_SPANS_EVERY_S = 5.0
_SPANS_WAITING_MAX = 2048
"""Some 4 MB; later ones are lost while a collector does not take them."""
_SPANS_SENT_MAX = 512


class OtlpReader(PeriodicExportingMetricReader):
    """OpenTelemetry's periodic reader, with the histograms."""

    def __init__(self, endpoint: str, ledger: Ledger, interval_s: float = INTERVAL_S) -> None:
        """Begin to send.

        Args:
            endpoint: of the collector, without a path: http://collector:4318.
            ledger: whose histograms are added.
            interval_s: how often.

        Raises:
            MissingPartError: the extra is not installed.
        """
        # Before the base class, which starts a thread that collects.
        self._histograms = Histograms(ledger)
        exporter, _ = _exporters(endpoint, ledger)
        super().__init__(exporter, 1e3 * interval_s, 1e3 * _TIMEOUT_S)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        super()._receive_metrics(self._histograms.added_to(metrics_data), timeout_millis, **kwargs)


def tracer_provider(endpoint: str, resource: Resource, ledger: Ledger) -> TracerProvider:
    """What sends every span it is given: sampling is `Spans`'s.

    Args:
        endpoint: of the collector, without a path.
        resource: who this is.
        ledger: counts what the collector does not take.

    Raises:
        MissingPartError: the extra is not installed.
    """
    _, exporter = _exporters(endpoint, ledger)
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_SPANS_WAITING_MAX,
            schedule_delay_millis=1e3 * _SPANS_EVERY_S,
            max_export_batch_size=_SPANS_SENT_MAX,
        )
    )
    return provider


def this_process() -> Resource:
    """Who sends: each worker is an instance of its own, for two that send as one would overwrite each other."""
    own = Resource(
        {
            "service.name": "dualpool",
            "service.version": version("dualpool"),
            "service.instance.id": str(uuid4()),
        }
    )
    return Resource.create().merge(own).merge(OTELResourceDetector().detect())


def _exporters(endpoint: str, ledger: Ledger) -> "tuple[OTLPMetricExporter, OTLPSpanExporter]":
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError as error:
        raise MissingPartError("otlp_endpoint needs an extra: pip install 'dualpool[otlp]'") from error

    class Metrics(OTLPMetricExporter):
        def export(self, *args: Any, **kwargs: Any) -> MetricExportResult:
            result = super().export(*args, **kwargs)
            ledger.otlp_failures[Signal.METRICS] += result is not MetricExportResult.SUCCESS
            return result

    class Spans(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            ledger.otlp_failures[Signal.SPANS] += result is not SpanExportResult.SUCCESS
            return result

    base = endpoint.rstrip("/")
    return (
        Metrics(f"{base}/v1/metrics", timeout=_TIMEOUT_S),
        Spans(f"{base}/v1/traces", timeout=_TIMEOUT_S),
    )
