"""What exchanges come to is counted once, by what it was."""

import msgspec
import pytest

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.refusal import Refusal
from extproc.routing.request import read_request
from extproc.routing.response import ReadOutcome
from extproc.routing.values import (
    Budget,
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
from extproc.telemetry.labels import Operation, StatusClass
from extproc.telemetry.ledger import MODELS_MAX, REALISED_HALF_LIFE, Ledger, operation_of
from extproc.telemetry.modelnames import OTHER

DECISION = Decision(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED, RequestFacts(), stage=Stage.SAMPLE)


OBSERVED = msgspec.structs.replace(DECISION, observe=True, weight=10.0)


def correction(
    misroute: Misroute | None = None,
    *,
    learned: bool = True,
    judged: bool = True,
    weight: float = 1.0,
    truncated: bool = False,
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
        truncated=truncated,
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


def test_decisions_that_nobody_follows_are_told_apart() -> None:
    """What is escalated or truncated is a share of those alone that requests went by."""
    ledger = Ledger()
    for shadow in (True, True, False):
        ledger.record(Outcome(DECISION, None, None, shadow=shadow))
    assert ledger.followed == {Pool.SHORT: 1, Pool.LONG: 0}


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


def test_what_the_short_pool_refused_as_too_long_was_under_routed() -> None:
    """It has no usage to be judged by, and counts for those it stands for."""
    ledger = Ledger()
    judged(ledger, None, weight=10.0, times=9)
    ledger.record(Outcome(OBSERVED, None, None, status=400, refusal=Refusal.CONTEXT_LENGTH))
    assert ledger.refusals == {Refusal.CONTEXT_LENGTH: 1, Refusal.BUSY: 0, Refusal.OTHER: 0}
    assert (ledger.judged, ledger.misroutes[Misroute.UNDER]) == (10, 1)
    assert ledger.under_realised == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("refusal", [Refusal.BUSY, Refusal.OTHER])
def test_a_refusal_for_another_reason_says_nothing_of_the_decision(refusal: Refusal) -> None:
    """A full queue or a client's mistake is counted, and judges nothing."""
    ledger = Ledger()
    ledger.record(Outcome(OBSERVED, None, None, status=503, refusal=refusal))
    assert ledger.refusals[refusal] == 1
    assert (ledger.judged, ledger.under_realised) == (0, None)


@pytest.mark.parametrize(
    ("misroute", "can_be_judged"), [(Misroute.UNDER, True), (None, True), (None, False)], ids=["under", "fits", "open"]
)
def test_a_truncated_answer_was_under_routed_once(misroute: Misroute | None, *, can_be_judged: bool) -> None:
    """Whether its usage says so too or not."""
    ledger = Ledger()
    cut = correction(misroute, judged=can_be_judged, weight=10.0, truncated=True)
    ledger.record(Outcome(OBSERVED, cut, ReadOutcome.USAGE, status=200))
    assert (ledger.truncations, ledger.truncation_weight) == (1, 10.0)
    assert (ledger.judged, ledger.judged_weight) == (1, 10.0)
    assert (ledger.misroutes[Misroute.UNDER], ledger.misroute_weights[Misroute.UNDER]) == (1, 10.0)
    assert ledger.under_realised == 1.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, StatusClass.OK), (404, StatusClass.CLIENT_ERROR), (503, StatusClass.SERVER_ERROR), (0, StatusClass.NONE)],
)
def test_an_escalation_counts_by_what_the_long_pool_answered(status: int, expected: StatusClass) -> None:
    """And for those it stands for; its usage judges it like any other."""
    ledger = Ledger()
    under = correction(Misroute.UNDER, weight=10.0)
    ledger.record(Outcome(OBSERVED, under, ReadOutcome.USAGE, status=status, escalated=True))
    assert ledger.escalations == dict.fromkeys(StatusClass, 0) | {expected: 1}
    assert ledger.escalation_weights == dict.fromkeys(StatusClass, 0.0) | {expected: 10.0}
    assert ledger.misroutes[Misroute.UNDER] == 1


def test_budgets_are_counted_by_pool_where_there_is_one() -> None:
    """A decision without a budget, or with an output that nobody limits, is none."""
    ledger = Ledger()
    for budget in (None, Budget(900, None, 900), Budget(1000, 24, 1000), Budget(1001, 24, 1001)):
        ledger.record_decision(msgspec.structs.replace(DECISION, budget=budget))
    budgets = ledger.budgets[Pool.SHORT]
    assert (sum(budgets.counts), budgets.total) == (2, 2049.0)
    assert budgets.counts[budgets.bounds.index(1024.0)] == 1
    assert sum(ledger.budgets[Pool.LONG].counts) == 0


def test_decisions_whose_answer_is_to_be_read_are_counted() -> None:
    """Their share of all decisions is what is observed."""
    ledger = Ledger()
    ledger.record_decision(DECISION)
    ledger.record_decision(OBSERVED)
    assert (ledger.decisions.total(), ledger.observed) == (2, 1)


def test_errors_keep_their_sign() -> None:
    """A prompt that was longer than thought is below 0: 10 estimated of 12 is a sixth too few."""
    ledger = Ledger()
    judged(ledger, None, weight=1.0)
    errors = ledger.errors[Category.PROSE]
    assert errors.total == pytest.approx(-2 / 12)
    assert errors.counts[errors.bounds.index(-0.15)] == 1


def test_phases_are_timed_and_others_are_not() -> None:
    """Trailers cost nothing and have no series."""
    ledger = Ledger()
    for phase in ("request_body", "request_body", "response_trailers", ""):
        ledger.record_phase(phase, 0.0004)
    counts = {phase: sum(durations.counts) for phase, durations in ledger.phases.items()}
    assert counts == {"request_headers": 0, "request_body": 2, "response_headers": 0, "response_body": 0}


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/chat/completions", b'{"messages":[{"role":"user","content":"hi"}]}', Operation.CHAT),
        ("/v1/responses", b'{"input":"hi"}', Operation.CHAT),
        ("/v1/messages", b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":9}', Operation.CHAT),
        ("/v1/completions", b'{"prompt":"hi"}', Operation.TEXT_COMPLETION),
        ("/v1/embeddings", b'{"input":"hi"}', Operation.EMBEDDINGS),
    ],
)
def test_the_operation_is_told_by_the_facts(path: str, body: bytes, operation: Operation) -> None:
    """In the words of OpenTelemetry's conventions."""
    assert operation_of(read_request(path, body).facts) is operation


def test_tokens_are_counted_by_model_and_operation() -> None:
    """In and out apart; an embedding has no output, not one of 0 tokens."""
    ledger = Ledger()
    for facts in (RequestFacts(model="m"), RequestFacts(model="m", output_tokens=0), RequestFacts()):
        decision = msgspec.structs.replace(OBSERVED, facts=facts)
        ledger.record(Outcome(decision, msgspec.structs.replace(correction(), usage=Usage(12, 3)), ReadOutcome.USAGE))
    found = {key: (prompts.total, sum(outputs.counts)) for key, (prompts, outputs) in ledger.token_usage.items()}
    assert found == {
        ("m", Operation.TEXT_COMPLETION): (12.0, 1),
        ("m", Operation.EMBEDDINGS): (12.0, 0),
        (OTHER, Operation.TEXT_COMPLETION): (12.0, 1),
    }


def test_models_beyond_a_number_are_not_told_apart() -> None:
    """Each would be a dozen series more for whoever stores them."""
    ledger = Ledger()
    for number in range(3 * MODELS_MAX):
        decision = msgspec.structs.replace(OBSERVED, facts=RequestFacts(model=f"m{number}"))
        ledger.record(Outcome(decision, correction(), ReadOutcome.USAGE))
    assert len(ledger.token_usage) == MODELS_MAX + 1
    others, _ = ledger.token_usage[OTHER, Operation.TEXT_COMPLETION]
    assert sum(others.counts) == 2 * MODELS_MAX
