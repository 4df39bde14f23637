"""Counts what exchanges came to, in process memory; knows no metrics library and never blocks a request.

A request costs a few dictionary increments here. `extproc.telemetry.instruments` reads the counts when it is asked.
"""

from collections import Counter

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.response import ReadOutcome
from extproc.routing.values import Category, Correction, Decision, Misroute, Pool, Provenance, Reason


class Ledger:
    """Cumulative counts since the process began. Written by the event loop, read by anyone."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[Pool, Reason, Provenance]] = Counter()
        self.undecided: Counter[Undecided] = Counter()
        self.answers_read: Counter[ReadOutcome] = Counter()
        self.judged = 0
        """Decisions of which a usage said whether they were right."""
        self.misroutes: Counter[Misroute] = Counter()
        self.learned = 0
        self.compared: Counter[Category] = Counter()
        """Estimates compared with the usage, before anything was learned from it."""
        self.abs_errors: dict[Category, float] = {}
        """Sums of |estimate − truth| / truth over those."""
        self.internal_errors = 0
        self.streams = 0
        """gRPC streams open now."""

    def record_decision(self, decision: Decision) -> None:
        """Take in a decision when it is made: its answer may stream for an hour."""
        self.decisions[decision.pool, decision.reason, decision.provenance] += 1

    def record(self, outcome: Outcome) -> None:
        """Take in what one exchange came to beside its decision."""
        if outcome.undecided is not None:
            self.undecided[outcome.undecided] += 1
        if outcome.read is not None:
            self.answers_read[outcome.read] += 1
        if outcome.correction is not None:
            self._record_correction(outcome.correction)

    def record_internal_error(self) -> None:
        """Our own bug: the exchange went on without us."""
        self.internal_errors += 1

    def _record_correction(self, correction: Correction) -> None:
        self.judged += correction.judged
        self.learned += correction.learned
        error = abs(correction.relative_error)
        self.compared[correction.category] += 1
        self.abs_errors[correction.category] = self.abs_errors.get(correction.category, 0.0) + error
        if correction.misroute is not None:
            self.misroutes[correction.misroute] += 1
