"""The table of instruments keeps the conventions it states."""

import re
from itertools import pairwise

import pytest

from extproc.pools.ask import PollOutcome
from extproc.telemetry import names
from extproc.telemetry.names import INSTRUMENTS, Instrument, Kind


def test_names_are_told_once() -> None:
    """Two instruments of one name would be one on a scrape."""
    assert len({instrument.prometheus_name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_an_instrument_is_described_as_the_others_are(instrument: Instrument) -> None:
    """A name of ours or of the conventions, a known unit, one sentence, labels with bounds."""
    assert re.fullmatch(r"(dualpool|gen_ai)(\.[a-z_]+)+", instrument.name)
    assert re.fullmatch(r"(|s|\{[a-z]+\}(/s)?)", instrument.unit)
    assert re.fullmatch(r"[^\n]+\.", instrument.meaning)
    assert all(bool(label.values) != bool(label.bound) for label in instrument.labels)


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_histograms_have_buckets_and_others_none(instrument: Instrument) -> None:
    """Their bounds ascend: the search for a bucket relies on it."""
    assert bool(instrument.bounds) == (instrument.kind is Kind.HISTOGRAM)
    assert all(lower < upper for lower, upper in pairwise(instrument.bounds))


def test_polls_are_labelled_as_they_are_named() -> None:
    """The package that polls is none that telemetry may import."""
    (_, outcome) = names.POOL_POLLS.labels
    assert outcome.values == tuple(PollOutcome)
