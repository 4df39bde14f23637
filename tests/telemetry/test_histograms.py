"""Histograms of ours join what OpenTelemetry collected, and change nothing of it."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
)

from extproc.telemetry import names
from extproc.telemetry.histograms import Histograms
from extproc.telemetry.ledger import Ledger
from tests.telemetry.recorded import happened


def collected() -> MetricsData:
    """A counter of somebody's, as a reader gets it."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider.get_meter("dualpool").create_counter("something").add(3)
    found = reader.get_metrics_data()
    provider.shutdown()
    assert found is not None
    return found


def metrics(data: MetricsData) -> dict[str, Metric]:
    """All of them, by name."""
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def test_what_was_collected_stays_and_ours_come_beside_it() -> None:
    """In the same scope and of the same process."""
    before = collected()
    after = Histograms(happened()[0]).added_to(before)
    assert metrics(after)["something"] is metrics(before)["something"]
    assert after.resource_metrics[0].resource is before.resource_metrics[0].resource
    assert after.resource_metrics[0].scope_metrics[0].scope is before.resource_metrics[0].scope_metrics[0].scope
    assert set(metrics(before)) == {"something"}, "another reader was given the same"


def test_a_histogram_without_labels_to_show_is_left_out() -> None:
    """No estimate was compared yet, no answer read; pools and phases are known beforehand."""
    found = metrics(Histograms(Ledger()).added_to(collected()))
    assert set(found) == {"something", names.BUDGET.name, names.PHASE_DURATION.name}


def test_a_point_is_a_copy_since_the_beginning() -> None:
    """Cumulative; what happens while it is sent does not change it."""
    ledger = Ledger()
    histograms = Histograms(ledger)
    ledger.record_phase("request_body", 0.0002)
    first = _body(histograms.added_to(collected()))
    ledger.record_phase("request_body", 0.0002)
    second = _body(histograms.added_to(collected()))
    assert [(point.count, sum(point.bucket_counts)) for point in (first, second)] == [(1, 1), (2, 2)]
    assert first.start_time_unix_nano == second.start_time_unix_nano <= first.time_unix_nano


def _body(data: MetricsData) -> HistogramDataPoint:
    found = metrics(data)[names.PHASE_DURATION.name].data
    assert isinstance(found, Histogram)
    assert found.aggregation_temporality is AggregationTemporality.CUMULATIVE
    (point,) = [point for point in found.data_points if point.attributes == {"phase": "request_body"}]
    return point
