"""The ledger's histograms as OpenTelemetry's, added to what a reader collects.

OpenTelemetry has no observable histogram, and recording each value in its own costs ten times what `Buckets` does. Its
specification has metric producers for values that were aggregated elsewhere; the Python SDK has none yet, so that the
points are added where a reader receives what was collected, which its documentation says is there to be overridden.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from time import time_ns
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
)
from prometheus_client import CollectorRegistry

from extproc.telemetry import names
from extproc.telemetry.buckets import Buckets
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.names import Instrument

_Labelled = Iterable[tuple[Mapping[str, str], Buckets]]


class Histograms:
    """The histograms of one ledger, since the process began."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._began_ns = time_ns()

    def added_to(self, collected: MetricsData) -> MetricsData:
        """What was collected, and the histograms."""
        (resource, *_) = collected.resource_metrics
        (scope, *_) = resource.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *self._metrics(time_ns())])
        return MetricsData([replace(resource, scope_metrics=[scope])])

    def _metrics(self, now_ns: int) -> Iterator[Metric]:
        for instrument, labelled in _histograms(self._ledger):
            points = [self._point(labels, buckets, now_ns) for labels, buckets in labelled]
            if points:
                data = Histogram(points, AggregationTemporality.CUMULATIVE)
                yield Metric(instrument.name, instrument.meaning, instrument.unit, data)

    def _point(self, labels: Mapping[str, str], buckets: Buckets, now_ns: int) -> HistogramDataPoint:
        """The counts are copied at once; the sum may already hold a value more, which the next collection tells."""
        counts = buckets.counts.copy()
        return HistogramDataPoint(
            attributes=labels,
            start_time_unix_nano=self._began_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=buckets.total,
            bucket_counts=counts,
            explicit_bounds=buckets.bounds,
            min=None,  # type: ignore[arg-type]  # left out of what is sent: nobody keeps them
            max=None,  # type: ignore[arg-type]
        )


def _histograms(ledger: Ledger) -> Iterator[tuple[Instrument, _Labelled]]:
    yield names.BUDGET, [({"pool": pool}, budgets) for pool, budgets in ledger.budgets.items()]
    yield names.PHASE_DURATION, [({"phase": phase}, durations) for phase, durations in ledger.phases.items()]
    yield names.ESTIMATE_ERROR, [({"category": category}, errors) for category, errors in list(ledger.errors.items())]
    yield names.TOKEN_USAGE, list(_token_usage(ledger))


def _token_usage(ledger: Ledger) -> _Labelled:
    for (model, operation), (prompts, outputs) in list(ledger.token_usage.items()):
        labels = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": model,
        }
        yield {"gen_ai.token.type": "input"} | labels, prompts
        yield {"gen_ai.token.type": "output"} | labels, outputs


class PrometheusReader(PrometheusMetricReader):
    """Prometheus's reader, with the histograms."""

    def __init__(self, ledger: Ledger, registry: CollectorRegistry) -> None:
        super().__init__(disable_target_info=True, scope_info_enabled=False, registry=registry)
        self._histograms = Histograms(ledger)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        super()._receive_metrics(self._histograms.added_to(metrics_data), timeout_millis, **kwargs)
