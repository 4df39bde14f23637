"""Counts what exchanges came to, in process memory; knows no metrics library and never blocks a request.

A request costs a few dictionary increments here. `extproc.telemetry.instruments` reads the counts when it is asked.
"""

from collections import Counter
from enum import StrEnum

from extproc.routing.exchange import Outcome
from extproc.routing.response import ReadOutcome
from extproc.routing.values import Correction, Misroute, Pool, Provenance, Reason


class Undecided(StrEnum):
    """Why a stream ended without a decision; Envoy took the default route, which is the long pool."""

    BEGAN_MIDWAY = "began_midway"
    INTERNAL_ERROR = "internal_error"


class Ledger:
    """Cumulative counts since the process began. Written by the event loop, read by anyone."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[Pool, Reason, Provenance]] = Counter()
        self.undecided: Counter[Undecided] = Counter()
        self.answers_read: Counter[ReadOutcome] = Counter()
        self.judged = 0
        """Decisions that a usage could be compared with."""
        self.misroutes: Counter[Misroute] = Counter()
        self.learned = 0
        self.internal_errors = 0
        self.streams = 0
        """gRPC streams open now."""

    def record(self, outcome: Outcome) -> None:
        """Take in what one exchange came to."""
        if outcome.decision is None:
            self.undecided[Undecided.BEGAN_MIDWAY] += 1
            return
        decision = outcome.decision
        self.decisions[decision.pool, decision.reason, decision.provenance] += 1
        if outcome.read is not None:
            self.answers_read[outcome.read] += 1
        if outcome.correction is not None:
            self._record_correction(outcome.correction)

    def record_internal_error(self) -> None:
        """Our own bug: the exchange went on without us."""
        self.internal_errors += 1

    def _record_correction(self, correction: Correction) -> None:
        self.judged += 1
        self.learned += correction.learned
        if correction.misroute is not None:
            self.misroutes[correction.misroute] += 1
