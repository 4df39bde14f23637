import csv
import json
import lzma
import math
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import ConfigurationError
from extproc.routing.estimators import ALL_MODELS, MAX_RATIOS
from extproc.routing.histogram import EDGES, LONGEST
from extproc.routing.outputs import LearnedOutput, OutputLengths, OutputModel, OutputRules, OutputState
from extproc.routing.values import Category, Finish, Usage

TRACES = Path(__file__).parents[3] / "shared/data/traces"
ONE_IN_TEN = OutputRules(miss_probability=0.1, half_life_samples=math.inf)
ENOUGH = 9
"""Answers after which one in ten can be promised."""
PROSE, CODE = Category.PROSE, Category.CODE


def answer(completion_tokens: int, finish: Finish = Finish.STOP) -> Usage:
    """What an answer of so many tokens cost."""
    return Usage(100, completion_tokens, finish=finish)


def teach(model: OutputModel, *completion_tokens: int, name: str = "m", category: Category | None = PROSE) -> None:
    """Learn answers that must be taken in."""
    for tokens in completion_tokens:
        assert model.learn(name, category, None, answer(tokens))


def taught(*completion_tokens: int, rules: OutputRules = ONE_IN_TEN) -> OutputModel:
    """A model that saw these answers to prose."""
    model = OutputModel(rules)
    teach(model, *completion_tokens)
    return model


def edge(tokens: int) -> int:
    """The number that is reserved for so many."""
    return next(edge for edge in EDGES if edge >= tokens)


# Reserving


def test_nothing_is_promised_before_enough_was_seen() -> None:
    """At the default of one in a thousand that takes about a thousand answers; each is wanted until then."""
    model = OutputModel()
    assert model.reserve("m", PROSE) is None
    for _ in range(1030):
        assert model.learning("m", PROSE)
        assert model.reserve("m", PROSE) is None
        teach(model, 300)
    teach(model, *[300] * 10)
    assert model.reserve("m", PROSE) == edge(300)
    assert not model.learning("m", PROSE)


def test_models_and_categories_are_learned_apart() -> None:
    """Each has a quantile of its own."""
    model = taught(*[100] * ENOUGH)
    teach(model, *[500] * ENOUGH, category=CODE)
    teach(model, *[900] * ENOUGH, name="other")
    assert [model.reserve("m", kind) for kind in (PROSE, CODE)] == [edge(100), edge(500)]
    assert model.reserve("other", PROSE) == edge(900)
    assert model.reserve("unknown", PROSE) is None


def test_an_unknown_category_is_given_what_all_of_the_model_need() -> None:
    """It is still learned on; where nobody looked at the text, that is the answer too."""
    model = taught(*range(50, 50 + 20))
    assert model.reserve("m", CODE) == model.reserve("m", None) == edge(68)
    assert model.learning("m", CODE)
    assert not model.learning("m", None)
    teach(model, *[1000] * 3, category=None)
    assert model.reserve("m", None) == edge(1000)
    assert model.reserve("m", PROSE) == edge(68)


def test_a_category_that_is_hardly_known_is_given_its_own_longest_at_least() -> None:
    """The answers of all categories together may be shorter than its own; one of unknown length sends it long."""
    model = taught(*[100] * 100)
    teach(model, 60, category=CODE)
    assert model.reserve("m", CODE) == edge(100)
    teach(model, 800, category=CODE)
    assert model.reserve("m", CODE) == edge(800)
    assert model.learn("m", CODE, None, answer(8000, Finish.LENGTH))
    assert model.reserve("m", CODE) is None
    assert model.reserve("m", PROSE) == edge(100)


def test_a_pooled_quantile_beyond_measure_promises_nothing() -> None:
    """Where most answers were cut by the context, a category nobody knows goes long as well."""
    model = OutputModel(ONE_IN_TEN)
    for _ in range(ENOUGH + 1):
        assert model.learn("m", PROSE, None, answer(8000, Finish.LENGTH))
    assert [model.reserve("m", kind) for kind in (PROSE, CODE, None)] == [None, None, None]
    assert not model.learning("m", PROSE)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.1, 0.02]))
def test_the_promise_is_kept_one_step_ahead(seed: int, p: float) -> None:
    """Whatever the mixture of categories, rare ones included, no more answers exceed the reserve than promised."""
    rng = Random(seed)
    model = OutputModel(OutputRules(p, half_life_samples=20 / p))
    kinds = list(Category)
    judged = misses = 0
    for _ in range(int(80 / p)):
        kind = kinds[min(len(kinds) - 1, int(rng.expovariate(1.0)))]
        tokens = 1 + int(rng.lognormvariate(3 + kinds.index(kind) / 2, 1.0))
        reserved = model.reserve("m", kind)
        judged += reserved is not None
        misses += reserved is not None and tokens > reserved
        teach(model, tokens, category=kind)
    assert judged > 30 / p
    assert misses <= p * judged + 4 * math.sqrt(p * judged)


@pytest.fixture(scope="module", params=["azure code", "azure conversation", "mooncake"])
def traced_outputs(request: pytest.FixtureRequest) -> list[int]:
    """Completion tokens of real traffic, in order of arrival."""
    names = {"azure code": "AzureLLMInferenceTrace_code.csv", "azure conversation": "AzureLLMInferenceTrace_conv.csv"}
    path = TRACES / names.get(request.param, "mooncake_conversation_trace.jsonl.xz")
    if not path.is_file():
        pytest.skip("the traces (../shared/data/traces) are not on this machine")
    if path.suffix == ".csv":
        with path.open() as lines:
            return [int(row["GeneratedTokens"]) for row in csv.DictReader(lines)]
    with lzma.open(path) as lines:
        return [json.loads(line)["output_length"] for line in lines]


def test_the_promise_is_kept_on_real_traffic(traced_outputs: list[int]) -> None:
    """Cold start and the drift of the traces included, at one in a thousand."""
    model, judged, misses = OutputModel(), 0, 0
    for tokens in traced_outputs:
        reserved = model.reserve("m", None)
        judged += reserved is not None
        misses += reserved is not None and tokens > reserved
        model.learn("m", None, None, answer(tokens))
    assert judged > len(traced_outputs) - 1100
    assert misses <= 0.001 * judged + 2 * math.sqrt(0.001 * judged)


# What teaches


@pytest.mark.parametrize(
    ("declared", "usage", "sequences"),
    [
        pytest.param(4096, answer(50), 1, id="a declared limit, though it was not reached"),
        pytest.param(1, answer(1, Finish.LENGTH), 1, id="prefill leg"),
        pytest.param(0, Usage(100), 1, id="embeddings"),
        pytest.param(None, Usage(100), 1, id="no generation"),
        pytest.param(None, answer(0), 1, id="nothing generated"),
        pytest.param(None, answer(50, Finish.OTHER), 1, id="aborted"),
        pytest.param(None, answer(50, Finish.UNKNOWN), 1, id="unknown end"),
        pytest.param(None, answer(50), 2, id="two completions"),
        pytest.param(None, answer(50), 0, id="none asked for"),
        pytest.param(None, answer(-50), 1, id="negative"),
        pytest.param(None, answer(2**31), 1, id="absurd"),
        pytest.param(None, answer(2**31, Finish.LENGTH), 1, id="absurd and cut"),
    ],
)
def test_what_does_not_say_how_long_answers_are_teaches_nothing(
    declared: int | None, usage: Usage, sequences: int
) -> None:
    """Whatever is censored by the client, sums several answers, ended from outside, or cannot be."""
    model = OutputModel(ONE_IN_TEN)
    assert not model.learn("m", PROSE, declared, usage, sequences=sequences)
    assert model.learned() == []


def test_an_answer_cut_by_the_context_counts_as_longer_than_any() -> None:
    """The short pool cuts at its own size: were that believed, or left out, all would seem to fit it."""
    model = taught(*[100] * 90)
    assert model.learn("m", PROSE, None, answer(7000, Finish.LENGTH))
    assert model.reserve("m", PROSE) == edge(100)
    for _ in range(10):
        assert model.learn("m", PROSE, None, answer(7000, Finish.LENGTH))
    assert model.reserve("m", PROSE) is None


def test_an_answer_longer_than_any_bin_counts_so() -> None:
    """It is believed, and what it asks for is more than any pool has."""
    model = taught(*[100] * ENOUGH, *[LONGEST + 1] * 3)
    assert model.reserve("m", PROSE) is None


def test_thought_is_output() -> None:
    """Reasoning tokens are part of the completion and fill the context like any other."""
    model = OutputModel(ONE_IN_TEN)
    for _ in range(ENOUGH):
        assert model.learn("m", PROSE, None, Usage(100, 900, reasoning_tokens=880, finish=Finish.STOP))
    assert model.reserve("m", PROSE) == edge(900)


# Hostile answers


_HOSTILE = st.integers(1, 3 * LONGEST) | st.just(1)


@settings(max_examples=60, deadline=None)
@given(
    honest=st.lists(st.integers(1, 4000), min_size=200, max_size=400),
    hostile=st.lists(_HOSTILE, max_size=20),
    rng=st.randoms(use_true_random=False),
)
def test_a_tenth_of_false_answers_lowers_it_no_further_than_twice_the_promise(
    honest: list[int], hostile: list[int], rng: Random
) -> None:
    """Wherever they come in and whatever they say; false ones that are long can only raise it."""
    mixed = honest + hostile
    rng.shuffle(mixed)
    p = 0.05
    poisoned = taught(*mixed, rules=OutputRules(p, math.inf)).reserve("m", PROSE)
    doubled = taught(*honest, rules=OutputRules(2 * p, math.inf)).reserve("m", PROSE)
    assert doubled is not None
    assert poisoned is None or poisoned >= doubled


def test_a_tenth_of_false_answers_without_end_keeps_twice_the_promise() -> None:
    """With forgetting, at one in a hundred, whether one token is claimed or a random number: honest misses stay low."""
    assert _honest_misses(most_claimed=1, p=0.01) <= 0.02
    assert _honest_misses(most_claimed=8000, p=0.01) <= 0.02


def _honest_misses(*, most_claimed: int, p: float) -> float:
    rng, model = Random(5), OutputModel(OutputRules(p, 10 / p))
    judged = misses = 0
    for _ in range(20_000):
        false = rng.random() < 0.1
        tokens = rng.randint(1, most_claimed) if false else 1 + int(rng.lognormvariate(5, 1.0))
        reserved = model.reserve("m", None)
        if reserved is not None and not false:
            judged += 1
            misses += tokens > reserved
        teach(model, tokens, category=None)
    assert judged > 15_000
    return misses / judged


# Answers under way


def test_answers_that_are_slow_to_come_back_are_waited_for() -> None:
    """The quick ones suffice in number, but nothing is promised until those have ended that began before."""
    model = OutputModel(ONE_IN_TEN)
    slow = model.begin()
    for _ in range(ENOUGH):
        model.end(model.begin())
        teach(model, 50)
    assert model.reserve("m", PROSE) is None
    assert model.reserve("m", CODE) is None
    assert model.learning("m", PROSE)
    later = model.begin()
    model.end(slow)
    teach(model, 2000)
    assert model.reserve("m", PROSE) == edge(2000)
    assert not model.learning("m", PROSE)
    model.end(later)
    assert model.reserve("m", CODE) == edge(2000)


def test_answers_that_never_come_are_ended_too() -> None:
    """Whoever gives up waiting says so, in any order, and what is learned then is trusted."""
    model = OutputModel(ONE_IN_TEN)
    begun = [model.begin() for _ in range(4)]
    teach(model, *[50] * ENOUGH)
    for waiting in (begun[2], begun[0], begun[3]):
        model.end(waiting)
        assert model.reserve("m", PROSE) is None
    model.end(begun[1])
    assert model.reserve("m", PROSE) == 50 == edge(50)


# Bounds


def test_past_the_bound_models_share_a_place() -> None:
    """What is learned stays bounded; those who found no place are judged, and learned, together."""
    model = OutputModel(ONE_IN_TEN)
    for index in range(MAX_RATIOS // 2):
        teach(model, *[20] * ENOUGH, name=f"m{index}")
    assert len(model.learned()) == MAX_RATIOS
    teach(model, *[700] * 3 * ENOUGH, name="late")
    teach(model, *[700] * 3 * ENOUGH, name="later", category=CODE)
    assert model.reserve("m0", PROSE) == 20 == edge(20)
    assert [model.reserve("latest", kind) for kind in (PROSE, CODE, None)] == [edge(700)] * 3
    assert [learned.model for learned in model.learned()[MAX_RATIOS:]] == [ALL_MODELS] * 3


def test_asking_leaves_nothing_behind() -> None:
    """A client cannot fill the table with invented models."""
    model = OutputModel()
    for index in range(100):
        assert model.reserve(f"m{index}", PROSE) is None
        assert model.learning(f"m{index}", PROSE)
    assert model.learned() == []


@pytest.mark.parametrize(
    ("miss_probability", "half_life_samples"),
    [(0.0, 1e4), (-0.1, 1e4), (0.6, 1e4), (math.nan, 1e4), (0.001, 999.0), (0.001, 0.0), (0.001, math.nan)],
)
def test_rules_that_cannot_hold_are_refused(miss_probability: float, half_life_samples: float) -> None:
    """No promise, or one that so short a memory could never show."""
    with pytest.raises(ConfigurationError):
        OutputRules(miss_probability, half_life_samples)


# State


def test_what_was_learned_can_be_seen() -> None:
    """The model's answers of all kinds first, then each kind."""
    assert taught(*[100] * ENOUGH).learned() == [
        LearnedOutput("m", None, edge(100), ENOUGH),
        LearnedOutput("m", PROSE, edge(100), ENOUGH),
    ]
    assert taught(100).learned()[0] == LearnedOutput("m", None, None, 1)


def test_a_state_survives_as_json() -> None:
    """What is reserved and what is forgotten go on as if nothing had happened; what was there before is gone."""
    rules = OutputRules(0.1, half_life_samples=50.0)
    first = taught(*range(1, 300), rules=rules)
    assert first.learn("m", CODE, None, answer(9, Finish.LENGTH))
    state = msgspec.json.decode(msgspec.json.encode(first.snapshot()), type=OutputState)
    second = OutputModel(rules)
    teach(second, *[5000] * 50, name="gone")
    second.restore(state)
    assert second.reserve("gone", PROSE) is None
    for tokens in (None, *range(300, 400)):
        if tokens is not None:
            teach(first, tokens)
            teach(second, tokens)
        assert [second.reserve("m", kind) for kind in (PROSE, CODE, None)] == [
            first.reserve("m", kind) for kind in (PROSE, CODE, None)
        ]


def test_states_of_replicas_add_up() -> None:
    """Too few answers each, enough together; where the table is full, what comes shares a place."""
    halves = [taught(*lengths) for lengths in ([100] * 5, [300] * 5)]
    assert [half.reserve("m", PROSE) for half in halves] == [None, None]
    halves[0].merge(halves[1].snapshot())
    assert halves[0].reserve("m", PROSE) == taught(*[100] * 5, *[300] * 5).reserve("m", PROSE) == edge(300)

    many = OutputState([OutputLengths(f"m{index}", PROSE, {50: 20.0}) for index in range(MAX_RATIOS + 50)])
    halves[0].merge(many)
    assert len(halves[0].learned()) == MAX_RATIOS + 1
    assert halves[0].reserve("m0", PROSE) == edge(50)


@pytest.mark.parametrize("weight", ["-1", "1e13", "1e999", '"1"', "null"])
def test_a_state_of_impossible_weights_is_refused(weight: str) -> None:
    """A damaged file is no state: whoever reads it is told, and starts cold."""
    for text in (
        f'{{"lengths": [{{"model": "m", "category": null, "weights": {{"50": {weight}}}}}]}}',
        f'{{"lengths": [{{"model": "m", "category": null, "weights": {{}}, "longer": {weight}}}]}}',
    ):
        with pytest.raises(msgspec.MsgspecError):
            msgspec.json.decode(text, type=OutputState)
