"""How an instrument of the table becomes one of OpenTelemetry's: observable, read when somebody collects.

Collection runs on another thread than the counting, so that every reading is of a copy.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from extproc.telemetry.names import Instrument, Kind

Read = Callable[[], Iterable[Observation]]


def declare(meter: Meter, instrument: Instrument, read: Read) -> None:
    """An instrument that says what `read` returns whenever it is asked."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return read()

    assert instrument.kind is not Kind.HISTOGRAM, "those are aggregated by us: see `histograms`"
    counts = instrument.kind is Kind.COUNTER
    create = meter.create_observable_counter if counts else meter.create_observable_gauge
    create(instrument.name, [observe], instrument.unit, instrument.meaning)


def one(value: Callable[[], float | None]) -> Read:
    """A single number; nothing while there is none."""

    def read() -> list[Observation]:
        found = value()
        return [] if found is None else [Observation(found)]

    return read


def each(label: str, counts: Mapping[Any, float]) -> Read:
    """A number for each value of one label."""
    return lambda: [Observation(count, {label: str(key)}) for key, count in list(counts.items())]
