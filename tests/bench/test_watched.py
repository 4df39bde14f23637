"""A service that tells nobody routes like any other."""

from extproc.bench.watched import Silent
from extproc.telemetry.ledger import Ledger


def test_a_silent_ledger_takes_nothing_in() -> None:
    """It has every method that the servicer records by, and none of them counts."""
    silent, ledger = Silent(), Ledger()
    overridden = {name for name in vars(Silent) if name.startswith("record")}
    assert overridden == {name for name in vars(Ledger) if name.startswith("record")} - {"record_internal_error"}
    silent.record_phase("request_body", 1.0)
    ledger.record_phase("request_body", 1.0)
    assert [sum(phase.counts) for phase in silent.phases.values()] == [0, 0, 0, 0]
    assert [sum(phase.counts) for phase in ledger.phases.values()] == [0, 1, 0, 0]
