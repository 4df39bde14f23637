"""Counts what exchanges came to, in process memory; knows no metrics library and never blocks a request.

A request costs a few dictionary increments here. `extproc.telemetry.instruments` reads the counts when it is asked.
"""

from collections import Counter
from enum import StrEnum

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.response import ReadOutcome
from extproc.routing.values import Category, Correction, Decision, Misroute, Pool, Provenance, Reason, Stage

REALISED_HALF_LIFE = 100_000.0
"""Requests after which a misroute counts half in the realised share. About 144,000 then count in all, of which 144 may
be under-routed at a promise of 0.1 %; one in five of those in doubt is observed, so that the share scatters by about
19 %."""


class SaveOutcome(StrEnum):
    """How writing the state file went."""

    SAVED = "saved"
    FAILED = "failed"


class Ledger:
    """Cumulative counts since the process began. Written by the event loop, read by anyone."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[Pool, Reason, Provenance, Stage]] = Counter()
        self.undecided: Counter[Undecided] = Counter()
        self.answers_read: Counter[ReadOutcome] = Counter()
        self.judged = 0
        """Decisions of which a usage said whether they were right."""
        self.misroutes: Counter[Misroute] = Counter(dict.fromkeys(Misroute, 0))
        self.judged_weight = 0.0
        """Requests that those stand for, as each was observed with the share of its like."""
        self.misroute_weights = dict.fromkeys(Misroute, 0.0)
        self._recent = (0.0, 0.0)  # the same two, judged and under, with older ones fading
        self.learned = 0
        self.compared: Counter[Category] = Counter()
        """Estimates compared with the usage, before anything was learned from it."""
        self.abs_errors: dict[Category, float] = {}
        """Sums of |estimate − truth| / truth over those."""
        self.internal_errors = 0
        self.streams = 0
        """gRPC streams open now."""
        self.state_saves: Counter[SaveOutcome] = Counter()

    @property
    def under_realised(self) -> float | None:
        """Share of requests that went short and did not fit; None before one was judged.

        Each judged request counts for as many as it stands for (the estimator of Horvitz and Thompson), and half as
        much after every `REALISED_HALF_LIFE` requests.
        """
        judged, under = self._recent
        return under / judged if judged else None

    def record_decision(self, decision: Decision) -> None:
        """Take in a decision when it is made: its answer may stream for an hour."""
        self.decisions[decision.pool, decision.reason, decision.provenance, decision.stage] += 1

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
        if correction.judged:
            self._record_judgement(correction.misroute, correction.weight)
        self.learned += correction.learned
        error = abs(correction.relative_error)
        self.compared[correction.category] += 1
        self.abs_errors[correction.category] = self.abs_errors.get(correction.category, 0.0) + error

    def _record_judgement(self, misroute: Misroute | None, weight: float) -> None:
        judged, under = self._recent
        fading = 0.5 ** (weight / REALISED_HALF_LIFE)
        self._recent = (judged * fading + weight, under * fading + weight * (misroute is Misroute.UNDER))
        self.judged += 1
        self.judged_weight += weight
        if misroute is not None:
            self.misroutes[misroute] += 1
            self.misroute_weights[misroute] += weight
