import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.estimators import (
    ALL_MODELS,
    COLD_BYTES_PER_TOKEN,
    MAX_BYTES_PER_TOKEN,
    MAX_RATIOS,
    MIN_BYTES_PER_TOKEN,
    EmaEstimator,
    EmaRules,
    Estimator,
    FixedRatioEstimator,
    LearnedRatio,
)
from extproc.routing.values import Category, Estimate, RequestFacts, Usage


def facts(text_bytes: int = 1000, *, model: str = "m", category: Category = Category.PROSE) -> RequestFacts:
    """A request of one prompt of so many bytes."""
    return RequestFacts(text_bytes=text_bytes, total_text_bytes=text_bytes, model=model, category=category)


def taught(*prompt_tokens: int, rules: EmaRules | None = None) -> EmaEstimator:
    """An estimator that saw prompts of 1000 bytes cost so many tokens, in order."""
    estimator = EmaEstimator(rules)
    for tokens in prompt_tokens:
        assert estimator.learn(facts(), Usage(tokens))
    return estimator


def only(estimator: Estimator) -> LearnedRatio:
    """The one ratio learned."""
    (ratio,) = estimator.ratios()
    return ratio


# The formula


def test_before_any_answer_the_ratio_is_the_published_cold_start() -> None:
    """ceil(1001 / 4.0) tokens, and not to be trusted."""
    assert COLD_BYTES_PER_TOKEN == 4.0
    assert EmaEstimator().estimate(facts(1001)) == Estimate(251, 251, calibrated=False, learning=True)


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
    estimate = estimator.estimate(facts(900))
    assert estimate == Estimate(mean_tokens=300, conservative_tokens=400, calibrated=False, learning=True)


def test_warm_up_is_a_plain_mean() -> None:
    """While n is below 1/(1 − β) the weight is 1/n, so that the first answer does not rule for ever."""
    ratio = only(taught(125, 200, 250, 500, rules=EmaRules(decay=0.98)))
    assert ratio.bytes_per_token == pytest.approx((8 + 5 + 4 + 2) / 4)


def test_after_warm_up_the_past_weighs_beta() -> None:
    """50 answers of ratio 4, then one of 5: 0.98 · 4 + 0.02 · 5."""
    ratio = only(taught(*[250] * 50, 200))
    assert ratio.bytes_per_token == pytest.approx(4.02)


def test_an_estimate_is_trusted_after_its_warm_up() -> None:
    """At the tenth answer, and not before."""
    assert not taught(*[250] * 9).estimate(facts()).calibrated
    assert taught(*[250] * 10).estimate(facts()).calibrated


def test_every_answer_is_wanted_while_learning() -> None:
    """Until the hundredth."""
    assert EmaEstimator().estimate(facts()).learning
    assert taught(*[250] * 99).estimate(facts()).learning
    assert not taught(*[250] * 100).estimate(facts()).learning


def test_all_prompts_of_a_request_teach_by_their_sum() -> None:
    """Usage answers for the sum, the estimate is for the longest."""
    estimator = EmaEstimator()
    estimator.learn(replace(facts(1000), total_text_bytes=3000), Usage(1500))
    assert only(estimator).bytes_per_token == 2.0
    assert estimator.estimate(replace(facts(1000), total_text_bytes=3000)).mean_tokens == 500


# Whom an answer teaches


def test_what_must_not_teach_does_not() -> None:
    """Requests whose bytes do not answer for their tokens, and usage that is none."""
    estimator = EmaEstimator()
    assert not estimator.learn(replace(facts(), teaches=False), Usage(250))
    assert not estimator.learn(facts(), Usage(0))
    assert not estimator.learn(facts(), Usage(-5))
    assert estimator.ratios() == []


def test_models_and_categories_are_learned_apart() -> None:
    """What one costs says nothing of the other."""
    estimator = taught(500)
    estimator.learn(facts(category=Category.CODE), Usage(400))
    estimator.learn(facts(model="other"), Usage(200))
    assert {(ratio.model, ratio.category): ratio.bytes_per_token for ratio in estimator.ratios()} == {
        ("m", Category.PROSE): 2.0,
        ("m", Category.CODE): 2.5,
        ("other", Category.PROSE): 5.0,
    }
    assert estimator.estimate(facts(category=Category.LOGS)).mean_tokens == 250


def test_many_models_are_bounded_and_share_the_ratios_of_all() -> None:
    """Past the bound new models teach and use one ratio a category; those known before keep theirs."""
    estimator = EmaEstimator()
    for index in range(3 * MAX_RATIOS):
        category = tuple(Category)[index % len(Category)]
        estimator.learn(facts(model=f"m{index}", category=category), Usage(250 if index < MAX_RATIOS else 500))
    ratios = estimator.ratios()
    assert len(ratios) == MAX_RATIOS + len(Category)
    assert sum(ratio.samples for ratio in ratios if ratio.model == ALL_MODELS) == 2 * MAX_RATIOS
    assert estimator.estimate(facts(model="never seen")).mean_tokens == 500
    assert estimator.estimate(facts(model="m0")).mean_tokens == 250


def test_asking_makes_no_room() -> None:
    """A client that invents models without ever getting an answer fills nothing."""
    estimator = EmaEstimator()
    for index in range(10):
        estimator.estimate(facts(model=f"m{index}"))
    assert estimator.ratios() == []


@pytest.mark.parametrize(("tokens", "learned"), [(125, True), (124, False), (62, False), (1, False)])
def test_runs_of_one_character_teach_nothing(tokens: int, *, learned: bool) -> None:
    """Beyond 8 bytes a token there is no text: one repetitive client must not drag along the ratio of all."""
    estimator = taught(*[250] * 100)
    before = only(estimator)
    assert estimator.learn(facts(), Usage(tokens)) is learned
    assert (only(estimator) != before) is learned


# Text beside tools


def mixture(text_bytes: int, structure_bytes: int) -> RequestFacts:
    """Prose beside tool schemas."""
    return replace(facts(text_bytes + structure_bytes), structure_bytes=structure_bytes, teaches=False)


def taught_both(*, prose: int = 10, tools: int = 10) -> EmaEstimator:
    """An estimator that saw prose at 4 bytes a token and tools at 2, each so many times."""
    estimator = taught(*[250] * prose, rules=EmaRules(margin_deviations=0.0))
    for _ in range(tools):
        assert estimator.learn(facts(category=Category.TOOLS), Usage(500))
    return estimator


def test_text_and_tools_are_estimated_each_by_its_ratio() -> None:
    """8000 bytes of prose and 4000 of schemas are 2000 and 2000 tokens, not 3000 of prose."""
    estimate = taught_both().estimate(mixture(8000, 4000))
    assert estimate == Estimate(4000, 4000, calibrated=True)


def test_the_margins_of_both_ratios_are_kept() -> None:
    """The conservative estimate is that of the conservative ratios."""
    estimator = EmaEstimator()
    for tokens, category in (
        (200, Category.PROSE),
        (250, Category.PROSE),
        (400, Category.TOOLS),
        (500, Category.TOOLS),
    ):
        estimator.learn(facts(category=category), Usage(tokens))
    prose, tools = estimator.ratios()
    estimate = estimator.estimate(mixture(8000, 4000))
    expected = 8000 / prose.conservative_bytes_per_token + 4000 / tools.conservative_bytes_per_token
    assert estimate.conservative_tokens == math.ceil(expected) > estimate.mean_tokens


@pytest.mark.parametrize(("prose", "tools", "calibrated"), [(10, 10, True), (9, 10, False), (10, 9, False)])
def test_a_mixture_is_trusted_where_both_its_ratios_are(prose: int, tools: int, *, calibrated: bool) -> None:
    """One cold ratio is one too many."""
    assert taught_both(prose=prose, tools=tools).estimate(mixture(8000, 4000)).calibrated is calibrated


def test_a_tenth_of_structure_is_no_mixture() -> None:
    """It needs no ratio of tools; what is mostly tools needs no other."""
    estimator = taught_both(tools=0)
    assert estimator.estimate(mixture(9000, 1000)) == Estimate(2500, 2500, calibrated=True, learning=True)
    mostly = replace(mixture(1000, 9000), category=Category.TOOLS)
    assert taught_both(prose=0).estimate(mostly) == Estimate(5000, 5000, calibrated=True, learning=True)


# Properties


COSTS = st.lists(st.integers(min_value=-1, max_value=10**7), max_size=40)
RULES = st.builds(EmaRules, decay=st.floats(0.01, 0.999), margin_deviations=st.floats(0.0, 10.0))


@given(rules=RULES, costs=COSTS, text_bytes=st.integers(0, 10**7))
def test_whatever_is_observed_ratios_stay_in_bounds_and_the_margin_on_the_safe_side(
    rules: EmaRules, costs: list[int], text_bytes: int
) -> None:
    """One byte a token at least; the conservative ratio never gives fewer tokens than the mean."""
    estimator = EmaEstimator(rules)
    for tokens in costs:
        estimator.learn(facts(100_000), Usage(tokens))
    for ratio in estimator.ratios():
        assert MIN_BYTES_PER_TOKEN <= ratio.conservative_bytes_per_token <= ratio.bytes_per_token <= MAX_BYTES_PER_TOKEN
    estimate = estimator.estimate(facts(text_bytes))
    assert math.ceil(text_bytes / MAX_BYTES_PER_TOKEN) <= estimate.mean_tokens <= estimate.conservative_tokens
    assert estimate.conservative_tokens <= text_bytes


@given(costs=COSTS, one=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_more_bytes_never_make_fewer_tokens(costs: list[int], one: int, other: int) -> None:
    """Both estimates are monotone in the text."""
    estimator = EmaEstimator()
    for tokens in costs:
        estimator.learn(facts(100_000), Usage(tokens))
    fewer, more = (estimator.estimate(facts(text_bytes)) for text_bytes in sorted((one, other)))
    assert fewer.mean_tokens <= more.mean_tokens
    assert fewer.conservative_tokens <= more.conservative_tokens


@given(first=st.integers(1, 10**5), tokens=st.integers(20_000, 90_000))
def test_a_constant_source_is_learned(first: int, tokens: int) -> None:
    """After 400 answers neither the cold start nor an odd first answer is left in it: 0.98^350 is below 0.1 %."""
    estimator = EmaEstimator()
    estimator.learn(facts(100_000), Usage(first))
    for _ in range(400):
        estimator.learn(facts(100_000), Usage(tokens))
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
    """No margin, no learning, nothing to see."""
    estimator: Estimator = FixedRatioEstimator(3.0)
    assert estimator.estimate(facts(100)) == Estimate(34, 34, calibrated=True)
    assert not estimator.estimate(facts()).learning
    assert not estimator.learn(facts(), Usage(1))
    assert estimator.ratios() == []
    assert FixedRatioEstimator().estimate(facts(100)).mean_tokens == 25
