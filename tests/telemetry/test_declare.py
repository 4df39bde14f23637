"""An instrument of the table is declared by its kind and read when somebody asks."""

from collections import Counter

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

from extproc.telemetry import names
from extproc.telemetry.declare import Read, declare, each, one
from extproc.telemetry.names import Instrument


def declared(instrument: Instrument, read: Read) -> tuple[MeterProvider, InMemoryMetricReader]:
    """A provider with this one instrument."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    declare(provider.get_meter("dualpool"), instrument, read)
    return provider, reader


@pytest.mark.parametrize(("instrument", "counts"), [(names.LEARNED, True), (names.STREAMS, False)])
def test_a_counter_counts_and_a_gauge_does_not(instrument: Instrument, *, counts: bool) -> None:
    """By the name, unit and meaning of the table."""
    provider, reader = declared(instrument, one(lambda: 3))
    found = reader.get_metrics_data()
    provider.shutdown()
    assert found is not None
    (metric,) = found.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit, metric.description) == (instrument.name, instrument.unit, instrument.meaning)
    assert isinstance(metric.data, Sum) is counts
    assert [point.value for point in metric.data.data_points if hasattr(point, "value")] == [3]


def test_a_histogram_cannot_be_declared() -> None:
    """OpenTelemetry has none that is read: ours are added elsewhere."""
    with pytest.raises(AssertionError):
        declared(names.BUDGET, one(lambda: 3))


def test_a_number_there_is_not_is_no_observation() -> None:
    """Rather than a zero."""
    assert list(one(lambda: None)()) == []


def test_each_reads_what_is_counted_then() -> None:
    """Later counts show in later readings, and do not change one that was made."""
    counts = Counter({"up": 1})
    read = each("direction", counts)
    before = list(read())
    counts.update(["up", "down"])
    assert [(seen.attributes, seen.value) for seen in before] == [({"direction": "up"}, 1)]
    assert {str(seen.attributes): seen.value for seen in read()} == {
        "{'direction': 'up'}": 2, "{'direction': 'down'}": 1,
    }  # fmt: skip
