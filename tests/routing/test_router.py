import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.budget import BudgetRules
from extproc.routing.estimators import EmaEstimator, EmaRules, Estimator, FixedRatioEstimator
from extproc.routing.observing import ObserveRules
from extproc.routing.outputs import OutputModel, OutputRules, OutputState
from extproc.routing.policy import SinglePoolPolicy, TokenBudgetPolicy, Verdict, judge
from extproc.routing.request import Request, flawed
from extproc.routing.router import Router
from extproc.routing.steering import Steering
from extproc.routing.text import Prompt
from extproc.routing.values import (
    Budget,
    Category,
    Correction,
    Decision,
    Estimate,
    Finish,
    Flaw,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)

TEXT = RequestFacts(text_bytes=4000, total_text_bytes=4000, message_count=1, output_tokens=100, model="m")
"""Fits whatever the tokenizer."""
LONG = replace(TEXT, text_bytes=40_000, total_text_bytes=40_000)
"""Not certain, whatever the estimate."""
UNDECLARED = replace(TEXT, output_tokens=None)
LOW, HIGH = 0.0, 0.999
"""A draw below every share, and one above."""
Measured = tuple[Request, int, int]


def asked(facts: RequestFacts = TEXT, *, text: str = "plain words") -> Request:
    """A request of these facts, whose text is of the same kind as this one."""
    return Request(facts, Prompt(pieces=[text]))


def router(
    *,
    threshold: int = 8192,
    share: float = 0.05,
    max_in_flight: int = 256,
    learning_samples: int = 0,
    estimator: Estimator | None = None,
    **others: Any,
) -> Router:
    """A router that observes a share, having nothing to learn unless told so."""
    return Router(
        estimator=estimator or EmaEstimator(EmaRules(learning_samples=learning_samples)),
        policy=TokenBudgetPolicy(threshold),
        observe_rules=ObserveRules(share=share, max_in_flight=max_in_flight),
        **others,
    )


def completed(owner: Router, facts: RequestFacts, usage: Usage) -> Correction:
    """Route and complete one request that is observed."""
    correction = owner.complete(owner.route(asked(facts), draw=LOW), usage)
    assert correction is not None
    return correction


class Scripted(FixedRatioEstimator):
    """Says what it is told to say, and remembers what it was asked and taught."""

    def __init__(self, **estimate: Any) -> None:
        super().__init__()
        self._estimate = Estimate(**{"mean_tokens": 7000, "conservative_tokens": 7500, "calibrated": True} | estimate)
        self.rooms: list[int] = []
        self.taught: list[tuple[RequestFacts, object, Usage]] = []

    def estimate(self, request: Request, room_tokens: int) -> Estimate:
        """As told."""
        self.rooms.append(room_tokens)
        return self._estimate

    def lesson(self, request: Request, room_tokens: int, *, estimated: bool, weight: float = 1.0) -> object:
        """Something to know again."""
        return ("lesson", request.facts.text_bytes, room_tokens, estimated, weight)

    def learn(self, facts: RequestFacts, lesson: object, usage: Usage) -> bool:
        """Take everything in."""
        self.taught.append((facts, lesson, usage))
        return True


# Routing


def test_a_decision_carries_all_that_completing_it_needs() -> None:
    """Facts, budget, and why: nothing is kept by request id."""
    decision = router().route(asked(TEXT), draw=HIGH)
    assert (decision.pool, decision.reason) == (Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER)
    assert decision.provenance is Provenance.CERTAIN
    assert decision.facts is TEXT
    assert decision.budget == Budget(
        certain_prompt_tokens=4000 + 512 + 16, output_tokens=100, prompt_tokens=4000 + 512 + 16
    )


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flawed_request_goes_long_and_is_never_observed(flaw: Flaw) -> None:
    """There is no budget to correct and no text to learn from."""
    decision = router(learning_samples=100).route(flawed(flaw), draw=LOW)
    assert decision == Decision(Pool.LONG, Reason(flaw.value), Provenance.FALLBACK, flawed(flaw).facts)


def test_a_flaw_goes_long_whatever_the_policy_leaves_open() -> None:
    """Unknown means long, also to a policy that forgot about it."""

    class Undecided(TokenBudgetPolicy):
        def settle(self, facts: RequestFacts, bounds: Budget | None) -> Verdict | None:
            return None

    decision = Router(estimator=EmaEstimator(), policy=Undecided(8192)).route(flawed(Flaw.MEDIA), draw=LOW)
    assert (decision.pool, decision.provenance) == (Pool.LONG, Provenance.FALLBACK)


def test_an_oversized_request_goes_long_by_its_length_alone() -> None:
    """It is never observed, and completing it is harmless."""
    owner = router(share=1.0)
    decision = owner.route_oversized()
    assert (decision.pool, decision.reason, decision.provenance) == (
        Pool.LONG,
        Reason.CONTENT_LENGTH,
        Provenance.CERTAIN,
    )
    assert not decision.observe
    assert owner.complete(decision, Usage(50_000)) is None
    assert owner.observing == 0


def test_the_router_shows_its_threshold_and_what_it_learned() -> None:
    """One place to ask, whatever estimator and policy are behind it."""
    owner = router(threshold=4096)
    completed(owner, TEXT, Usage(1000))
    assert owner.policy.threshold_tokens == 4096
    assert [(ratio.model, ratio.samples) for ratio in owner.ratios()] == [("m", 1)]


def test_the_operators_rules_for_budgets_are_used() -> None:
    """Undeclared output goes long by default, or is reserved as told."""
    assert router().route(asked(UNDECLARED), draw=HIGH).reason is Reason.OUTPUT_UNDECLARED
    owner = router(budget_rules=BudgetRules(undeclared_output_tokens=100))
    assert owner.route(asked(UNDECLARED), draw=HIGH).pool is Pool.SHORT


def test_baselines_fit_in_the_same_place() -> None:
    """A fixed ratio is warm from the start; a single pool still observes, so that it can be compared."""
    request = asked(replace(TEXT, text_bytes=20_000, total_text_bytes=20_000))
    fixed = Router(estimator=FixedRatioEstimator(), policy=TokenBudgetPolicy(8192))
    assert fixed.route(request, draw=HIGH).reason is Reason.FITS
    assert not fixed.route(request, draw=HIGH).observe
    single = Router(estimator=EmaEstimator(), policy=SinglePoolPolicy(8192))
    decision = single.route(request, draw=HIGH)
    assert (decision.reason, decision.observe) == (Reason.SINGLE_POOL, True)


@pytest.mark.parametrize("facts", [TEXT, UNDECLARED, replace(TEXT, output_tokens=9000), replace(TEXT, token_ids=9000)])
def test_what_is_settled_without_an_estimate_is_not_estimated(facts: RequestFacts) -> None:
    """Unless its answer is wanted, to be held against one: then once."""
    estimator = Scripted()
    owner = router(estimator=estimator)
    owner.route(asked(facts), draw=HIGH)
    assert estimator.rooms == []
    assert owner.route(asked(facts), draw=LOW).observe
    assert len(estimator.rooms) == 1


@pytest.mark.parametrize("draw", [LOW, HIGH])
def test_the_estimator_is_told_the_room_and_asked_once(draw: float) -> None:
    """The threshold less what the answer may take, whether the answer is wanted or not."""
    estimator = Scripted()
    router(estimator=estimator).route(asked(LONG), draw=draw)
    assert estimator.rooms == [8092]


@pytest.mark.parametrize("message_count", [100, 1000])
def test_messages_without_text_are_certain_or_cold(message_count: int) -> None:
    """No ratio answers for their framing: they fit for certain, or go long."""
    facts = RequestFacts(message_count=message_count, output_tokens=16)
    decision = router().route(asked(facts, text=""), draw=HIGH)
    expected = Reason.FITS_WHATEVER_TOKENIZER if message_count == 100 else Reason.ESTIMATOR_COLD
    assert decision.reason is expected


# Saying how it is known


@pytest.mark.parametrize(
    ("decision", "stage", "doubt"),
    [
        (router().route(asked(TEXT), draw=HIGH), Stage.BOUNDS, 0.0),
        (router().route(asked(replace(TEXT, output_tokens=9000)), draw=HIGH), Stage.BOUNDS, 0.0),
        (router().route(asked(replace(TEXT, token_ids=9000)), draw=HIGH), Stage.BOUNDS, 0.0),
        (router().route(asked(UNDECLARED), draw=HIGH), Stage.NONE, None),
        (router().route(flawed(Flaw.MEDIA), draw=HIGH), Stage.NONE, None),
        (router().route_oversized(), Stage.NONE, 0.0),
        (router().route(asked(LONG), draw=HIGH), Stage.SAMPLE, None),
    ],
)
def test_a_decision_says_what_effort_settled_it_and_how_sure_it_is(
    decision: Decision, stage: Stage, doubt: float | None
) -> None:
    """What is certain has no doubt; where nobody can tell there is no number."""
    assert (decision.stage, decision.doubt) == (stage, doubt)


@pytest.mark.parametrize("draw", [LOW, HIGH])
@pytest.mark.parametrize(("stage", "doubt"), [(Stage.MEMORY, 0.0001), (Stage.TEXT, 0.02), (Stage.EXACT, None)])
def test_an_estimate_says_it_of_itself(stage: Stage, doubt: float | None, draw: float) -> None:
    """Observed or not."""
    decision = router(estimator=Scripted(stage=stage, doubt=doubt)).route(asked(LONG), draw=draw)
    assert (decision.stage, decision.doubt) == (stage, doubt)


def test_an_estimate_that_only_serves_to_compare_settles_nothing() -> None:
    """A certain decision stays certain where its answer is wanted; the estimate's mean stands beside it."""
    decision = router(estimator=Scripted(stage=Stage.TEXT, doubt=0.3, mean_tokens=900)).route(asked(TEXT), draw=LOW)
    assert (decision.stage, decision.doubt, decision.provenance) == (Stage.BOUNDS, 0.0, Provenance.CERTAIN)
    assert decision.budget == Budget(
        certain_prompt_tokens=4528, output_tokens=100, prompt_tokens=4528, mean_prompt_tokens=900
    )


@pytest.mark.parametrize(("draw", "category"), [(LOW, Category.CODE), (HIGH, None)])
@pytest.mark.parametrize("facts", [TEXT, LONG, UNDECLARED])
def test_the_category_is_told_where_the_answer_is_wanted(
    facts: RequestFacts, draw: float, category: Category | None
) -> None:
    """Elsewhere nobody needs to look at the text for it."""
    assert router().route(asked(facts, text="call(x);"), draw=draw).category is category


@pytest.mark.parametrize("facts", [TEXT, LONG, UNDECLARED])
def test_a_decision_keeps_nothing_of_the_text(facts: RequestFacts) -> None:
    """It may wait an hour for its answer, and is written to logs and headers."""
    decision = router(learning_samples=100).route(asked(facts, text="a secret"), draw=LOW)
    assert decision.observe
    assert decision.lesson is Category.PROSE
    assert "secret" not in repr(decision)


# Observing


@pytest.mark.parametrize(("draw", "observe"), [(0.0, True), (0.049, True), (0.05, False), (0.999, False)])
def test_what_is_certain_is_observed_by_its_share(draw: float, *, observe: bool) -> None:
    """Once its kind is learned, a draw below 0.05 is observed, others are not."""
    assert router(share=0.05).route(asked(TEXT), draw=draw).observe is observe


@pytest.mark.parametrize(("draw", "observe"), [(0.0, True), (0.499, True), (0.5, False), (0.999, False)])
@pytest.mark.parametrize("doubt", [None, 0.001, 0.4])
def test_what_is_in_doubt_is_observed_ten_times_as_often(draw: float, doubt: float | None, *, observe: bool) -> None:
    """It tells how often decisions are wrong; cold or learned, and where an estimator states no doubt."""
    assert router(share=0.05).route(asked(LONG), draw=draw).observe is observe
    assert router(share=0.05, estimator=Scripted(doubt=doubt)).route(asked(LONG), draw=draw).observe is observe


@pytest.mark.parametrize(("draw", "observe"), [(0.0, True), (0.049, True), (0.05, False), (0.999, False)])
def test_what_is_hardly_in_doubt_is_observed_like_what_is_certain(draw: float, *, observe: bool) -> None:
    """Below one in a thousand, however it was told; one request then stands for twenty."""
    decision = router(share=0.05, estimator=Scripted(doubt=0.00099)).route(asked(LONG), draw=draw)
    assert decision.observe is observe
    assert decision.weight == (20.0 if observe else 1.0)


@pytest.mark.parametrize(
    ("facts", "share", "learning_samples", "weight"),
    [
        (TEXT, 0.05, 0, 20.0),
        (LONG, 0.05, 0, 2.0),
        (LONG, 0.5, 0, 1.0),
        (TEXT, 0.05, 100, 1.0),
        (LONG, 0.0, 100, 1.0),
    ],
)
def test_an_observed_request_stands_for_all_like_it(
    facts: RequestFacts, share: float, learning_samples: int, weight: float
) -> None:
    """One by its share, in the decision and in its correction; while every answer is wanted, for itself."""
    owner = router(share=share, learning_samples=learning_samples)
    decision = owner.route(asked(facts), draw=LOW)
    correction = owner.complete(decision, Usage(1000))
    assert correction is not None
    assert decision.weight == correction.weight == pytest.approx(weight)


@given(share=st.floats(0.005, 1.0), facts=st.sampled_from((TEXT, LONG)))
def test_weights_add_up_to_all_requests(share: float, facts: RequestFacts) -> None:
    """Of a thousand requests with evenly spread draws, the weights of those observed make a thousand again."""
    owner = router(share=share, max_in_flight=1000)
    decisions = [owner.route(asked(facts), draw=index / 1000) for index in range(1000)]
    observed = [decision for decision in decisions if decision.observe]
    assert sum(decision.weight for decision in observed) == pytest.approx(1000, abs=observed[0].weight)


@pytest.mark.parametrize(("share", "observe"), [(0.0, False), (1.0, True)])
@pytest.mark.parametrize("facts", [TEXT, LONG])
def test_none_and_all_may_be_observed(facts: RequestFacts, share: float, *, observe: bool) -> None:
    """The ends of the setting mean what they say, at the ends of the draw."""
    assert {router(share=share).route(asked(facts), draw=draw).observe for draw in (LOW, HIGH)} == {observe}


def test_streams_teach_where_the_server_sends_usage_unasked() -> None:
    """An operator whose vLLM forces usage into every stream says so, and then they are observed."""
    told = ObserveRules(share=1.0, streams_carry_usage=True)
    owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192), observe_rules=told)
    silent = asked(replace(TEXT, usage_expected=False))
    assert owner.route(silent, draw=LOW).observe
    assert not router(share=1.0, learning_samples=100).route(silent, draw=LOW).observe


def test_while_learning_every_answer_is_observed() -> None:
    """Whatever the draw, until the category has its samples; another category still has none."""
    owner = router(share=0.0, learning_samples=3)
    for _ in range(3):
        decision = owner.route(asked(TEXT), draw=HIGH)
        assert decision.observe
        owner.complete(decision, Usage(1000))
    assert not owner.route(asked(TEXT), draw=HIGH).observe
    assert owner.route(asked(TEXT, text="call(x);"), draw=HIGH).observe


@pytest.mark.parametrize("undeclared", [None, 100])
@pytest.mark.parametrize(
    "facts",
    [
        replace(TEXT, teaches=False),
        replace(LONG, teaches=False, output_tokens=None, n=2),
        replace(LONG, teaches=False, prompt_count=2),
        replace(LONG, usage_expected=False),
    ],
)
def test_an_answer_that_can_neither_teach_nor_judge_is_not_observed(
    facts: RequestFacts, undeclared: int | None
) -> None:
    """A certain decision needs no judgement; several prompts allow none, nor several answers without a limit."""
    rules = BudgetRules(undeclared_output_tokens=undeclared)
    owner = router(share=1.0, learning_samples=100, budget_rules=rules)
    assert not owner.route(asked(facts), draw=LOW).observe


def test_output_that_nobody_limits_cannot_be_judged_without_a_rule_for_it() -> None:
    """There is no budget that could have been right or wrong."""
    facts = replace(LONG, teaches=False, output_tokens=None)
    assert not router(share=1.0).route(asked(facts), draw=LOW).observe


def test_what_cannot_teach_is_observed_by_its_share_to_be_judged() -> None:
    """Reasoning of earlier turns, say: never in full, but misroutes among them must come to light."""
    owner = router(share=0.05, learning_samples=100)
    request = asked(replace(LONG, teaches=False))
    assert not owner.route(request, draw=HIGH).observe
    decision = owner.route(request, draw=LOW)
    correction = owner.complete(decision, Usage(5000))
    assert decision.observe
    assert correction is not None
    assert (correction.learned, correction.judged, correction.misroute) == (False, True, Misroute.OVER)


def test_answers_observed_at_once_are_bounded() -> None:
    """The bound holds while learning too, and each completion makes room for one."""
    owner = router(share=1.0, max_in_flight=3, learning_samples=100)
    decisions = [owner.route(asked(TEXT), draw=LOW) for _ in range(5)]
    assert [decision.observe for decision in decisions] == [True, True, True, False, False]
    assert owner.observing == 3
    owner.complete(decisions[4], None)
    assert not owner.route(asked(TEXT), draw=LOW).observe
    owner.complete(decisions[0], None)
    assert owner.route(asked(TEXT), draw=LOW).observe
    assert not owner.route(asked(TEXT), draw=LOW).observe


@given(
    st.lists(
        st.tuples(
            st.sampled_from((TEXT, LONG, UNDECLARED)),
            st.floats(0, 1, exclude_max=True),
            st.none() | st.integers(1, 5000),
        ),
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
def test_completing_in_any_order_releases_every_observation(
    requests: list[tuple[RequestFacts, float, int | None]], order: random.Random
) -> None:
    """With usage or without, observed or not, the count comes back to zero and is never off in between."""
    owner = router(share=0.1, max_in_flight=10, outputs=OutputModel())
    open_decisions = [(owner.route(asked(facts), draw=draw), tokens) for facts, draw, tokens in requests]
    order.shuffle(open_decisions)
    while open_decisions:
        assert owner.observing == sum(decision.observe for decision, _ in open_decisions) <= 10
        decision, tokens = open_decisions.pop()
        correction = owner.complete(decision, None if tokens is None else Usage(tokens))
        assert (correction is None) == (tokens is None or not decision.observe)
    assert owner.observing == 0


# Correcting


def test_a_correction_holds_the_estimate_that_was_made() -> None:
    """Not what the estimator would say after it learned, nor after others did meanwhile."""
    owner = router()
    decision = owner.route(asked(TEXT), draw=LOW)
    for _ in range(5):
        completed(owner, TEXT, Usage(2000))
    correction = owner.complete(decision, Usage(500, 7))
    assert correction == Correction(
        pool=Pool.SHORT,
        category=Category.PROSE,
        provenance=Provenance.CERTAIN,
        stage=Stage.BOUNDS,
        estimated_prompt_tokens=1000,
        usage=Usage(500, 7),
        learned=True,
        judged=True,
        weight=20.0,
    )
    assert correction.relative_error == 1.0


@pytest.mark.parametrize(("facts", "estimated"), [(TEXT, False), (LONG, True)])
def test_the_estimator_is_taught_what_it_asked_to_keep(facts: RequestFacts, *, estimated: bool) -> None:
    """Its own lesson, with the facts and the usage, once.

    It was told the room, whether its estimate decided, and how many requests this one stands for.
    """
    estimator, weight = Scripted(), 2.0 if estimated else 20.0
    completed(router(estimator=estimator, share=0.05), facts, Usage(800, 3))
    assert estimator.taught == [(facts, ("lesson", facts.text_bytes, 8092, estimated, weight), Usage(800, 3))]


@pytest.mark.parametrize("facts", [TEXT, LONG, UNDECLARED])
def test_an_answer_that_was_not_asked_for_corrects_and_teaches_nothing(facts: RequestFacts) -> None:
    """No estimate was made for it that it could be held against."""
    estimator, outputs = Scripted(), OutputModel()
    owner = router(estimator=estimator, outputs=outputs, max_in_flight=0)
    decision = owner.route(asked(facts), draw=LOW)
    assert (decision.observe, decision.lesson) == (False, None)
    assert owner.complete(decision, Usage(900, 5, finish=Finish.STOP)) is None
    assert (estimator.taught, outputs.learned(), owner.observing) == ([], [], 0)


def test_the_estimate_of_several_prompts_is_compared_with_their_sum() -> None:
    """Usage answers for all of them: 1000 tokens for the longest are 2500 for the bytes of all."""
    facts = replace(TEXT, total_text_bytes=10_000, prompt_count=3)
    correction = completed(router(), facts, Usage(2500))
    assert correction.estimated_prompt_tokens == 2500
    assert correction.relative_error == 0.0


def test_prompts_without_text_are_compared_as_they_are() -> None:
    """Token ids carry no bytes to spread an estimate over."""
    facts = RequestFacts(token_ids=40, prompt_count=2, output_tokens=1)
    assert completed(router(), facts, Usage(70)).estimated_prompt_tokens == 40


LARGER = replace(TEXT, text_bytes=100_000, total_text_bytes=100_000)
IDS = RequestFacts(token_ids=5000, output_tokens=1)


@pytest.mark.parametrize(
    ("facts", "prompt_tokens", "judged", "misroute"),
    [
        (TEXT, 8092, True, None),
        (TEXT, 8093, True, Misroute.UNDER),
        (LARGER, 8092, True, Misroute.OVER),
        (LARGER, 8093, True, None),
        (replace(TEXT, n=3), 8093, True, Misroute.UNDER),
        (replace(TEXT, total_text_bytes=8000, prompt_count=2), 8093, False, None),
        (replace(IDS, prompt_count=2), 10_000, False, None),
        (IDS, 5000, True, None),
        (UNDECLARED, 10, False, None),
    ],
)
def test_a_decision_is_judged_where_there_is_a_truth(
    facts: RequestFacts, prompt_tokens: int, misroute: Misroute | None, *, judged: bool
) -> None:
    """One prompt, and an output with a limit: the usage of several says nothing of the longest."""
    correction = completed(router(), facts, Usage(prompt_tokens, 5, finish=Finish.LENGTH))
    assert (correction.judged, correction.misroute) == (judged, misroute)


STOP, LENGTH, OTHER = Finish.STOP, Finish.LENGTH, Finish.OTHER


@pytest.mark.parametrize(
    ("facts", "usage", "judged", "misroute"),
    [
        (UNDECLARED, Usage(1000, 7192, finish=STOP), True, None),
        (UNDECLARED, Usage(1000, 7193, finish=STOP), True, Misroute.UNDER),
        (UNDECLARED, Usage(1000, 7193), True, Misroute.UNDER),
        # The end of the short pool's context cut it, wherever that lies
        (UNDECLARED, Usage(1000, 7000, finish=LENGTH), True, Misroute.UNDER),
        (replace(LARGER, output_tokens=None), Usage(1000, 7192, finish=STOP), True, Misroute.OVER),
        (replace(LARGER, output_tokens=None), Usage(1000, 7193, finish=LENGTH), True, None),
        # Nobody knows how long it would have been
        (UNDECLARED, Usage(1000, 7000, finish=OTHER), False, None),
        (replace(LARGER, output_tokens=None), Usage(1000, 10, finish=OTHER), False, None),
        # Usage sums several answers
        (replace(UNDECLARED, n=2), Usage(1000, 9000, finish=STOP), False, None),
        # What was declared is reserved, however the answer ended
        (TEXT, Usage(1000, 10, finish=OTHER), True, None),
    ],
)
def test_an_answer_that_nobody_limited_is_as_long_as_it_turned_out(
    facts: RequestFacts, usage: Usage, misroute: Misroute | None, *, judged: bool
) -> None:
    """Not as long as was reserved for it."""
    owner = router(budget_rules=BudgetRules(undeclared_output_tokens=100))
    correction = completed(owner, facts, usage)
    assert (correction.judged, correction.misroute) == (judged, misroute)


# Output that nobody limits


ONE_IN_TEN = OutputRules(miss_probability=0.1)
ENOUGH = 20
"""Answers after which one in ten can be promised."""


def learned_outputs(owner: Router, *, tokens: int = 300) -> None:
    """Have enough answers of a length come back."""
    for _ in range(ENOUGH):
        owner.complete(owner.route(asked(UNDECLARED), draw=LOW), Usage(1000, tokens, finish=STOP))


def test_output_that_nobody_limits_is_learned_and_then_reserved() -> None:
    """Long while cold, and every answer wanted; then short, with what most answers take and little more."""
    owner = router(share=0.0, outputs=OutputModel(ONE_IN_TEN))
    cold = owner.route(asked(UNDECLARED), draw=HIGH)
    assert (cold.pool, cold.reason, cold.observe) == (Pool.LONG, Reason.OUTPUT_UNDECLARED, True)
    owner.complete(cold, None)
    learned_outputs(owner)
    warm = owner.route(asked(UNDECLARED), draw=HIGH)
    assert (warm.pool, warm.observe) == (Pool.SHORT, False)
    assert warm.budget is not None
    assert warm.budget.output_tokens is not None
    assert 300 <= warm.budget.output_tokens <= 320


def test_a_long_reserve_goes_long() -> None:
    """Where answers fill the short pool's context, no prompt finds room beside them."""
    owner = router(share=0.0, outputs=OutputModel(ONE_IN_TEN))
    learned_outputs(owner, tokens=9000)
    assert owner.route(asked(UNDECLARED), draw=HIGH).reason is Reason.OUTPUT_EXCEEDS


def test_declared_output_teaches_nothing_of_undeclared() -> None:
    """Nor does the operator's rule, where there is one, ask what was learned."""
    outputs = OutputModel(ONE_IN_TEN)
    for _ in range(ENOUGH):
        completed(router(outputs=outputs), TEXT, Usage(1000, 50, finish=STOP))
    assert outputs.learned() == []
    owner = router(outputs=outputs, budget_rules=BudgetRules(undeclared_output_tokens=777))
    decision = owner.route(asked(UNDECLARED), draw=HIGH)
    assert decision.budget is not None
    assert decision.budget.output_tokens == 777


@pytest.mark.parametrize("facts", [replace(UNDECLARED, n=2), replace(UNDECLARED, prompt_count=2)])
def test_answers_that_usage_sums_up_are_not_waited_for(facts: RequestFacts) -> None:
    """They teach nothing of how long one is, where they come all the same."""
    outputs = OutputModel(ONE_IN_TEN)
    assert not router(share=0.0, outputs=outputs).route(asked(facts), draw=LOW).observe
    completed(router(share=1.0, outputs=outputs), facts, Usage(1000, 500, finish=STOP))
    assert outputs.learned() == []


def test_nothing_is_reserved_before_older_answers_have_come_back() -> None:
    """Short answers come first: one that is still under way may be long, until it ends, with usage or without."""
    owner = router(share=0.0, outputs=OutputModel(ONE_IN_TEN))
    waiting = owner.route(asked(UNDECLARED), draw=LOW)
    learned_outputs(owner)
    assert owner.route(asked(UNDECLARED), draw=HIGH).pool is Pool.LONG
    owner.complete(waiting, None)
    assert owner.route(asked(UNDECLARED), draw=HIGH).pool is Pool.SHORT


# Steering


def steered(owner: Router, threshold: int = 8192, spill_from: Pool | None = None, share: float = 1.0) -> Router:
    """The same router, told so."""
    owner.steer(Steering(threshold, spill_from, share if spill_from else 0.0))
    return owner


def test_the_threshold_follows_and_each_decision_keeps_its_own() -> None:
    """A request judged later is judged by the threshold that decided it."""
    owner = router()
    before = owner.route(asked(TEXT), draw=LOW)
    after = steered(owner, 2000).route(asked(TEXT), draw=LOW)
    assert [(d.pool, d.threshold_tokens) for d in (before, after)] == [(Pool.SHORT, 8192), (Pool.LONG, 2000)]
    corrections = [owner.complete(decision, Usage(3000)) for decision in (before, after)]
    assert [correction and correction.misroute for correction in corrections] == [None, None]


def test_steering_that_changes_no_threshold_keeps_the_policy() -> None:
    """It comes every few seconds, and mostly says the same."""
    owner = router()
    policy = owner.policy
    assert steered(owner).policy is policy


def test_no_threshold_is_above_what_the_short_pool_holds() -> None:
    """Whatever the rules of steering say, and whatever was said before the pool was known."""
    owner = router(threshold=8192, short_max_model_len=16_384)
    assert steered(owner, 20_000).policy.threshold_tokens == 16_384
    owner.fit(4096)
    assert (owner.policy.threshold_tokens, owner.short_max_model_len) == (4096, 4096)
    assert steered(owner, 8192).policy.threshold_tokens == 4096
    owner.fit(32_768)
    assert (owner.policy.threshold_tokens, owner.short_max_model_len) == (4096, 32_768), "only steering raises it"


@pytest.mark.parametrize(("share", "spilled"), [(1.0, 100), (0.25, 25), (0.0, 0)])
def test_a_short_pool_under_pressure_is_relieved_of_a_share(share: float, spilled: int) -> None:
    """Those that leave say why, and that is no verdict on the estimate."""
    owner = steered(router(), spill_from=Pool.SHORT, share=share)
    decisions = [owner.route(asked(TEXT), draw=LOW) for _ in range(100)]
    left = [decision for decision in decisions if decision.reason is Reason.SPILLED_FROM_SHORT]
    assert len(left) == spilled
    assert all(decision.pool is Pool.LONG for decision in left)
    assert {owner.route(asked(replace(TEXT, output_tokens=9000)), draw=LOW).reason} == {Reason.OUTPUT_EXCEEDS}
    corrections = [owner.complete(decision, Usage(1000)) for decision in left]
    assert not any(correction is None or correction.judged for correction in corrections)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(TEXT, token_ids=9000, text_bytes=0, total_text_bytes=0), Reason.SPILLED_FROM_LONG),
        (replace(TEXT, output_tokens=9000), Reason.SPILLED_FROM_LONG),
        (replace(TEXT, token_ids=17_000, text_bytes=0, total_text_bytes=0), Reason.EXCEEDS),
        (replace(TEXT, output_tokens=17_000), Reason.OUTPUT_EXCEEDS),
        (UNDECLARED, Reason.OUTPUT_UNDECLARED),
    ],
)
def test_a_long_pool_is_relieved_of_what_the_short_one_can_hold(facts: RequestFacts, reason: Reason) -> None:
    """Above the threshold and within the short pool's context, by the same rules; the unknown stays long."""
    owner = steered(router(short_max_model_len=16_384), spill_from=Pool.LONG)
    decision = owner.route(asked(facts), draw=LOW)
    assert (decision.pool, decision.reason) == (
        Pool.SHORT if reason is Reason.SPILLED_FROM_LONG else Pool.LONG,
        reason,
    )
    assert decision.threshold_tokens == (16_384 if decision.pool is Pool.SHORT else 8192)


@pytest.mark.parametrize(("tokens", "pool"), [(16_000, Pool.SHORT), (16_384, Pool.LONG)])
def test_an_estimate_must_fit_the_short_pool_to_spill_there(tokens: int, pool: Pool) -> None:
    """The estimator is asked again, with the room that pool has; a usage that contradicts it is held against it."""
    estimator = Scripted(mean_tokens=tokens - 500, conservative_tokens=tokens)
    owner = steered(router(estimator=estimator, short_max_model_len=16_384), spill_from=Pool.LONG)
    decision = owner.route(asked(LONG), draw=LOW)
    assert decision.pool is pool
    assert estimator.rooms[:2] == [8092, 16_284]
    correction = owner.complete(decision, Usage(16_400))
    assert correction is not None
    assert correction.misroute is (Misroute.UNDER if pool is Pool.SHORT else None)


@pytest.mark.parametrize(("spill_from", "most"), [(None, 8192), (Pool.SHORT, 8192), (Pool.LONG, 16_384)])
def test_larger_bodies_are_worth_reading_only_while_they_could_go_short(spill_from: Pool | None, most: int) -> None:
    """What bounds them is the threshold, and the short pool's context while the long pool is relieved."""
    owner = steered(router(short_max_model_len=16_384), spill_from=spill_from, share=0.5)
    assert owner.most_short_tokens == most


def test_nothing_spills_to_a_short_pool_that_holds_no_more_than_the_threshold() -> None:
    """Nor is the estimator asked for it, nor the share used up."""
    estimator = Scripted(mean_tokens=9000, conservative_tokens=9000)
    owner = steered(router(estimator=estimator), spill_from=Pool.LONG)
    assert owner.route(asked(LONG), draw=HIGH).pool is Pool.LONG
    assert len(estimator.rooms) == 1


def test_only_a_share_of_the_long_pools_requests_spills() -> None:
    """As told, of those that could."""
    owner = steered(router(short_max_model_len=16_384), spill_from=Pool.LONG, share=0.25)
    facts = replace(TEXT, output_tokens=9000)
    pools = Counter(owner.route(asked(facts), draw=HIGH).pool for _ in range(100))
    assert pools == {Pool.SHORT: 25, Pool.LONG: 75}


# Answers from another pool, or none


FULL = Usage(7500, 692, finish=Finish.LENGTH)
"""An answer that filled a context of 8,192 tokens."""


@pytest.mark.parametrize(("elsewhere", "truncated"), [(False, True), (True, False)])
def test_an_answer_is_truncated_only_by_the_pool_that_gave_it(*, elsewhere: bool, truncated: bool) -> None:
    """The long pool's limit at the same number is the client's or chance; the judgement is the same, and it teaches."""
    owner = router(estimator=Scripted(mean_tokens=6000, conservative_tokens=6500))
    decision = owner.route(asked(replace(LONG, output_tokens=1500)), draw=LOW)
    assert decision.pool is Pool.SHORT
    correction = owner.complete(decision, FULL, elsewhere=elsewhere)
    assert correction is not None
    assert (correction.truncated, correction.misroute, correction.learned) == (truncated, Misroute.UNDER, True)


def test_the_long_pool_truncates_nothing() -> None:
    """Its context is not known here."""
    assert not completed(router(threshold=2000), replace(LONG, output_tokens=1500), FULL).truncated


def test_truncation_is_told_by_what_the_short_pool_holds() -> None:
    """Not by the threshold, which may be lower."""
    owner = router(
        threshold=4096, short_max_model_len=8192, estimator=Scripted(mean_tokens=900, conservative_tokens=999)
    )
    facts = replace(LONG, output_tokens=1500)
    cut_at = {
        tokens: completed(owner, facts, Usage(tokens - 700, 700, finish=Finish.LENGTH)) for tokens in (4096, 8192)
    }
    assert {tokens: correction.truncated for tokens, correction in cut_at.items()} == {4096: False, 8192: True}


def test_a_refusal_teaches_that_the_prompt_is_longer_than_its_room() -> None:
    """One token more than the context leaves beside the output: all that can be known of it."""
    estimator = Scripted(mean_tokens=6000, conservative_tokens=6500)
    owner = router(estimator=estimator, short_max_model_len=9000)
    decision = owner.route(asked(replace(LONG, output_tokens=1000)), draw=LOW)
    assert owner.complete(decision, None, refused=True) is None
    assert [usage for _, _, usage in estimator.taught] == [Usage(8001)]
    assert owner.observing == 0


@pytest.mark.parametrize(
    ("facts", "mean_tokens"),
    [
        (replace(LONG, output_tokens=1000), 7192 + 1),
        (replace(LONG, output_tokens=1000, prompt_count=2), 6000),
    ],
)
def test_a_refusal_that_says_nothing_new_teaches_nothing(facts: RequestFacts, mean_tokens: int) -> None:
    """Where the estimate was longer still, the mistake was another's; of several prompts nobody knows which it was."""
    estimator = Scripted(mean_tokens=mean_tokens, conservative_tokens=mean_tokens)
    owner = router(estimator=estimator)
    owner.complete(owner.route(asked(facts), draw=LOW), None, refused=True)
    assert estimator.taught == []


def test_a_refusal_of_an_answer_that_nobody_limits_teaches_nothing() -> None:
    """It is then refused for the prompt alone, which no budget of ours was about."""
    estimator = Scripted(mean_tokens=3000, conservative_tokens=3500)
    owner = router(estimator=estimator, budget_rules=BudgetRules(undeclared_output_tokens=100))
    owner.complete(owner.route(asked(replace(LONG, output_tokens=None)), draw=LOW), None, refused=True)
    assert estimator.taught == []


def test_a_refusal_of_a_request_that_is_not_observed_teaches_nothing() -> None:
    """There is no lesson with it."""
    estimator = Scripted(mean_tokens=6000, conservative_tokens=6500)
    owner = router(estimator=estimator)
    owner.complete(owner.route(asked(LONG), draw=HIGH), None, refused=True)
    assert estimator.taught == []


# What is kept


def test_what_was_learned_can_be_taken_over() -> None:
    """Ratios and outputs, by a router that knows nothing yet."""
    old, new = (router(share=0.0, learning_samples=ENOUGH, outputs=OutputModel(ONE_IN_TEN)) for _ in range(2))
    learned_outputs(old)
    new.absorb(old.snapshot())
    assert new.ratios() == old.ratios()
    assert new.route(asked(UNDECLARED), draw=HIGH).pool is Pool.SHORT
    assert new.snapshot() == old.snapshot()


def test_a_router_without_learned_outputs_keeps_and_takes_none() -> None:
    """The operator's rule stands for them."""
    teacher, owner = router(share=0.0, outputs=OutputModel(ONE_IN_TEN)), router()
    learned_outputs(teacher)
    owner.absorb(teacher.snapshot())
    assert owner.snapshot().outputs == OutputState()
    assert owner.ratios() == teacher.ratios()


# Real requests


def judged(owner: Router, row: Measured, tokenizer: int, *, teach: bool = True) -> tuple[Decision, Misroute | None]:
    """Route a request and complete it with the truth; whether that contradicts the decision, observed or not."""
    request, *truths = row
    decision = owner.route(request, draw=LOW)
    output_tokens = request.facts.output_tokens
    assert output_tokens is not None
    owner.complete(decision, Usage(truths[tokenizer]) if teach else None)
    return decision, judge(decision.pool, truths[tokenizer] + output_tokens, owner.policy.threshold_tokens)


@pytest.mark.parametrize("tokenizer", [0, 1], ids=["llama3", "qwen3"])
def test_hardly_a_real_request_goes_short_that_does_not_fit(measured_requests: list[Measured], tokenizer: int) -> None:
    """At most 0.5 % of chats in 18 kinds of text, learning from the first on, in any order."""
    for seed in range(3):
        owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))
        rows = random.Random(seed).sample(measured_requests, len(measured_requests))
        misroutes = Counter(judged(owner, row, tokenizer)[1] for row in rows)
        assert misroutes[Misroute.UNDER] < 0.005 * len(rows)
        assert misroutes[Misroute.OVER] < 0.1 * len(rows)


@pytest.mark.parametrize("tokenizer", [0, 1], ids=["llama3", "qwen3"])
def test_hardly_a_made_request_goes_short_that_does_not_fit(made_requests: list[Measured], tokenizer: int) -> None:
    """Every kind of text the demo has, a third of it beside tools or in short turns; each body seen three times."""
    for seed in range(3):
        owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))
        rows = random.Random(seed).sample(made_requests * 3, 3 * len(made_requests))
        misroutes = Counter(judged(owner, row, tokenizer)[1] for row in rows)
        assert misroutes[Misroute.UNDER] < 0.005 * len(rows)
        assert misroutes[None] > 0.75 * len(rows)


@pytest.mark.parametrize("source", ["measured_requests", "made_requests"])
@pytest.mark.parametrize("threshold", [2000, 8192])
def test_while_cold_nothing_goes_short_that_might_not_fit(
    request: pytest.FixtureRequest, source: str, threshold: int
) -> None:
    """Without a single answer learned, each short decision is certain, and two tokenizers confirm it."""
    rows: list[Measured] = request.getfixturevalue(source)
    owner, short = router(threshold=threshold), 0
    for row in rows:
        for tokenizer in (0, 1):
            decision, misroute = judged(owner, row, tokenizer, teach=False)
            assert misroute is not Misroute.UNDER
            assert decision.pool is Pool.LONG or decision.provenance is Provenance.CERTAIN
            short += decision.pool is Pool.SHORT
    assert short > 0
