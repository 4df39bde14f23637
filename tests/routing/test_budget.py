import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.budget import BudgetRules, budget_of
from extproc.routing.values import Budget, Estimate, RequestFacts

RULES = BudgetRules(template_tokens=100, template_tokens_per_message=10, template_tokens_per_tool=20)
ESTIMATE = Estimate(mean_tokens=250, conservative_tokens=300, calibrated=True)
TEXT = RequestFacts(text_bytes=1000, message_count=2, output_tokens=16)
"""Certainly no more than 1000 + 100 + 2 · 10 tokens."""
Measured = tuple[RequestFacts, int, int]
Measure = Callable[[str, dict[str, Any]], Measured]


def certain_prompt_tokens(facts: RequestFacts, rules: BudgetRules) -> int:
    """The bound alone: no estimate moves it."""
    return budget_of(facts, Estimate(0, 0, calibrated=False), rules).certain_prompt_tokens


def test_a_budget_is_the_estimate_and_the_output() -> None:
    """The margin stays in the conservative number, with half of what two messages may take around them."""
    assert budget_of(TEXT, ESTIMATE, RULES) == Budget(
        prompt_tokens=310, mean_prompt_tokens=250, certain_prompt_tokens=1120, output_tokens=16, calibrated=True
    )


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        (RequestFacts(), 0),
        (RequestFacts(token_ids=500), 500),
        (RequestFacts(text_bytes=1), 101),
        (RequestFacts(message_count=3), 130),
        (RequestFacts(text_bytes=1000, message_count=3), 1130),
        (RequestFacts(text_bytes=1000, structure_bytes=400, message_count=3, tool_count=2), 1570),
        (RequestFacts(text_bytes=1000, escape_bytes=90, message_count=1), 1200),
    ],
)
def test_the_certain_bound_allows_a_token_a_byte_and_the_template(facts: RequestFacts, tokens: int) -> None:
    """Structure counts twice, since it is written anew with indentation; messages cost even when they are empty."""
    assert certain_prompt_tokens(facts, RULES) == tokens


def test_no_estimate_exceeds_what_is_certain() -> None:
    """An absurd ratio cannot make more tokens than bytes and template do."""
    budget = budget_of(TEXT, Estimate(10**9, 10**10, calibrated=True), RULES)
    assert (budget.mean_prompt_tokens, budget.prompt_tokens) == (1120, 1120)


@pytest.mark.parametrize(
    ("message_count", "tool_count", "prompt"), [(0, 0, 300), (10, 0, 350), (1000, 0, 5300), (10, 5, 400)]
)
def test_framing_is_added_to_the_estimate(message_count: int, tool_count: int, prompt: int) -> None:
    """A ratio learned from long texts says nothing of a thousand short turns, nor of many small tools."""
    facts = RequestFacts(text_bytes=1000, message_count=message_count, tool_count=tool_count, output_tokens=16)
    budget = budget_of(facts, ESTIMATE, RULES)
    assert (budget.prompt_tokens, budget.mean_prompt_tokens) == (prompt, 250)


def test_messages_without_text_are_never_calibrated() -> None:
    """No ratio answers for them: they fit for certain, or go long."""
    assert not budget_of(RequestFacts(message_count=1000), Estimate(0, 0, calibrated=False), RULES).calibrated


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_mixed_list_is_never_calibrated(*, calibrated: bool) -> None:
    """The ratio of its longest text says nothing of another that may have more tokens."""
    estimate = Estimate(250, 300, calibrated=calibrated)
    assert budget_of(TEXT, estimate, RULES).calibrated is calibrated
    assert not budget_of(replace(TEXT, mixed=True), estimate, RULES).calibrated


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
    ("cap", "prompt", "mean", "certain"), [(50, 50, 50, 50), (270, 270, 250, 270), (2000, 310, 250, 1120)]
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


# Worst cases


def chat(*messages: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    """A chat body and its route."""
    return "/v1/chat/completions", {"messages": messages or [{"role": "user", "content": "a"}], **fields}


def responses(*items: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A body of the Responses API and its route."""
    return "/v1/responses", {"input": items}


def turns(*messages: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An Anthropic body and its route."""
    return "/v1/messages", {"messages": messages, "max_tokens": 1}


def tool(**parameters: Any) -> dict[str, Any]:
    """A tool definition of the fewest bytes."""
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


USE = {"type": "tool_use", "id": "", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "", "content": ""}
CALL = {"type": "function_call", "call_id": "", "name": "f"}
DIGITS = json.dumps([1] * 3000, separators=(",", ":"))
WORST = {
    "colours in a tool's answer": chat({"role": "tool", "content": "\x1b[1;31m" * 1000}),
    "control characters in a tool's answer": chat({"role": "tool", "content": "\x1b\x00\x07" * 1000}),
    "quotes in a tool's answer": chat({"role": "tool", "content": '"\\\n' * 1000}),
    "parts of a tool's answer": chat({"role": "tool", "content": [{"type": "text", "text": '"'}] * 1000}),
    "colours in a tool's output": responses({"type": "function_call_output", "output": "\x1b" * 3000}),
    "colours in a tool's result": turns({"role": "user", "content": [RESULT | {"content": "\x1b" * 3000}]}),
    "empty answers": chat(*[{"role": "tool", "content": ""}] * 500),
    "empty outputs": responses(*[{"type": "function_call_output", "output": ""}] * 500),
    "empty results": turns({"role": "user", "content": [RESULT] * 400}),
    "uses": turns({"role": "assistant", "content": [USE] * 400}),
    "uses and results": turns(
        {"role": "assistant", "content": [USE] * 400}, {"role": "user", "content": [RESULT] * 400}
    ),
    "arguments of numbers": responses(CALL | {"arguments": DIGITS}),
    "calls without arguments": responses(*[CALL | {"arguments": ""}] * 400),
    "calls with empty arguments": responses(*[CALL | {"arguments": "{}"}] * 400),
    "short turns": chat(*[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 500),
    "parts": chat({"role": "user", "content": [{"type": "text", "text": "a"}] * 3000}),
    "a long role": chat({"role": "\U00012345" * 1000, "content": "a"}),
    "odd roles": chat(*[{"role": "\U00012345" * 4, "content": ""}] * 500),
    "rare characters": chat({"role": "user", "content": "\U00012345" * 1000}),
    "small tools": chat(tools=[tool()] * 300),
    "tools of numbers": chat(tools=[tool(enum=[1] * 3000)]),
    "tools of lists": chat(tools=[tool(enum=[[1]] * 3000)]),
    "tools of objects": chat(tools=[tool(enum=[{"": 0}] * 3000)]),
    "nested tools": chat(tools=[tool(enum=[[[[[[[1]]]]]]] * 500)]),
}
"""What costs the most tokens for its bytes and its messages."""


@pytest.mark.parametrize(("path", "fields"), WORST.values(), ids=WORST.keys())
def test_the_worst_case_is_within_the_certain_bound(measure: Measure, path: str, fields: dict[str, Any]) -> None:
    """Counted with two real tokenizers and chat templates."""
    facts, *truths = measure(path, fields)
    assert facts.flaw is None
    assert certain_prompt_tokens(facts, BudgetRules()) >= max(truths)


@pytest.mark.parametrize(
    "case", ["short turns", "parts", "empty answers", "empty results", "uses and results", "calls without arguments"]
)
def test_framing_alone_covers_messages_of_hardly_any_text(measure: Measure, case: str) -> None:
    """Half of the allowance is about what the two templates take."""
    facts, *truths = measure(*WORST[case])
    assert budget_of(facts, Estimate(0, 0, calibrated=True), BudgetRules()).prompt_tokens >= 0.85 * max(truths)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 10**9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=60,
)


@settings(max_examples=60)
@given(value=JSON_VALUES, text=st.text(max_size=40))
def test_any_structure_and_any_answer_are_within_the_certain_bound(measure: Measure, value: Any, text: str) -> None:
    """Repeated, so that no allowance of the template's hides what they cost."""
    answer = {"role": "tool", "content": text * 100}
    facts, *truths = measure(*chat(answer, tools=[tool(enum=[value] * 100)]))
    assert certain_prompt_tokens(facts, BudgetRules()) >= max(truths)


def test_no_body_of_the_demos_text_exceeds_the_certain_bound(made_requests: list[Measured]) -> None:
    """Prose in seven languages, code, records, with tools and without, in short turns and long."""
    rules = BudgetRules()
    assert [facts for facts, *truths in made_requests if certain_prompt_tokens(facts, rules) < max(truths)] == []
