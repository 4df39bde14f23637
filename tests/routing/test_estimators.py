import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.estimators import (
    ALL_MODELS,
    COLD_BYTES_PER_TOKEN,
    MAX_RATIOS,
    MIN_BYTES_PER_TOKEN,
    EmaEstimator,
    EmaRules,
    Estimator,
    FixedRatioEstimator,
    LearnedRatio,
)
from extproc.routing.learned import EstimatorState
from extproc.routing.request import Request, read_request
from extproc.routing.text import Prompt
from extproc.routing.values import MAX_BYTES_PER_TOKEN, Category, Estimate, RequestFacts, Stage, Usage

Measure = Callable[[str, dict[str, Any]], tuple[Request, int, int]]
ROOM = 8000
TEXTS = {
    Category.PROSE: "plain words",
    Category.CODE: "call(x);",
    Category.JSON: '{"a":"b"}',
    Category.LOGS: "at 12 the wind rose 34 ",
    Category.DENSE: "1234567",
    Category.CJK: "中文",
    Category.CYRILLIC: "слово",
    Category.OTHER_SCRIPT: "λόγος",
    Category.TOOLS: "",
}


def asked(text_bytes: int = 1000, *, model: str = "m", category: Category = Category.PROSE, **others: Any) -> Request:
    """A request of one prompt of so many bytes, of a kind; what else its facts say."""
    if category is Category.TOOLS:
        others = {"structure_bytes": text_bytes} | others
    facts: dict[str, Any] = {"text_bytes": text_bytes, "total_text_bytes": text_bytes, "model": model} | others
    request = Request(RequestFacts(**facts), Prompt(pieces=[TEXTS[category]]))
    assert request.category() is category
    return request


def teach(estimator: Estimator, request: Request, prompt_tokens: int) -> bool:
    """Show an estimator what a request cost, as the router does."""
    estimator.estimate(request, ROOM)
    lesson = estimator.lesson(request, ROOM, estimated=True)
    return estimator.learn(request.facts, lesson, Usage(prompt_tokens))


def taught(*prompt_tokens: int, rules: EmaRules | None = None) -> EmaEstimator:
    """An estimator that saw prompts of 1000 bytes cost so many tokens, in order."""
    estimator, request = EmaEstimator(rules), asked()
    for tokens in prompt_tokens:
        assert teach(estimator, request, tokens)
    return estimator


def only(estimator: Estimator) -> LearnedRatio:
    """The one ratio learned."""
    (ratio,) = estimator.ratios()
    return ratio


# The formula


def test_before_any_answer_the_ratio_is_the_published_cold_start() -> None:
    """ceil(1001 / 4.0) tokens, and not to be decided by."""
    assert COLD_BYTES_PER_TOKEN == 4.0
    estimate = EmaEstimator().estimate(asked(1001), ROOM)
    assert estimate == Estimate(251, 251, calibrated=False, stage=Stage.SAMPLE, doubt=None, may_decide=False)


def test_the_averages_are_the_published_ones() -> None:
    """Worked by hand with β = 0.5, 1000 bytes costing 200, 500 and 400 tokens: ratios 5, 2 and 2.5.

    1st, weight 1:   error  1.0 from the cold 4.0;  σ = 1.0;   c = 5.0
    2nd, weight 1/2: error −3.0 from 5.0;           σ = 2.0;   c = 3.5
    3rd, weight 1/2: error −1.0 from 3.5;           σ = 1.5;   c = 3.0
    """
    rules = EmaRules(decay=0.5, margin_deviations=0.5)
    expected = [(5.0, 4.5), (3.5, 2.5), (3.0, 2.25)]
    for count, (mean, conservative) in enumerate(expected, start=1):
        estimator = taught(*(200, 500, 400)[:count], rules=rules)
        assert only(estimator) == LearnedRatio("m", Category.PROSE, mean, conservative, count)
    estimate = estimator.estimate(asked(900), ROOM)
    assert (estimate.mean_tokens, estimate.conservative_tokens) == (300, 400)


def test_warm_up_is_a_plain_mean() -> None:
    """While n is below 1/(1 − β) the weight is 1/n, so that the first answer does not rule for ever."""
    ratio = only(taught(125, 200, 250, 500, rules=EmaRules(decay=0.98)))
    assert ratio.bytes_per_token == pytest.approx((8 + 5 + 4 + 2) / 4)


def test_after_warm_up_the_past_weighs_beta() -> None:
    """50 answers of ratio 4, then one of 5: 0.98 · 4 + 0.02 · 5."""
    ratio = only(taught(*[250] * 50, 200))
    assert ratio.bytes_per_token == pytest.approx(4.02)


@pytest.mark.parametrize(("samples", "calibrated"), [(9, False), (10, True)])
def test_an_estimate_is_trusted_after_its_warm_up(samples: int, *, calibrated: bool) -> None:
    """At the tenth answer, and not before: until then it must not decide."""
    estimate = taught(*[250] * samples).estimate(asked(), ROOM)
    assert (estimate.calibrated, estimate.may_decide) == (calibrated, calibrated)


@pytest.mark.parametrize("samples", [0, 10])
def test_a_mixed_list_is_never_decided_by_its_estimate(samples: int) -> None:
    """The ratio of its longest text says nothing of another that may have more tokens."""
    assert not taught(*[250] * samples).estimate(asked(mixed=True), ROOM).may_decide


@pytest.mark.parametrize("room_tokens", [-5, 0, 249, 250, 10**9])
def test_the_room_makes_no_difference(room_tokens: int) -> None:
    """The published estimator spends the same effort on every request."""
    estimator = taught(*[240, 260] * 10)
    assert estimator.estimate(asked(), room_tokens) == estimator.estimate(asked(), ROOM)


def test_every_answer_is_wanted_while_learning() -> None:
    """Until the hundredth; those of other kinds and models still are."""
    assert EmaEstimator().learning(asked())
    assert taught(*[250] * 99).learning(asked())
    learned = taught(*[250] * 100)
    assert not learned.learning(asked())
    assert learned.learning(asked(category=Category.CODE))
    assert learned.learning(asked(model="other"))


def test_all_prompts_of_a_request_teach_by_their_sum() -> None:
    """Usage answers for the sum, the estimate is for the longest."""
    estimator = EmaEstimator()
    request = asked(1000, total_text_bytes=3000, prompt_count=3)
    assert teach(estimator, request, 1500)
    assert only(estimator).bytes_per_token == 2.0
    assert estimator.estimate(request, ROOM).mean_tokens == 500


# The chat template


@pytest.mark.parametrize(
    ("message_count", "tool_count", "conservative"), [(0, 0, 250), (10, 0, 330), (1000, 0, 8250), (10, 5, 410)]
)
def test_framing_is_added_to_the_margin(message_count: int, tool_count: int, conservative: int) -> None:
    """A ratio learned from long texts says nothing of a thousand short turns, nor of many small tools."""
    request = asked(message_count=message_count, tool_count=tool_count)
    estimate = taught(*[250] * 10).estimate(request, ROOM)
    assert (estimate.mean_tokens, estimate.conservative_tokens) == (250, conservative)


USE = {"type": "tool_use", "id": "", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "", "content": ""}
CALL = {"type": "function_call", "call_id": "", "name": "f", "arguments": ""}
FRAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "short turns": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 500},
    ),
    "parts": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 3000}]},
    ),
    "empty answers": ("/v1/chat/completions", {"messages": [{"role": "tool", "content": ""}] * 500}),
    "empty results": ("/v1/messages", {"messages": [{"role": "user", "content": [RESULT] * 400}], "max_tokens": 1}),
    "uses and results": (
        "/v1/messages",
        {
            "messages": [{"role": "assistant", "content": [USE] * 400}, {"role": "user", "content": [RESULT] * 400}],
            "max_tokens": 1,
        },
    ),
    "calls without arguments": ("/v1/responses", {"input": [CALL] * 400}),
}


@pytest.mark.parametrize(("path", "fields"), FRAMED.values(), ids=FRAMED.keys())
def test_framing_alone_covers_messages_of_hardly_any_text(measure: Measure, path: str, fields: dict[str, Any]) -> None:
    """It is about what two real templates take; without margin, what is added to the mean is the framing alone."""
    request, *truths = measure(path, fields)
    estimate = EmaEstimator().estimate(request, ROOM)
    assert estimate.conservative_tokens - estimate.mean_tokens >= 0.85 * max(truths)


# Whom an answer teaches


def test_what_must_not_teach_does_not() -> None:
    """Requests whose bytes do not answer for their tokens, and usage that is none."""
    estimator = EmaEstimator()
    assert not teach(estimator, asked(teaches=False), 250)
    assert not teach(estimator, asked(), 0)
    assert not teach(estimator, asked(), -5)
    assert estimator.ratios() == []


@pytest.mark.parametrize(
    ("request_", "learned"),
    [
        (asked(511), False),
        (asked(512), True),
        (asked(511, category=Category.TOOLS), False),
        (asked(512, total_text_bytes=3 * 512, prompt_count=3), True),
        (asked(600, total_text_bytes=3 * 512 - 1, prompt_count=3), False),
    ],
)
def test_prompts_that_are_mostly_template_do_not_teach(request_: Request, *, learned: bool) -> None:
    """512 bytes each, on average, are enough; what does not teach is not waited for either."""
    estimator = EmaEstimator()
    assert estimator.learning(request_) is learned
    assert teach(estimator, request_, 250) is learned


SCHEMA = {"type": "function", "function": {"name": "f", "description": "x" * 1000}}


@pytest.mark.parametrize(
    ("text", "learned"),
    [
        ("", Category.TOOLS),
        ("prose and more of it " * 40, Category.TOOLS),
        ("prose and more of it " * 160, None),
        ("prose and more of it " * 820, Category.PROSE),
        ("1,2.5,33\n" * 48, None),
        ("数据很多" * 36, None),
    ],
)
def test_tools_teach_alone_or_not_at_all(text: str, learned: Category | None) -> None:
    """About 1070 bytes of a tool: where they dominate they are learned as tools, where they are mixed as nothing."""
    body = {"messages": [{"role": "user", "content": text}], "tools": [SCHEMA]}
    request, estimator = read_request("/v1/chat/completions", json.dumps(body).encode()), EmaEstimator()
    assert estimator.learning(request) is (learned is not None)
    assert teach(estimator, request, request.facts.text_bytes // 4) is (learned is not None)
    assert [ratio.category for ratio in estimator.ratios()] == ([learned] if learned else [])


def test_models_and_categories_are_learned_apart() -> None:
    """What one costs says nothing of the other."""
    estimator = taught(500)
    teach(estimator, asked(category=Category.CODE), 400)
    teach(estimator, asked(model="other"), 200)
    assert {(ratio.model, ratio.category): ratio.bytes_per_token for ratio in estimator.ratios()} == {
        ("m", Category.PROSE): 2.0,
        ("m", Category.CODE): 2.5,
        ("other", Category.PROSE): 5.0,
    }
    assert estimator.estimate(asked(category=Category.LOGS), ROOM).mean_tokens == 250


def test_many_models_are_bounded_and_share_the_ratios_of_all() -> None:
    """Past the bound new models teach and use one ratio a category; those known before keep theirs."""
    estimator = EmaEstimator()
    for index in range(3 * MAX_RATIOS):
        category = tuple(Category)[index % len(Category)]
        teach(estimator, asked(model=f"m{index}", category=category), 250 if index < MAX_RATIOS else 500)
    ratios = estimator.ratios()
    assert len(ratios) == MAX_RATIOS + len(Category)
    assert sum(ratio.samples for ratio in ratios if ratio.model == ALL_MODELS) == 2 * MAX_RATIOS
    assert estimator.estimate(asked(model="never seen"), ROOM).mean_tokens == 500
    assert estimator.estimate(asked(model="m0"), ROOM).mean_tokens == 250


def test_asking_makes_no_room() -> None:
    """A client that invents models without ever getting an answer fills nothing."""
    estimator = EmaEstimator()
    for index in range(10):
        request = asked(model=f"m{index}")
        estimator.estimate(request, ROOM)
        estimator.lesson(request, ROOM, estimated=True)
        assert estimator.learning(request)
    assert estimator.ratios() == []


@pytest.mark.parametrize(("tokens", "learned"), [(125, True), (124, False), (62, False), (1, False)])
def test_runs_of_one_character_teach_nothing(tokens: int, *, learned: bool) -> None:
    """Beyond 8 bytes a token there is no text: one repetitive client must not drag along the ratio of all."""
    estimator = taught(*[250] * 100)
    before = only(estimator)
    assert teach(estimator, asked(), tokens) is learned
    assert (only(estimator) != before) is learned


# Text beside tools


def mixture(text_bytes: int, structure_bytes: int) -> Request:
    """Prose beside tool schemas."""
    return asked(text_bytes + structure_bytes, structure_bytes=structure_bytes)


def taught_both(*, prose: int = 10, tools: int = 10) -> EmaEstimator:
    """An estimator that saw prose at 4 bytes a token and tools at 2, each so many times."""
    estimator = taught(*[250] * prose, rules=EmaRules(margin_deviations=0.0))
    for _ in range(tools):
        assert teach(estimator, asked(category=Category.TOOLS), 500)
    return estimator


def test_text_and_tools_are_estimated_each_by_its_ratio() -> None:
    """8000 bytes of prose and 4000 of schemas are 2000 and 2000 tokens, not 3000 of prose."""
    assert taught_both().estimate(mixture(8000, 4000), ROOM) == Estimate(4000, 4000, calibrated=True)


def test_the_margins_of_both_ratios_are_kept() -> None:
    """The conservative estimate is that of the conservative ratios."""
    estimator = EmaEstimator()
    for category, costs in ((Category.PROSE, (200, 250)), (Category.TOOLS, (400, 500))):
        for tokens in costs:
            teach(estimator, asked(category=category), tokens)
    prose, tools = estimator.ratios()
    estimate = estimator.estimate(mixture(8000, 4000), ROOM)
    expected = 8000 / prose.conservative_bytes_per_token + 4000 / tools.conservative_bytes_per_token
    assert estimate.conservative_tokens == math.ceil(expected) > estimate.mean_tokens


@pytest.mark.parametrize(("prose", "tools", "calibrated"), [(10, 10, True), (9, 10, False), (10, 9, False)])
def test_a_mixture_is_trusted_where_both_its_ratios_are(prose: int, tools: int, *, calibrated: bool) -> None:
    """One cold ratio is one too many."""
    estimate = taught_both(prose=prose, tools=tools).estimate(mixture(8000, 4000), ROOM)
    assert (estimate.calibrated, estimate.may_decide) == (calibrated, calibrated)


def test_a_tenth_of_structure_is_no_mixture() -> None:
    """It needs no ratio of tools; what is mostly tools needs no other."""
    assert taught_both(tools=0).estimate(mixture(9000, 1000), ROOM) == Estimate(2500, 2500, calibrated=True)
    mostly = asked(10_000, category=Category.TOOLS, structure_bytes=9001)
    assert taught_both(prose=0).estimate(mostly, ROOM) == Estimate(5000, 5000, calibrated=True)


# What is kept


def test_what_was_learned_can_be_taken_over() -> None:
    """A cold estimator becomes the like of the one that wrote it, margins and trust included."""
    old, new = taught(*[200, 250, 300] * 4), EmaEstimator()
    teach(old, asked(category=Category.CODE), 400)
    new.absorb(old.snapshot())
    for before, after in zip(old.ratios(), new.ratios(), strict=True):
        assert (after.model, after.category, after.samples) == (before.model, before.category, before.samples)
        assert after.bytes_per_token == pytest.approx(before.bytes_per_token)
        assert after.conservative_bytes_per_token == pytest.approx(before.conservative_bytes_per_token)
    assert new.estimate(asked(), ROOM) == old.estimate(asked(), ROOM)


def test_what_two_replicas_learned_is_added_by_their_samples() -> None:
    """Three answers at 4 bytes a token and one at 5 make four at 4.25, whichever takes in the other."""
    for one, other in ((taught(*[250] * 3), taught(200)), (taught(200), taught(*[250] * 3))):
        one.absorb(other.snapshot())
        assert only(one).samples == 4
        assert only(one).bytes_per_token == pytest.approx(4.25)


def test_taking_over_is_bounded_too() -> None:
    """What finds no place of its own joins the ratio of all models; nothing at all changes nothing."""
    estimators = [EmaEstimator(), EmaEstimator()]
    for index in range(2 * MAX_RATIOS):
        teach(estimators[index % 2], asked(model=f"m{index}"), 250)
    estimators[0].absorb(estimators[1].snapshot())
    ratios = estimators[0].ratios()
    assert len(ratios) == MAX_RATIOS + 1
    assert sum(ratio.samples for ratio in ratios) == 2 * MAX_RATIOS
    estimators[0].absorb(EstimatorState())
    assert estimators[0].ratios() == ratios


# Properties


COSTS = st.lists(st.integers(min_value=-1, max_value=10**7), max_size=40)
RULES = st.builds(EmaRules, decay=st.floats(0.01, 0.999), margin_deviations=st.floats(0.0, 10.0))


@given(rules=RULES, costs=COSTS, text_bytes=st.integers(0, 10**7))
def test_whatever_is_observed_ratios_stay_in_bounds_and_the_margin_on_the_safe_side(
    rules: EmaRules, costs: list[int], text_bytes: int
) -> None:
    """One byte a token at least; the conservative ratio never gives fewer tokens than the mean."""
    estimator, request = EmaEstimator(rules), asked(100_000)
    for tokens in costs:
        teach(estimator, request, tokens)
    for ratio in estimator.ratios():
        assert MIN_BYTES_PER_TOKEN <= ratio.conservative_bytes_per_token <= ratio.bytes_per_token <= MAX_BYTES_PER_TOKEN
    estimate = estimator.estimate(asked(text_bytes), ROOM)
    assert math.ceil(text_bytes / MAX_BYTES_PER_TOKEN) <= estimate.mean_tokens <= estimate.conservative_tokens
    assert estimate.conservative_tokens <= text_bytes


@given(costs=COSTS, one=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_more_bytes_never_make_fewer_tokens(costs: list[int], one: int, other: int) -> None:
    """Both estimates are monotone in the text."""
    estimator, request = EmaEstimator(), asked(100_000)
    for tokens in costs:
        teach(estimator, request, tokens)
    fewer, more = (estimator.estimate(asked(text_bytes), ROOM) for text_bytes in sorted((one, other)))
    assert fewer.mean_tokens <= more.mean_tokens
    assert fewer.conservative_tokens <= more.conservative_tokens


@given(first=st.integers(1, 10**5), tokens=st.integers(20_000, 90_000))
def test_a_constant_source_is_learned(first: int, tokens: int) -> None:
    """After 400 answers neither the cold start nor an odd first answer is left in it: 0.98^350 is below 0.1 %."""
    estimator, request = EmaEstimator(), asked(100_000)
    teach(estimator, request, first)
    for _ in range(400):
        teach(estimator, request, tokens)
    ratio = only(estimator)
    assert ratio.bytes_per_token == pytest.approx(100_000 / tokens, rel=0.01)
    assert ratio.conservative_bytes_per_token == pytest.approx(100_000 / tokens, rel=0.03)


@given(tokens=st.integers(150, 600), absurd=st.sampled_from((125, 126, 999, 1000, 10**9)))
def test_one_absurd_answer_moves_a_ratio_by_no_more_than_its_weight(tokens: int, absurd: int) -> None:
    """At most (1 − β) of the whole range, and the margin widens with it: no prompt seems shorter than before."""
    before = only(taught(*[tokens] * 100))
    after = only(taught(*[tokens] * 100, absurd))
    shift = abs(after.bytes_per_token - before.bytes_per_token)
    assert shift <= 0.02 * (MAX_BYTES_PER_TOKEN - MIN_BYTES_PER_TOKEN) + 1e-9
    assert after.conservative_bytes_per_token <= before.conservative_bytes_per_token


# The baseline


def test_a_fixed_ratio_is_taken_at_its_word() -> None:
    """No margin, no learning, nothing to see or to keep."""
    estimator: Estimator = FixedRatioEstimator(3.0)
    assert estimator.estimate(asked(100), ROOM) == Estimate(34, 34, calibrated=True)
    assert not estimator.learning(asked())
    assert not teach(estimator, asked(), 300)
    estimator.absorb(taught(250).snapshot())
    assert (estimator.ratios(), estimator.snapshot()) == ([], EstimatorState())
    assert estimator.estimate(asked(100), ROOM).mean_tokens == 34
    assert FixedRatioEstimator().estimate(asked(100), ROOM).mean_tokens == 25
