import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.budget import BudgetRules
from extproc.routing.estimators import EmaEstimator, EmaRules, FixedRatioEstimator
from extproc.routing.policy import SinglePoolPolicy, TokenBudgetPolicy
from extproc.routing.request import flawed
from extproc.routing.router import ObserveRules, Router
from extproc.routing.values import (
    Category,
    Correction,
    Decision,
    Flaw,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Usage,
)

TEXT = RequestFacts(text_bytes=4000, total_text_bytes=4000, message_count=1, output_tokens=100, model="m")
LOW, HIGH = 0.0, 0.999
"""A draw below every share, and one above."""


def router(
    *, threshold: int = 8192, share: float = 0.05, max_in_flight: int = 256, learning_samples: int = 0
) -> Router:
    """A router that observes a share, having nothing to learn unless told so."""
    return Router(
        estimator=EmaEstimator(EmaRules(learning_samples=learning_samples)),
        policy=TokenBudgetPolicy(threshold),
        observe_rules=ObserveRules(share=share, max_in_flight=max_in_flight),
    )


def completed(owner: Router, facts: RequestFacts, prompt_tokens: int) -> Correction:
    """Route and complete one request."""
    correction = owner.complete(owner.route(facts, draw=LOW), Usage(prompt_tokens))
    assert correction is not None
    return correction


# Routing


def test_a_decision_carries_all_that_completing_it_needs() -> None:
    """Facts, budget, and why: nothing is kept by request id."""
    decision = router().route(TEXT, draw=HIGH)
    assert (decision.pool, decision.reason) == (Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER)
    assert decision.provenance is Provenance.CERTAIN
    assert decision.facts is TEXT
    assert decision.budget is not None
    assert decision.budget.total_tokens == 1000 + 8 + 100


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flawed_request_goes_long_and_is_never_observed(flaw: Flaw) -> None:
    """There is no budget to correct and no text to learn from."""
    decision = router(learning_samples=100).route(flawed(flaw), draw=LOW)
    assert decision == Decision(Pool.LONG, Reason(flaw.value), Provenance.FALLBACK, flawed(flaw))


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
    completed(owner, TEXT, 1000)
    assert owner.policy.threshold_tokens == 4096
    assert [(ratio.model, ratio.samples) for ratio in owner.ratios()] == [("m", 1)]


def test_the_operators_rules_for_budgets_are_used() -> None:
    """Undeclared output goes long by default, or is reserved as told."""
    undeclared = replace(TEXT, output_tokens=None)
    assert router().route(undeclared, draw=HIGH).reason is Reason.OUTPUT_UNDECLARED
    rules = BudgetRules(undeclared_output_tokens=100)
    owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192), budget_rules=rules)
    assert owner.route(undeclared, draw=HIGH).pool is Pool.SHORT


def test_baselines_fit_in_the_same_place() -> None:
    """A fixed ratio is warm from the start; a single pool still observes, so that it can be compared."""
    facts = replace(TEXT, text_bytes=20_000, total_text_bytes=20_000)
    fixed = Router(estimator=FixedRatioEstimator(), policy=TokenBudgetPolicy(8192))
    assert fixed.route(facts, draw=HIGH).reason is Reason.FITS
    assert not fixed.route(facts, draw=HIGH).observe
    single = Router(estimator=EmaEstimator(), policy=SinglePoolPolicy(8192))
    decision = single.route(facts, draw=HIGH)
    assert (decision.reason, decision.observe) == (Reason.SINGLE_POOL, True)


# Observing


@pytest.mark.parametrize(("draw", "observe"), [(0.0, True), (0.049, True), (0.05, False), (0.999, False)])
def test_a_learned_category_is_observed_by_its_share(draw: float, *, observe: bool) -> None:
    """A draw below 0.05 is observed, others are not."""
    assert router(share=0.05).route(TEXT, draw=draw).observe is observe


@pytest.mark.parametrize(("share", "observe"), [(0.0, False), (1.0, True)])
def test_none_and_all_may_be_observed(share: float, *, observe: bool) -> None:
    """The ends of the setting mean what they say, at the ends of the draw."""
    assert {router(share=share).route(TEXT, draw=draw).observe for draw in (LOW, HIGH)} == {observe}


def test_streams_teach_where_the_server_sends_usage_unasked() -> None:
    """An operator whose vLLM forces usage into every stream says so, and then they are observed."""
    told = ObserveRules(share=1.0, streams_carry_usage=True)
    owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192), observe_rules=told)
    assert owner.route(replace(TEXT, usage_expected=False), draw=LOW).observe
    assert not router(share=1.0).route(replace(TEXT, usage_expected=False), draw=LOW).observe


def test_while_learning_every_answer_is_observed() -> None:
    """Whatever the draw, until the category has its samples; another category still has none."""
    owner = router(share=0.0, learning_samples=3)
    for _ in range(3):
        decision = owner.route(TEXT, draw=HIGH)
        assert decision.observe
        owner.complete(decision, Usage(1000))
    assert not owner.route(TEXT, draw=HIGH).observe
    assert owner.route(replace(TEXT, category=Category.CODE), draw=HIGH).observe


LONG = replace(TEXT, text_bytes=40_000, total_text_bytes=40_000)
"""Not certain, whatever the estimate."""


@pytest.mark.parametrize(
    "facts",
    [
        replace(TEXT, teaches=False),
        replace(LONG, teaches=False, output_tokens=None),
        replace(LONG, teaches=False, prompt_count=2),
        replace(LONG, usage_expected=False),
    ],
)
def test_an_answer_that_can_neither_teach_nor_judge_is_not_observed(facts: RequestFacts) -> None:
    """A certain decision needs no judgement; output without a limit and several prompts allow none."""
    assert not router(share=1.0, learning_samples=100).route(facts, draw=LOW).observe


def test_what_cannot_teach_is_observed_by_its_share_to_be_judged() -> None:
    """Text beside tools, say: never in full, but misroutes among them must come to light."""
    owner = router(share=0.05, learning_samples=100)
    facts = replace(LONG, structure_bytes=8000, teaches=False)
    assert not owner.route(facts, draw=HIGH).observe
    decision = owner.route(facts, draw=LOW)
    correction = owner.complete(decision, Usage(5000))
    assert decision.observe
    assert correction is not None
    assert (correction.learned, correction.judged, correction.misroute) == (False, True, Misroute.OVER)


def test_answers_observed_at_once_are_bounded() -> None:
    """The bound holds while learning too, and each completion makes room for one."""
    owner = router(share=1.0, max_in_flight=3, learning_samples=100)
    decisions = [owner.route(TEXT, draw=LOW) for _ in range(5)]
    assert [decision.observe for decision in decisions] == [True, True, True, False, False]
    assert owner.observing == 3
    owner.complete(decisions[4], None)
    assert not owner.route(TEXT, draw=LOW).observe
    owner.complete(decisions[0], None)
    assert owner.route(TEXT, draw=LOW).observe
    assert not owner.route(TEXT, draw=LOW).observe


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.none() | st.integers(1, 5000)), max_size=30),
    st.randoms(use_true_random=False),
)
def test_completing_in_any_order_releases_every_observation(
    requests: list[tuple[float, int | None]], order: random.Random
) -> None:
    """With usage or without, observed or not, the count comes back to zero and is never off in between."""
    owner = router(share=0.5, max_in_flight=10)
    open_decisions = [(owner.route(TEXT, draw=draw), tokens) for draw, tokens in requests]
    order.shuffle(open_decisions)
    while open_decisions:
        assert owner.observing == sum(decision.observe for decision, _ in open_decisions) <= 10
        decision, tokens = open_decisions.pop()
        correction = owner.complete(decision, None if tokens is None else Usage(tokens))
        assert (correction is None) == (tokens is None)
    assert owner.observing == 0


# Correcting


def test_a_correction_holds_the_estimate_that_was_made() -> None:
    """Not what the estimator would say after it learned, nor after others did meanwhile."""
    owner = router()
    decision = owner.route(TEXT, draw=LOW)
    for _ in range(5):
        completed(owner, TEXT, 2000)
    correction = owner.complete(decision, Usage(500, 7))
    assert correction == Correction(
        pool=Pool.SHORT,
        category=Category.PROSE,
        provenance=Provenance.CERTAIN,
        estimated_prompt_tokens=1000,
        usage=Usage(500, 7),
        learned=True,
        judged=True,
    )
    assert correction.relative_error == 1.0


def test_an_answer_that_was_not_asked_for_still_corrects_but_need_not_teach() -> None:
    """Whoever drives the core may complete everything with the truth; the estimator decides what it learns."""
    owner = router()
    correction = completed(owner, replace(TEXT, teaches=False), 1000)
    assert not correction.learned
    assert owner.ratios() == []


def test_the_estimate_of_several_prompts_is_compared_with_their_sum() -> None:
    """Usage answers for all of them: 1000 tokens for the longest are 2500 for the bytes of all."""
    correction = completed(router(), replace(TEXT, total_text_bytes=10_000, prompt_count=3), 2500)
    assert correction.estimated_prompt_tokens == 2500
    assert correction.relative_error == 0.0


def test_prompts_without_text_are_compared_as_they_are() -> None:
    """Token ids carry no bytes to spread an estimate over."""
    facts = RequestFacts(token_ids=40, prompt_count=2, output_tokens=1, teaches=False)
    assert completed(router(), facts, 70).estimated_prompt_tokens == 40


@pytest.mark.parametrize(
    ("facts", "prompt_tokens", "misroute"),
    [
        (TEXT, 8092, None),
        (TEXT, 8093, Misroute.UNDER),
        (replace(TEXT, text_bytes=100_000, total_text_bytes=100_000), 8092, Misroute.OVER),
        (replace(TEXT, text_bytes=100_000, total_text_bytes=100_000), 8093, None),
        (replace(TEXT, total_text_bytes=8000, prompt_count=2), 8093, None),
        (RequestFacts(token_ids=5000, prompt_count=2, output_tokens=1, teaches=False), 10_000, None),
        (RequestFacts(token_ids=5000, output_tokens=1, teaches=False), 5000, None),
        (replace(TEXT, output_tokens=None), 10, None),
    ],
)
def test_a_decision_is_judged_where_there_is_a_truth(
    facts: RequestFacts, prompt_tokens: int, misroute: Misroute | None
) -> None:
    """One prompt, and an output with a limit: the usage of several says nothing of the longest."""
    assert completed(router(), facts, prompt_tokens).misroute is misroute


# Real requests


@pytest.mark.parametrize("tokenizer", [0, 1], ids=["llama3", "qwen3"])
def test_hardly_a_real_request_goes_short_that_does_not_fit(
    measured_requests: list[tuple[RequestFacts, int, int]], tokenizer: int
) -> None:
    """At most 0.5 % of chats in 18 kinds of text, learning from the first on, in any order."""
    for seed in range(3):
        owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))
        rows = random.Random(seed).sample(measured_requests, len(measured_requests))
        misroutes = Counter(completed(owner, facts, truths[tokenizer]).misroute for facts, *truths in rows)
        assert misroutes[Misroute.UNDER] < 0.005 * len(rows)
        assert misroutes[Misroute.OVER] < 0.1 * len(rows)


@pytest.mark.parametrize("tokenizer", [0, 1], ids=["llama3", "qwen3"])
def test_hardly_a_made_request_goes_short_that_does_not_fit(
    made_requests: list[tuple[RequestFacts, int, int]], tokenizer: int
) -> None:
    """Every kind of text the demo has, a third of it beside tools or in short turns; each body seen three times."""
    for seed in range(3):
        owner = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))
        rows = random.Random(seed).sample(made_requests * 3, 3 * len(made_requests))
        misroutes = Counter(completed(owner, facts, truths[tokenizer]).misroute for facts, *truths in rows)
        assert misroutes[Misroute.UNDER] < 0.005 * len(rows)
        assert misroutes[None] > 0.75 * len(rows)
