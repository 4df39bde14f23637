import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import astuple

from extproc.routing import prior
from extproc.routing.features import CLASSES, COUNT
from extproc.routing.kernels import Array
from extproc.routing.model import _CLAMP, PromptModel
from extproc.routing.values import RequestFacts

ABSURD = [1, 10**9]
"""Usage no prompt has."""
KINDS = 10
NOISE = 0.02
"""Of an answer around what its kind usually costs."""

Answer = tuple[Array, RequestFacts, int]


class World:
    """A server: its vocabulary, and kinds of text that each cost something else than their bytes let expect."""

    def __init__(self, seed: int, *, kinds: int = KINDS) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._kinds = [
            np.append(rng.dirichlet(np.full(16, 0.5)), [*np.zeros(len(CLASSES) - 16), *rng.uniform(0.02, 0.15, 6)])
            for _ in range(kinds)
        ]
        self.swap()

    def swap(self) -> None:
        """Another vocabulary: weights 20 % off the prior's, and every kind 12 % off what they say."""
        self._weights = np.array(prior.WEIGHTS) * np.exp(self._rng.normal(0.0, 0.2, len(prior.WEIGHTS)))
        self._offsets = self._rng.normal(0.0, 0.12, len(self._kinds))

    def answer(self, kind: int | None = None, *, text_bytes: int | None = None) -> Answer:
        """A prompt of a kind, or of any, of 600 bytes to 60 KB, and its tokens."""
        rng = self._rng
        at = int(rng.integers(len(self._kinds))) if kind is None else kind
        shares = self._kinds[at] * np.exp(rng.normal(0.0, 0.02, COUNT))
        sizes = RequestFacts(
            text_bytes=int(600 * 100 ** rng.random()) if text_bytes is None else text_bytes,
            message_count=int(rng.integers(1, 5)),
        )
        counts = np.append(shares * sizes.text_bytes, (0, 1, sizes.message_count, 0))
        tokens = max(sizes.text_bytes / 8, float(counts @ self._weights))
        return shares, sizes, round(tokens * math.exp(self._offsets[at] + rng.normal(0.0, NOISE)))


def teach(model: PromptModel, world: World, answers: int, *, false_share: float = 0.0, factor: float = 1.0) -> Array:
    """So many answers, some of them a multiple of the truth; log(estimate / truth) of each before it is learned."""
    rng, errors = np.random.default_rng(99), []
    for _ in range(answers):
        shares, sizes, tokens = world.answer()
        errors.append(model.judge(shares, sizes).log_tokens - math.log(tokens))
        model.learn(shares, sizes, max(1, round(tokens * factor)) if rng.random() < false_share else tokens)
    return np.array(errors)


def taught(world: World, answers: int, *, false_share: float = 0.0, factor: float = 1.0) -> PromptModel:
    """A model after so many answers."""
    model = PromptModel()
    teach(model, world, answers, false_share=false_share, factor=factor)
    return model


def p95(errors: Array) -> float:
    """Of the absolute errors."""
    return float(np.quantile(np.abs(errors), 0.95))


# Learning


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kinds_of_text_are_learned_below_what_a_linear_fit_can_tell(seed: int) -> None:
    """Of sixty kinds, each 12 % off what any weights say, the error becomes that of single answers."""
    world, stranger = World(seed, kinds=60), PromptModel()
    model = taught(world, 1500)
    errors: dict[str, list[float]] = {"judged": [], "by fit": [], "cold": []}
    for shares, sizes, tokens in (world.answer() for _ in range(300)):
        errors["judged"].append(model.judge(shares, sizes).log_tokens - math.log(tokens))
        errors["by fit"].append(math.log(model.linear.tokens(shares, sizes) / tokens))
        errors["cold"].append(stranger.judge(shares, sizes).log_tokens - math.log(tokens))
    median = {name: np.median(np.abs(values)) for name, values in errors.items()}
    assert median["judged"] < NOISE
    assert median["judged"] < median["by fit"] / 2
    assert median["judged"] < median["cold"] / 5


def test_the_truth_lies_where_it_was_said_to_lie() -> None:
    """Two thirds and more of 1,000 errors lie within one stated deviation, at most one in a hundred beyond three."""
    world = World(4)
    model, positions = taught(world, 600), []
    for _ in range(1000):
        shares, sizes, tokens = world.answer()
        positions.append(abs(model.judge(shares, sizes).position(math.log(tokens))))
        model.learn(shares, sizes, tokens)
    assert 0.68 < np.mean(np.array(positions) < 1.0) < 0.95
    assert np.mean(np.array(positions) > 3.0) < 0.01


def test_short_prompts_teach_the_linear_fit_alone() -> None:
    """Their error is the template's: no exemplar is made of 100 bytes, and the intercept moves."""
    world, model = World(5), PromptModel()
    intercept = float(model.linear.ridge.weights[COUNT + 1])
    for _ in range(50):
        shares, sizes, tokens = world.answer(text_bytes=100)
        model.learn(shares, sizes, tokens + 30)
    assert not model.exemplars.samples.any()
    assert model.linear.ridge.weights[COUNT + 1] > intercept + 10
    assert model.samples == 50
    model.learn(*world.answer(text_bytes=512))
    assert model.exemplars.samples.any()
    assert model.samples == 51


def test_prompts_long_enough_to_tell_of_text_are_counted_and_lower_the_doubt() -> None:
    """From 512 bytes on; of a shorter one, however many there are, neither changes."""
    world, model = World(21), PromptModel()
    for answers in range(1, 4):
        for text_bytes in (0, 1, 100, 511):
            before = model.doubt
            model.learn(*world.answer(text_bytes=text_bytes))
            assert (model.telling, model.doubt) == (answers - 1, before)
        model.learn(*world.answer(text_bytes=512 * answers))
        assert model.telling == answers
        assert 0.0 < model.doubt < before
    for _ in range(500):
        model.learn(*world.answer(text_bytes=511))
    assert (model.telling, model.samples) == (3, 515)
    assert model.doubt > 0.25


def test_a_rest_is_estimated_as_a_prompt_without_its_beginning() -> None:
    """The intercept is left out, the correction by exemplars and the doubt are not."""
    world = World(6)
    model = taught(world, 300)
    shares, sizes, _ = world.answer(3)
    rest, whole = model.judge_rest(shares, sizes), model.judge(shares, sizes)
    share = model.linear.tokens(shares, sizes, prompts=0) / model.linear.tokens(shares, sizes)
    assert rest.log_tokens == pytest.approx(whole.log_tokens + math.log(share))
    assert rest.spread == pytest.approx(whole.spread)
    model.distrust()
    assert model.judge_rest(shares, sizes).spread > 0.3


# False usage


@pytest.mark.parametrize("absurd", ABSURD)
@pytest.mark.parametrize("answers", [0, 20, 500])
def test_an_absurd_usage_moves_no_more_than_an_unlucky_one(absurd: int, answers: int) -> None:
    """What is learned of 1 token or a billion is what a truth as far off as an error counts would have taught."""
    world = World(7)
    hit, unlucky = taught(world, answers), taught(World(7), answers)
    shares, sizes, _ = world.answer(text_bytes=50_000)
    judgement = hit.judge(shares, sizes)
    most = _CLAMP * max(0.03, judgement.spread) * (1 if absurd > 1 else -1)
    hit.learn(shares, sizes, absurd)
    unlucky.learn(shares, sizes, round(math.exp(judgement.log_tokens + most)))
    for _ in range(100):
        shares, sizes, _ = world.answer()
        assert astuple(hit.judge(shares, sizes)) == pytest.approx(astuple(unlucky.judge(shares, sizes)), rel=1e-3)


@pytest.mark.parametrize("absurd", ABSURD)
def test_an_absurd_usage_moves_a_known_kind_by_little(absurd: int) -> None:
    """Its own kind by less than 3 %, others by less than 2 %, and after 50 true answers half a percent is left."""
    world = World(8)
    model, untouched = taught(world, 500), taught(World(8), 500)
    shares, sizes, _ = world.answer(0)
    model.learn(shares, sizes, absurd)
    moves = [_moved(model, untouched, world.answer(kind)) for kind in range(KINDS)]
    assert 0.0 < moves[0] < 0.03
    assert max(moves[1:]) < 0.02
    for _ in range(50):
        for taught_alike in (model, untouched):
            taught_alike.learn(*(answer := world.answer(0)))
    assert _moved(model, untouched, answer) < 0.005


@pytest.mark.parametrize("absurd", ABSURD)
def test_an_absurd_first_answer_moves_a_stranger_by_its_stated_doubt_at_most(absurd: int) -> None:
    """Before anything is known a single answer is worth much; as much as an error counts is the end of it."""
    world = World(9)
    model, untouched = PromptModel(), PromptModel()
    shares, sizes, tokens = world.answer(0)
    spread = model.judge(shares, sizes).spread
    model.learn(shares, sizes, absurd)
    assert _moved(model, untouched, (shares, sizes, tokens)) <= _CLAMP * spread
    assert _moved(model, untouched, (shares, sizes, tokens)) > 0.3


@pytest.mark.parametrize(("factor", "seed"), [(0.6, 10), (0.6, 11), (1.6, 10), (1.6, 11)])
def test_a_tenth_of_hostile_answers_tilts_estimates_by_a_few_percent(factor: float, seed: int) -> None:
    """Answers that say 0.6 or 1.6 of the truth move the mean estimate by less than 5 %, to their side."""
    world = World(seed)
    model = PromptModel()
    errors = teach(model, world, 1500, false_share=0.1, factor=factor)[700:]
    assert 0.0 < np.mean(errors) * (1 if factor > 1 else -1) < 0.05
    assert np.median(np.abs(errors)) < 0.05


def test_hostile_answers_make_the_model_less_sure_and_go_as_they_came() -> None:
    """The stated spread grows with the error; 400 true answers later both are small again."""
    world = World(12)
    clean, model = taught(World(12), 1000), taught(world, 1000, false_share=0.1, factor=0.6)
    sure, unsure = (judged.judge(*world.answer(0)[:2]).spread for judged in (clean, model))
    assert unsure > 1.2 * sure
    errors = teach(model, world, 800)[400:]
    assert abs(np.mean(errors)) < 0.01
    assert model.judge(*world.answer(0)[:2]).spread < 1.3 * sure


def _moved(one: PromptModel, other: PromptModel, answer: Answer) -> float:
    """How far apart two models are about a prompt, in shares of it."""
    shares, sizes, _ = answer
    return abs(one.judge(shares, sizes).log_tokens - other.judge(shares, sizes).log_tokens)


# Doubt


def test_doubt_starts_wide_and_is_earned() -> None:
    """A stranger states 30 % and more; every answer lowers it, to a tenth after about 150 and nothing after 226."""
    world, model = World(13), PromptModel()
    assert model.doubt == 0.3
    assert model.judge(*world.answer()[:2]).spread > 0.3
    doubts = []
    for _ in range(230):
        model.learn(*world.answer())
        doubts.append(model.doubt)
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[151] == pytest.approx(0.03, rel=0.02)
    assert doubts.index(0.0) == 226
    assert model.judge(*world.answer(0)[:2]).spread < 0.1


def test_doubt_covers_the_errors_of_a_stranger() -> None:
    """Of the first 100 answers of 20 servers, 99 in 100 lie within three stated deviations."""
    positions = []
    for seed in range(20):
        world, model = World(100 + seed), PromptModel()
        for _ in range(100):
            shares, sizes, tokens = world.answer()
            positions.append(abs(model.judge(shares, sizes).position(math.log(tokens))))
            model.learn(shares, sizes, tokens)
    assert np.mean(np.array(positions) > 3.0) < 0.01


def test_distrust_widens_at_once() -> None:
    """Every estimate is as doubtful as a stranger's, though none has moved much."""
    world = World(14)
    model = taught(world, 400)
    shares, sizes, _ = world.answer(2)
    row, _ = model.linear.row(shares, sizes)
    before, open_before = model.judge(shares, sizes), model.linear.ridge.variance(row)
    model.distrust()
    after, open_after = model.judge(shares, sizes), model.linear.ridge.variance(row)
    assert before.spread < 0.1
    assert after.spread > math.hypot(0.3, 0.1)
    assert after.log_tokens == pytest.approx(before.log_tokens, abs=0.2)
    assert open_after > 5 * open_before
    assert model.samples == 400


@pytest.mark.parametrize("seed", [15, 16, 17])
def test_after_a_swapped_vocabulary_distrust_relearns_within_300_answers(seed: int) -> None:
    """After 200 answers of another vocabulary errors are those of before, by half, and smaller than untold."""
    world, stubborn_world, model = World(seed), World(seed), PromptModel()
    settled = np.median(np.abs(teach(model, world, 1000)[-300:]))
    stubborn = taught(stubborn_world, 1000)
    for swapped in (world, stubborn_world):
        swapped.swap()
    model.distrust()
    errors = teach(model, world, 300)
    without = teach(stubborn, stubborn_world, 300)
    assert np.median(np.abs(errors[:10])) > 3 * settled
    assert np.median(np.abs(errors[200:])) < 1.5 * settled
    assert p95(errors[200:]) < 0.1
    assert np.median(np.abs(errors[50:])) < np.median(np.abs(without[50:]))


# Novelty


def test_text_unlike_any_seen_has_a_larger_spread() -> None:
    """Prose was seen 500 times; of Chinese, of which nothing is known, the model is several times less sure."""
    world = World(18)
    model = taught(world, 500)
    seen = model.judge(*world.answer(1)[:2]).spread
    novel = np.zeros(COUNT)
    novel[[name for name, _ in CLASSES].index("cjk")] = 1 / 3
    novel[[name for name, _ in CLASSES].index("continuation")] = 2 / 3
    sizes = RequestFacts(text_bytes=30_000, message_count=1)
    assert model.judge(novel, sizes).spread > 3 * seen
    assert model.judge(novel, sizes).spread > 0.12
    for _ in range(30):
        model.learn(novel, sizes, 9000)
    assert model.judge(novel, sizes).spread < model.judge(*World(19).answer()[:2]).spread
    assert model.judge(novel, sizes).log_tokens == pytest.approx(math.log(9000), abs=0.02)


def test_the_linear_fits_own_uncertainty_counts_for_novel_text_alone() -> None:
    """Weights no answer has excited make an estimate unsure; where exemplars speak for a text, they do not."""
    world = World(20)
    model = taught(world, 400)
    novel = np.zeros(COUNT)
    novel[[name for name, _ in CLASSES].index("emoji")] = 1 / 4
    sizes = RequestFacts(text_bytes=30_000, message_count=1)
    row, _ = model.linear.row(novel, sizes)
    correction = model.exemplars.correct(novel, model.linear.ridge.delta)
    expected = math.sqrt(correction.variance + model.linear.ridge.variance(row))
    assert model.judge(novel, sizes).spread == pytest.approx(expected)
    assert model.judge_rest(novel, sizes).spread == pytest.approx(expected)
    assert expected > 1.1 * math.sqrt(correction.variance)
    shares, sizes, _ = world.answer(0)
    correction = model.exemplars.correct(shares, model.linear.ridge.delta)
    assert model.judge(shares, sizes).spread == pytest.approx(math.sqrt(correction.variance))
    assert model.judge_rest(shares, sizes).spread == pytest.approx(math.sqrt(correction.variance))


# Whatever comes

SHARES = arrays(np.float64, COUNT, elements=st.just(0.0) | st.floats(0, 1))
SIZES = st.builds(
    RequestFacts,
    text_bytes=st.integers(0, 10**8),
    structure_bytes=st.integers(0, 10**7),
    message_count=st.integers(0, 10**5),
    tool_count=st.integers(0, 10**4),
)


@settings(max_examples=100)
@given(st.lists(st.tuples(SHARES, SIZES, st.integers(1, 10**9) | st.sampled_from(ABSURD)), max_size=8), SHARES, SIZES)
def test_whatever_was_learned_an_estimate_is_a_number(
    answers: list[Answer], shares: Array, sizes: RequestFacts
) -> None:
    """Finite, and so is what lies ten stated deviations above it, which a margin may ask for."""
    model = PromptModel()
    for answer in answers:
        model.learn(*answer)
        model.distrust()
        model.learn(*answer)
    for judgement in (model.judge(shares, sizes), model.judge_rest(shares, sizes)):
        assert math.isfinite(judgement.log_tokens)
        assert 0.0 < judgement.spread < 20.0
        assert math.isfinite(math.exp(judgement.log_tokens + 10.0 * judgement.spread))


def test_nothing_at_all_is_estimated_as_the_template() -> None:
    """No text and no message: a few tokens, before and after learning that it is so."""
    model, nothing = PromptModel(), np.zeros(COUNT)
    assert 1.0 < math.exp(model.judge(nothing, RequestFacts()).log_tokens) < 50.0
    for _ in range(300):
        model.learn(nothing, RequestFacts(), 1)
    assert math.exp(model.judge(nothing, RequestFacts()).log_tokens) < 8.0
