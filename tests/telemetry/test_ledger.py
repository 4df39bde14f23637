"""What exchanges come to is counted once, by what it was."""

import pytest

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.response import ReadOutcome
from extproc.routing.values import (
    Category,
    Correction,
    Decision,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)
from extproc.telemetry.ledger import Ledger

DECISION = Decision(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED, RequestFacts())


def correction(misroute: Misroute | None, *, learned: bool, judged: bool = True) -> Correction:
    """A correction of the decision above."""
    return Correction(
        pool=Pool.SHORT,
        category=Category.PROSE,
        provenance=Provenance.CALIBRATED,
        stage=Stage.SAMPLE,
        estimated_prompt_tokens=10,
        usage=Usage(12),
        learned=learned,
        judged=judged,
        misroute=misroute,
    )


def test_an_unobserved_decision_counts_as_a_decision_alone() -> None:
    """Nothing is said of answers that were not read."""
    ledger = Ledger()
    ledger.record_decision(DECISION)
    ledger.record(Outcome(DECISION, None, None))
    assert ledger.decisions == {(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED): 1}
    assert (ledger.judged, ledger.learned, dict(ledger.answers_read), dict(ledger.misroutes)) == (0, 0, {}, {})


@pytest.mark.parametrize(("misroute", "learned"), [(None, True), (Misroute.UNDER, True), (Misroute.OVER, False)])
def test_a_correction_counts_what_it_says(misroute: Misroute | None, *, learned: bool) -> None:
    """A misroute by its direction, learned only if the estimator took it in, and the error of the estimate."""
    ledger = Ledger()
    ledger.record(Outcome(DECISION, correction(misroute, learned=learned), ReadOutcome.USAGE))
    assert (ledger.judged, ledger.learned) == (1, int(learned))
    assert dict(ledger.misroutes) == ({misroute: 1} if misroute else {})
    assert dict(ledger.answers_read) == {ReadOutcome.USAGE: 1}
    assert ledger.compared == {Category.PROSE: 1}
    assert ledger.abs_errors == {Category.PROSE: pytest.approx(2 / 12)}


def test_what_the_truth_cannot_judge_is_not_counted_as_judged() -> None:
    """An answer to an unlimited request, or to several prompts, teaches without saying which pool was right."""
    ledger = Ledger()
    ledger.record(Outcome(DECISION, correction(None, learned=True, judged=False), ReadOutcome.USAGE))
    assert (ledger.judged, ledger.learned) == (0, 1)


@pytest.mark.parametrize("undecided", Undecided)
def test_a_stream_without_a_decision_is_counted_as_such(undecided: Undecided) -> None:
    """A stream that began mid-way or ended early is no decision."""
    ledger = Ledger()
    ledger.record(Outcome(None, None, None, undecided))
    assert dict(ledger.undecided) == {undecided: 1}
    assert not ledger.decisions
