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
from extproc.telemetry.ledger import REALISED_HALF_LIFE, Ledger

DECISION = Decision(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED, RequestFacts(), stage=Stage.SAMPLE)


def correction(
    misroute: Misroute | None = None, *, learned: bool = True, judged: bool = True, weight: float = 1.0
) -> Correction:
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
        weight=weight,
    )


def judged(ledger: Ledger, misroute: Misroute | None, weight: float, times: int = 1) -> None:
    """So many judged answers alike."""
    for _ in range(times):
        ledger.record(Outcome(DECISION, correction(misroute, weight=weight), ReadOutcome.USAGE))


def test_an_unobserved_decision_counts_as_a_decision_alone() -> None:
    """Nothing is said of answers that were not read."""
    ledger = Ledger()
    ledger.record_decision(DECISION)
    ledger.record(Outcome(DECISION, None, None))
    assert ledger.decisions == {(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED, Stage.SAMPLE): 1}
    assert (ledger.judged, ledger.learned, dict(ledger.answers_read), ledger.misroutes.total()) == (0, 0, {}, 0)


@pytest.mark.parametrize(("misroute", "learned"), [(None, True), (Misroute.UNDER, True), (Misroute.OVER, False)])
def test_a_correction_counts_what_it_says(misroute: Misroute | None, *, learned: bool) -> None:
    """A misroute by its direction, learned only if the estimator took it in, and the error of the estimate."""
    ledger = Ledger()
    ledger.record(Outcome(DECISION, correction(misroute, learned=learned), ReadOutcome.USAGE))
    assert (ledger.judged, ledger.learned) == (1, int(learned))
    assert ledger.misroutes == dict.fromkeys(Misroute, 0) | ({misroute: 1} if misroute else {})
    assert dict(ledger.answers_read) == {ReadOutcome.USAGE: 1}
    assert ledger.compared == {Category.PROSE: 1}
    assert ledger.abs_errors == {Category.PROSE: pytest.approx(2 / 12)}


def test_what_the_truth_cannot_judge_is_not_counted_as_judged() -> None:
    """An answer to an unlimited request, or to several prompts, teaches without saying which pool was right."""
    ledger = Ledger()
    ledger.record(Outcome(DECISION, correction(None, learned=True, judged=False), ReadOutcome.USAGE))
    assert (ledger.judged, ledger.judged_weight, ledger.learned) == (0, 0.0, 1)
    assert ledger.under_realised is None


def test_each_judged_answer_counts_for_those_it_stands_for() -> None:
    """One of fifty observed certain decisions and one of ten doubtful ones weigh fifty and ten."""
    ledger = Ledger()
    judged(ledger, None, weight=50.0, times=3)
    judged(ledger, Misroute.UNDER, weight=10.0)
    judged(ledger, Misroute.OVER, weight=10.0, times=2)
    assert (ledger.judged, ledger.judged_weight) == (6, 180.0)
    assert ledger.misroute_weights == {Misroute.UNDER: 10.0, Misroute.OVER: 20.0}
    assert ledger.under_realised == pytest.approx(10 / 180, rel=1e-3)


def test_the_realised_share_does_not_depend_on_how_many_were_observed() -> None:
    """Whether all answers are read or one in ten: the share of the requests is the same."""
    all_read, few_read = Ledger(), Ledger()
    for ledger, weight, times in ((all_read, 1.0, 1000), (few_read, 10.0, 100)):
        judged(ledger, None, weight, times=99 * times // 100)
        judged(ledger, Misroute.UNDER, weight, times=times // 100)
    assert all_read.under_realised == pytest.approx(0.01, rel=0.01)
    assert few_read.under_realised == pytest.approx(0.01, rel=0.01)


def test_the_realised_share_forgets() -> None:
    """Misroutes of long ago fade by half with every half-life; the counters keep them."""
    ledger = Ledger()
    judged(ledger, Misroute.UNDER, weight=1000.0)
    judged(ledger, None, weight=REALISED_HALF_LIFE / 10, times=20)
    assert ledger.under_realised == pytest.approx(1000 / 4 / 112_000, rel=0.05)
    assert ledger.misroute_weights[Misroute.UNDER] == 1000.0


@pytest.mark.parametrize("undecided", Undecided)
def test_a_stream_without_a_decision_is_counted_as_such(undecided: Undecided) -> None:
    """A stream that began mid-way or ended early is no decision."""
    ledger = Ledger()
    ledger.record(Outcome(None, None, None, undecided))
    assert dict(ledger.undecided) == {undecided: 1}
    assert not ledger.decisions
