import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.budget import BudgetRules, budget_of, certain_prompt_tokens
from extproc.routing.values import Budget, Estimate, RequestFacts

RULES = BudgetRules(template_tokens=100, template_tokens_per_message=10, template_tokens_per_tool=20)
ESTIMATE = Estimate(mean_tokens=250, conservative_tokens=300, calibrated=True)
TEXT = RequestFacts(text_bytes=1000, message_count=2, output_tokens=16)
"""Certainly no more than 1000 + 100 + 2 · 10 tokens."""


def test_a_budget_is_the_estimate_and_the_output() -> None:
    """The margin stays in the conservative number; the certain bound stands beside them."""
    assert budget_of(TEXT, ESTIMATE, RULES) == Budget(
        prompt_tokens=300, mean_prompt_tokens=250, certain_prompt_tokens=1120, output_tokens=16, calibrated=True
    )


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        (RequestFacts(), 0),
        (RequestFacts(token_ids=500), 0),
        (RequestFacts(text_bytes=1), 101),
        (RequestFacts(message_count=3), 130),
        (RequestFacts(text_bytes=1000, message_count=3), 1130),
        (RequestFacts(text_bytes=1000, structure_bytes=400, message_count=3, tool_count=2), 1570),
    ],
)
def test_the_certain_bound_allows_a_token_a_byte_and_the_template(facts: RequestFacts, tokens: int) -> None:
    """Structure counts twice, since it is written anew with indentation; messages cost even when they are empty."""
    assert certain_prompt_tokens(facts, RULES) == tokens


def test_no_estimate_exceeds_what_is_certain() -> None:
    """An absurd ratio cannot make more tokens than bytes and template do."""
    budget = budget_of(TEXT, Estimate(10**9, 10**10, calibrated=True), RULES)
    assert (budget.mean_prompt_tokens, budget.prompt_tokens) == (1120, 1120)


@pytest.mark.parametrize(("message_count", "prompt"), [(10, 300), (40, 400), (1000, 10_000)])
def test_messages_cost_even_where_their_text_is_short(message_count: int, prompt: int) -> None:
    """A thousand empty messages are a long prompt, though they hold no text to estimate by."""
    facts = RequestFacts(text_bytes=1000, message_count=message_count, output_tokens=16)
    budget = budget_of(facts, ESTIMATE, RULES)
    assert (budget.prompt_tokens, budget.mean_prompt_tokens) == (prompt, 250)


def test_token_ids_count_exactly() -> None:
    """No ratio is needed for them, so they are calibrated whatever the estimator says."""
    budget = budget_of(RequestFacts(token_ids=500, output_tokens=16), Estimate(0, 0, calibrated=False), RULES)
    assert budget == Budget(
        prompt_tokens=500, mean_prompt_tokens=500, certain_prompt_tokens=500, output_tokens=16, calibrated=True
    )


@pytest.mark.parametrize(("token_ids", "prompt", "mean", "certain"), [(200, 300, 250, 1100), (5000, 5000, 5000, 5000)])
def test_of_ids_and_text_the_longer_prompt_decides(token_ids: int, prompt: int, mean: int, certain: int) -> None:
    """A list may hold both; each element has a context of its own."""
    facts = RequestFacts(text_bytes=1000, token_ids=token_ids, prompt_count=2, output_tokens=16)
    budget = budget_of(facts, ESTIMATE, RULES)
    assert (budget.prompt_tokens, budget.mean_prompt_tokens, budget.certain_prompt_tokens) == (prompt, mean, certain)


@pytest.mark.parametrize(
    ("cap", "prompt", "mean", "certain"), [(50, 50, 50, 50), (270, 270, 250, 270), (2000, 300, 250, 1120)]
)
def test_a_cap_bounds_every_number_of_the_prompt(cap: int, prompt: int, mean: int, certain: int) -> None:
    """The server cuts the prompt to it."""
    facts = RequestFacts(text_bytes=1000, message_count=2, prompt_cap_tokens=cap)
    budget = budget_of(facts, ESTIMATE, RULES)
    assert (budget.prompt_tokens, budget.mean_prompt_tokens, budget.certain_prompt_tokens) == (prompt, mean, certain)


@pytest.mark.parametrize(
    ("declared", "setting", "output"),
    [(16, None, 16), (16, 500, 16), (0, 500, 0), (None, 500, 500), (None, None, None)],
)
def test_output_nobody_limits_is_the_operators_to_say(
    declared: int | None, setting: int | None, output: int | None
) -> None:
    """A client's limit wins, also a zero; without either there is no total."""
    facts = RequestFacts(text_bytes=1000, output_tokens=declared)
    assert budget_of(facts, ESTIMATE, BudgetRules(undeclared_output_tokens=setting)).output_tokens == output


def test_a_cold_estimate_leaves_a_budget_of_text_uncalibrated() -> None:
    """The policy must know that the number rests on nothing learned."""
    assert not budget_of(TEXT, Estimate(250, 300, calibrated=False), RULES).calibrated


COUNTS = st.integers(0, 10**6)


@given(
    facts=st.builds(
        RequestFacts,
        text_bytes=COUNTS,
        token_ids=COUNTS,
        message_count=COUNTS,
        prompt_cap_tokens=st.none() | COUNTS,
    ),
    estimate=st.tuples(COUNTS, COUNTS),
)
def test_the_mean_never_exceeds_the_margin_nor_that_the_certain_bound(
    facts: RequestFacts, estimate: tuple[int, int]
) -> None:
    """Whatever facts and estimate say, the three numbers keep their order."""
    mean, conservative = sorted(estimate)
    budget = budget_of(facts, Estimate(mean, conservative, calibrated=True), RULES)
    assert budget.mean_prompt_tokens <= budget.prompt_tokens <= budget.certain_prompt_tokens


def test_no_real_tokenizer_makes_more_than_the_certain_bound(
    measured_requests: list[tuple[RequestFacts, int, int]],
) -> None:
    """Llama-3.1's and Qwen3's, with their chat templates, on bodies in 18 kinds of text."""
    rules = BudgetRules()
    exceeded = [
        facts for facts, *truths in measured_requests if facts.flaw or certain_prompt_tokens(facts, rules) < max(truths)
    ]
    assert exceeded == []
