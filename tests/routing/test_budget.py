import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.budget import BudgetRules, bounds_of, budget_of
from extproc.routing.request import Request
from extproc.routing.values import Budget, Estimate, RequestFacts

RULES = BudgetRules(template_tokens=100, template_tokens_per_message=10, template_tokens_per_tool=20)
ESTIMATE = Estimate(mean_tokens=250, conservative_tokens=300, calibrated=True)
TEXT = RequestFacts(text_bytes=1000, message_count=2, output_tokens=16)
"""Certainly no more than 1000 + 100 + 2 · 10 tokens."""
Measured = tuple[Request, int, int]
Measure = Callable[[str, dict[str, Any]], Measured]


def certain_prompt_tokens(facts: RequestFacts, rules: BudgetRules) -> int:
    """The bound alone."""
    return bounds_of(facts, rules).certain_prompt_tokens


def estimated(facts: RequestFacts, estimate: Estimate = ESTIMATE) -> Budget:
    """The budget of a request whose bounds do not settle it."""
    return budget_of(facts, bounds_of(facts, RULES), estimate)


def test_without_an_estimate_a_budget_is_what_is_certain() -> None:
    """The bound stands where an estimate would, and there is no mean to report."""
    assert bounds_of(TEXT, RULES) == Budget(
        certain_prompt_tokens=1120, output_tokens=16, prompt_tokens=1120, mean_prompt_tokens=None
    )


def test_a_budget_is_the_estimate_and_the_output() -> None:
    """The margin stays in the conservative number; what is certain stays as it was."""
    assert estimated(TEXT) == Budget(
        certain_prompt_tokens=1120, output_tokens=16, prompt_tokens=300, mean_prompt_tokens=250
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
    budget = estimated(TEXT, Estimate(10**9, 10**10, calibrated=True))
    assert (budget.mean_prompt_tokens, budget.prompt_tokens) == (1120, 1120)


def test_token_ids_count_exactly() -> None:
    """No estimate is needed for them, and none changes them."""
    facts = RequestFacts(token_ids=500, output_tokens=16)
    assert bounds_of(facts, RULES) == Budget(certain_prompt_tokens=500, output_tokens=16, prompt_tokens=500)
    for estimate in (Estimate(0, 0, calibrated=False), Estimate(900, 900, calibrated=True)):
        budget = estimated(facts, estimate)
        assert (budget.prompt_tokens, budget.mean_prompt_tokens) == (500, 500)


@pytest.mark.parametrize(("token_ids", "prompt", "mean", "certain"), [(200, 300, 250, 1100), (5000, 5000, 5000, 5000)])
def test_of_ids_and_text_the_longer_prompt_decides(token_ids: int, prompt: int, mean: int, certain: int) -> None:
    """A list may hold both; each element has a context of its own."""
    facts = RequestFacts(text_bytes=1000, token_ids=token_ids, prompt_count=2, output_tokens=16)
    budget = estimated(facts)
    assert (budget.prompt_tokens, budget.mean_prompt_tokens, budget.certain_prompt_tokens) == (prompt, mean, certain)


@pytest.mark.parametrize(
    ("cap", "prompt", "mean", "certain"), [(50, 50, 50, 50), (270, 270, 250, 270), (2000, 300, 250, 1120)]
)
def test_a_cap_bounds_every_number_of_the_prompt(cap: int, prompt: int, mean: int, certain: int) -> None:
    """The server cuts the prompt to it."""
    facts = RequestFacts(text_bytes=1000, message_count=2, prompt_cap_tokens=cap)
    budget = estimated(facts)
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
    bounds = bounds_of(facts, BudgetRules(undeclared_output_tokens=setting))
    assert (bounds.output_tokens, budget_of(facts, bounds, ESTIMATE).output_tokens) == (output, output)


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
    budget = estimated(facts, Estimate(mean, conservative, calibrated=True))
    assert budget.mean_prompt_tokens is not None
    assert budget.mean_prompt_tokens <= budget.prompt_tokens <= budget.certain_prompt_tokens
    assert budget.certain_prompt_tokens == certain_prompt_tokens(facts, RULES)
    assert budget.prompt_tokens >= min(facts.token_ids, budget.certain_prompt_tokens)


def test_no_real_tokenizer_makes_more_than_the_certain_bound(
    measured_requests: list[Measured],
) -> None:
    """Llama-3.1's and Qwen3's, with their chat templates, on bodies in 18 kinds of text."""
    rules = BudgetRules()
    exceeded = [
        request.facts
        for request, *truths in measured_requests
        if request.facts.flaw or certain_prompt_tokens(request.facts, rules) < max(truths)
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


def nest(levels: int, value: Any = 1, around: str = "[]") -> Any:
    """A value in so many lists, or objects, around each other."""
    for _ in range(levels):
        value = [value] if around == "[]" else {"": value}
    return value


def hidden(levels: int) -> Any:
    """Lists whose brackets seem to be closed at once, where strings are not told apart."""
    value: Any = 1
    for _ in range(levels):
        value = ["]", value, '\\"[']
    return value


def call(arguments: str) -> dict[str, Any]:
    """A call among those of a chat's message."""
    return {"id": "", "type": "function", "function": {"name": "f", "arguments": arguments}}


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
    "tools nested as deep as is free": chat(tools=[tool(enum=[nest(15)] * 200)]),
    "tools nested deeper": chat(tools=[tool(enum=[nest(16)] * 200)]),
    "tools nested deep": chat(tools=[tool(enum=[nest(40)] * 50)]),
    "tools nested very deep": chat(tools=[tool(enum=nest(400))]),
    "leaves that lie deep": chat(tools=[tool(enum=nest(60, [1] * 1000))]),
    "tools of nested objects": chat(tools=[tool(enum=nest(100, around="{}"))]),
    "depth hidden by brackets in strings": chat(tools=[tool(enum=hidden(120))]),
    "arguments nested deep": responses(CALL | {"arguments": json.dumps(nest(300))}),
    "calls nested deep": chat({"role": "assistant", "tool_calls": [call(json.dumps(nest(300)))]}),
}
"""What costs the most tokens for its bytes and its messages."""


@pytest.mark.parametrize(("path", "fields"), WORST.values(), ids=WORST.keys())
def test_the_worst_case_is_within_the_certain_bound(measure: Measure, path: str, fields: dict[str, Any]) -> None:
    """Counted with two real tokenizers and chat templates."""
    request, *truths = measure(path, fields)
    assert request.facts.flaw is None
    assert certain_prompt_tokens(request.facts, BudgetRules()) >= max(truths)


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
    request, *truths = measure(*chat(answer, tools=[tool(enum=[value] * 100)]))
    assert certain_prompt_tokens(request.facts, BudgetRules()) >= max(truths)


def test_no_body_of_the_demos_text_exceeds_the_certain_bound(made_requests: list[Measured]) -> None:
    """Prose in seven languages, code, records, with tools and without, in short turns and long."""
    rules = BudgetRules()
    exceeded = [
        request.facts
        for request, *truths in made_requests
        if request.facts.flaw or certain_prompt_tokens(request.facts, rules) < max(truths)
    ]
    assert exceeded == []
