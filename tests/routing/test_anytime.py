import json
import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing import anytime as anytime_module
from extproc.routing.anytime import MAX_MODELS, AnytimeEstimator, AnytimeRules, Lesson
from extproc.routing.learned import EstimatorState
from extproc.routing.memory import ConversationMemory
from extproc.routing.outputs import OutputModel
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request, read_request
from extproc.routing.router import Router
from extproc.routing.served import Promise
from extproc.routing.values import Category, Pool, Reason, Stage, Usage

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
WORDS = (
    "the",
    "router",
    "sends",
    "each",
    "request",
    "to",
    "a",
    "pool",
    "and",
    "learns",
    "what",
    "it",
    "costs",
    "later",
)
KEY = b"sixteen or more random bytes"
EFFORT = [Stage.SIZE, Stage.SAMPLE, Stage.TEXT, Stage.EXACT]
LEARNING = 260
"""Answers after which there is no doubt left, and after which the estimators here need no more."""
RULES = AnytimeRules(learning_samples=LEARNING)


class Tokenizer:
    """Counts five bytes a token; nothing where told so. Remembers what it was asked."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.asked: list[list[str]] = []

    def count(self, texts: Sequence[str]) -> int | None:
        """As said."""
        self.asked.append(list(texts))
        return None if self.fails else math.ceil(sum(len(text.encode()) for text in texts) / 5)


def words(rng: Random, count: int) -> str:
    """A text of so many words."""
    return " ".join(rng.choices(WORDS, k=count))


def chat(*texts: str, model: str = "m", **fields: Any) -> Request:
    """A conversation that begins with the user and takes turns."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    body = {"model": model, "max_tokens": 9, "messages": messages, **fields}
    return read_request(CHAT, json.dumps(body).encode())


def truth(request: Request) -> int:
    """What the server counts: five bytes a token, and the template's part."""
    return round(request.facts.text_bytes / 5) + 20


def answered(estimator: AnytimeEstimator, request: Request, usage: Usage | int, room: int = 8192) -> bool:
    """A request that was estimated, and its answer; whether it taught."""
    estimator.estimate(request, room)
    lesson = estimator.lesson(request, room, estimated=True)
    return estimator.learn(request.facts, lesson, Usage(usage) if isinstance(usage, int) else usage)


def taught(estimator: AnytimeEstimator, answers: int = LEARNING, model: str = "m") -> AnytimeEstimator:
    """Answers to chats of 200 to 3,000 words, 3 % from the relation of bytes to tokens."""
    rng = Random(1)
    for _ in range(answers):
        request = chat(words(rng, rng.randint(200, 3000)), model=model)
        assert answered(estimator, request, round(truth(request) * rng.uniform(0.97, 1.03)))
    return estimator


def anytime(
    memory: ConversationMemory | None = None, counter: Tokenizer | None = None, rules: AnytimeRules = RULES
) -> AnytimeEstimator:
    """One that has learned what there is to learn."""
    return taught(AnytimeEstimator(rules, memory, counter))


def remembering() -> AnytimeEstimator:
    """One with a memory, and nothing in it yet."""
    memory = ConversationMemory(KEY)
    estimator = anytime(memory)
    memory.clear()
    return estimator


def samples(estimator: AnytimeEstimator) -> dict[str, int]:
    """By model, the strangers' place included."""
    return {served.model: served.samples for served in estimator.snapshot().served}


def routed(estimator: AnytimeEstimator, threshold: int) -> Router:
    """In front of a short pool of this context."""
    return Router(estimator=estimator, policy=TokenBudgetPolicy(threshold))


@pytest.fixture(scope="module")
def cold() -> AnytimeEstimator:
    """One that nobody has taught; not to be taught."""
    return AnytimeEstimator(RULES)


@pytest.fixture(scope="module")
def warm() -> AnytimeEstimator:
    """One that has learned; not to be taught more."""
    return anytime()


# Effort


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_effort_grows_as_the_room_comes_closer(*, with_tokenizer: bool) -> None:
    """From either side: first a glance, then a sample, then all text, then a count; never less for being closer."""
    estimator = anytime(counter=Tokenizer() if with_tokenizer else None)
    text = words(Random(2), 3000)
    tokens = truth(chat(text))
    farthest, steps = math.log(200.0), 120
    for side in (1, -1):
        rooms = [tokens * math.exp(side * farthest * (1 - step / steps) ** 3) for step in range(steps + 1)]
        stages = [estimator.estimate(chat(text), round(room)).stage for room in rooms]
        efforts = [EFFORT.index(stage) for stage in stages]
        assert efforts == sorted(efforts)
        assert set(stages) >= {Stage.SIZE, Stage.SAMPLE, EFFORT[-1 if with_tokenizer else -2]}


def test_nothing_is_looked_at_that_is_not_needed() -> None:
    """A glance needs no features, a sample not all text, and only what all text leaves open is counted."""
    counter = Tokenizer()
    estimator = anytime(counter=counter)
    text = words(Random(2), 3000)
    tokens = truth(chat(text))
    for room, looks in ((200 * tokens, 0), (2 * tokens, 1), (tokens, 3)):
        counter.asked.clear()
        request = chat(text)
        estimate = estimator.estimate(request, room)
        looked = (request._sample is not None, request._text is not None, bool(counter.asked))
        assert looked == (looks > 0, looks > 1, looks > 2)
        assert estimate.stage is EFFORT[looks]


def test_a_stage_that_is_not_the_last_settles_only_what_is_clear() -> None:
    """Short if it is with the margin, long if it is without one, and either at a doubt below the stated risk."""
    estimator = anytime()
    rng = Random(3)
    for _ in range(400):
        request = chat(words(rng, rng.randint(100, 3000)))
        room = round(truth(request) * math.exp(rng.gauss(0, 1)))
        estimate = estimator.estimate(request, room)
        assert estimate.doubt is not None
        if estimate.stage is not Stage.TEXT:
            assert estimate.conservative_tokens <= room or estimate.mean_tokens > room
            assert estimate.doubt <= Promise().escalation_risk
        elif estimate.conservative_tokens <= room:
            assert estimate.doubt <= 50 * Promise().share


@settings(deadline=None, max_examples=200)
@given(count=st.integers(0, 3000), ratio=st.floats(0.01, 100.0), knows=st.booleans())
def test_an_estimate_is_a_statement_about_its_room(
    cold: AnytimeEstimator, warm: AnytimeEstimator, count: int, ratio: float, *, knows: bool
) -> None:
    """The margin is never below none, doubt is a probability, and what is called short is more likely so than not."""
    request = chat(words(Random(count), count))
    room = round(truth(request) * ratio)
    estimate = (warm if knows else cold).estimate(request, room)
    assert estimate.doubt is not None
    assert 0.0 <= estimate.doubt <= 1.0
    assert 0 <= estimate.mean_tokens <= estimate.conservative_tokens
    if estimate.conservative_tokens <= room:
        assert estimate.doubt < 0.5


def test_doubt_is_small_far_from_the_room_and_largest_in_its_margin() -> None:
    """Falling with the distance on both sides; just inside of the margin it is long, and likely needlessly."""
    estimator = anytime()
    text = words(Random(2), 3000)
    tokens = truth(chat(text))
    at = {
        ratio: estimator.estimate(chat(text), round(tokens * ratio)).doubt or 0.0
        for ratio in (0.02, 0.7, 1.01, 1.5, 50)
    }
    assert max(at[0.02], at[0.7], at[1.5], at[50]) < 0.01
    assert at[1.01] > 0.5


def test_an_even_promise_decides_by_the_mean() -> None:
    """Nothing is held back: what all text makes of a prompt is compared as it is."""
    estimator = anytime(rules=AnytimeRules(Promise(share=0.5)))
    text = words(Random(2), 3000)
    tokens = estimator.estimate(chat(text), truth(chat(text))).mean_tokens
    for room in (tokens - 2, tokens + 2):
        estimate = estimator.estimate(chat(text), room)
        assert estimate.stage is Stage.TEXT
        assert abs(estimate.conservative_tokens - estimate.mean_tokens) <= 1
        assert (estimate.conservative_tokens <= room) == (room > tokens)


@pytest.mark.parametrize("room", [-5000, 0, 1])
def test_where_there_is_no_room_it_is_long(warm: AnytimeEstimator, room: int) -> None:
    """The output alone takes it: such a request is estimated too, to be held against its answer."""
    estimate = warm.estimate(chat(words(Random(1), 500)), room)
    assert estimate.conservative_tokens > max(room, 1)
    assert estimate.doubt is not None
    assert estimate.doubt < 0.01


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": [{"role": "user", "content": ""}]}])
def test_a_prompt_without_text_is_estimated_too(body: dict[str, Any]) -> None:
    """Where output is learned its answer is wanted, and it is then estimated although its bytes settled it."""
    owner = Router(estimator=AnytimeEstimator(), policy=TokenBudgetPolicy(8192), outputs=OutputModel())
    decision = owner.route(read_request(CHAT, json.dumps({"model": "m", **body}).encode()), draw=0.0)
    assert (decision.pool, decision.reason, decision.observe) == (Pool.LONG, Reason.OUTPUT_UNDECLARED, True)
    correction = owner.complete(decision, Usage(12, 5))
    assert correction is not None
    assert not correction.learned


def test_a_cold_estimate_says_so() -> None:
    """Until 50 answers to prompts that tell of text; by default 2,000 are read, all of them."""
    rules = AnytimeRules()
    estimator, request = taught(AnytimeEstimator(rules), 49), chat("some words " * 100)
    assert answered(estimator, chat("short"), 25)
    assert not estimator.estimate(request, 8192).calibrated
    assert estimator.estimate(answered_once(estimator, request), 8192).calibrated
    assert rules.learning_samples == 2000


def test_the_promise_is_shown_as_it_was_set() -> None:
    """One in a thousand unless told otherwise."""
    assert AnytimeEstimator().promised_share == 0.001
    assert AnytimeEstimator(AnytimeRules(Promise(share=0.02))).promised_share == 0.02


def answered_once(estimator: AnytimeEstimator, request: Request) -> Request:
    """The request, after an answer to it."""
    assert answered(estimator, request, truth(request))
    return request


def test_margins_are_wide_before_they_are_earned() -> None:
    """The same prompt under the same promise: cold, half as much again is held back at least, warm some percent."""
    request, room = chat(words(Random(2), 3000)), truth(chat(words(Random(2), 3000)))
    cold, warm = (estimator.estimate(request, room) for estimator in (AnytimeEstimator(), anytime()))
    assert cold.stage is warm.stage is Stage.TEXT
    assert cold.conservative_tokens > 1.5 * cold.mean_tokens
    assert warm.conservative_tokens < 1.15 * warm.mean_tokens


# Kinds of text


@pytest.mark.parametrize(
    ("new", "bytes_per_token"),
    [(",".join(map(str, range(3000, 9000))), 1.7), ("x=1;" * 8000, 2.0), ("日本語の文章。" * 1500, 4.2)],
    ids=["numbers", "code", "japanese"],
)
def test_nothing_learned_of_one_kind_speaks_for_another(new: str, bytes_per_token: float) -> None:
    """After 1,000 prompts of one kind its bytes a token are known to a percent; the next prompt is of another kind.

    Where that one has as many tokens as such text may well have, it does not go short; of the known kind it would.
    """
    estimator = taught(AnytimeEstimator(RULES), 1000)
    request = chat(new)
    room = round(request.facts.text_bytes / bytes_per_token)
    assert estimator.estimate(request, room).conservative_tokens > room
    assert estimator.estimate(chat(words(Random(1), request.facts.text_bytes // 5)), room).conservative_tokens < room


def test_what_a_sample_leaves_out_is_learned_from_texts_that_have_more() -> None:
    """A text that is sampled whole says nothing of that, however many there are."""
    estimator = anytime()
    (before,) = (served.sampling_variance for served in estimator.snapshot().served if served.model == "m")
    rng = Random(5)
    for _ in range(200):
        request = chat(words(rng, 125))
        assert 512 <= request.facts.text_bytes <= 768
        answered(estimator, request, truth(request))
    (after,) = (served.sampling_variance for served in estimator.snapshot().served if served.model == "m")
    assert after == before


def test_tiny_prompts_teach_the_template_and_dilute_no_margin() -> None:
    """Their errors are the template's; no threshold lies there."""
    estimator, request = anytime(), chat("some words")
    (before,) = (served for served in estimator.snapshot().served if served.model == "m")
    tokens = estimator.estimate(chat("some words"), 30).mean_tokens
    for _ in range(50):
        answered(estimator, request, 60)
    (after,) = (served for served in estimator.snapshot().served if served.model == "m")
    assert after.samples == before.samples + 50
    learned = replace(after, samples=before.samples, linear=before.linear)
    assert replace(learned, positions=before.positions) == before  # rooms are those of all requests, read or not
    assert tokens < estimator.estimate(chat("some words"), 30).mean_tokens <= 60


# A local tokenizer


def test_a_count_has_the_last_word() -> None:
    """It is asked where all text leaves a request open, and decides within some percent."""
    estimator = anytime(counter=Tokenizer())
    rng = Random(6)
    for _ in range(60):
        request = chat(words(rng, 2000))
        answered(estimator, request, truth(request), room=truth(request))
    text = words(Random(2), 3000)
    tokens = truth(chat(text))
    for room, fits in ((round(tokens * 1.03), True), (round(tokens * 0.999), False)):
        estimate = estimator.estimate(chat(text), room)
        assert estimate.stage is Stage.EXACT
        assert (estimate.conservative_tokens <= room) == fits
        assert estimate.mean_tokens == pytest.approx(tokens, rel=0.001)


def test_counting_is_asked_once_a_request_at_most() -> None:
    """Routed, observed and taught: text and structure are each counted once, and not at all where it was clear."""
    counter = Tokenizer()
    estimator = anytime(counter=counter, rules=AnytimeRules(learning_samples=10**6))
    text = words(Random(2), 3000)
    owner = routed(estimator, threshold=truth(chat(text)) + 9)
    for request, stage, asked in ((chat(text), Stage.EXACT, [[text], []]), (chat(text[:5000]), Stage.SAMPLE, [])):
        counter.asked.clear()
        decision = owner.route(request, draw=0.0)
        assert decision.observe
        assert decision.stage is stage
        assert owner.complete(decision, Usage(truth(request))) is not None
        assert counter.asked == asked


def test_where_nothing_is_counted_all_text_decides() -> None:
    """Too long a text, or one that the tokenizer fails on: the request is judged as without one."""
    failing = Tokenizer(fails=True)
    estimator = anytime(counter=failing)
    text = words(Random(2), 3000)
    request, room = chat(text), truth(chat(text))
    estimate = estimator.estimate(request, room)
    assert estimate.stage is Stage.TEXT
    assert failing.asked
    assert estimate.conservative_tokens > room
    lesson = estimator.lesson(request, room, estimated=True)
    assert isinstance(lesson, Lesson)
    assert lesson.counted is None


def test_without_its_text_a_request_is_not_counted() -> None:
    """Facts alone, as of a request that was read elsewhere."""
    counter = Tokenizer()
    estimator = AnytimeEstimator(counter=counter)
    request = Request(chat(words(Random(2), 3000)).facts)
    assert estimator.estimate(request, truth(request)).stage is not Stage.EXACT
    assert not counter.asked


# Memory


def conversation(rng: Random, *counts: int) -> list[str]:
    """Turns of so many words."""
    return [words(rng, count) for count in counts]


def test_a_conversation_that_was_seen_starts_from_its_count() -> None:
    """By itself, without a look at what was counted; the rest alone is estimated."""
    estimator = remembering()
    asked, reply, more = conversation(Random(7), 2000, 100, 60)
    true_tokens = 3 * truth(chat(asked))  # a tokenizer of its own: nothing but memory can know
    estimator._memory.remember(bookmark_of(estimator, chat(asked)), Usage(true_tokens, 130))  # type: ignore[union-attr]
    request = chat(asked, reply, more)
    estimate = estimator.estimate(request, 8192)
    assert estimate.stage is Stage.MEMORY
    assert request._sample is None
    assert estimate.mean_tokens == pytest.approx(true_tokens + 130 + len(more) / 5, rel=0.01)
    assert estimator.remembered == 1


def bookmark_of(estimator: AnytimeEstimator, request: Request) -> Any:
    """What a lesson keeps for memory."""
    estimator.estimate(request, 8192)
    lesson = estimator.lesson(request, 8192, estimated=True)
    assert isinstance(lesson, Lesson)
    return lesson.bookmark


def test_a_recall_that_covers_little_is_not_used() -> None:
    """A greeting was seen, and then a document came: better estimated as a whole, and not by memory."""
    estimator = remembering()
    hello, reply, document = conversation(Random(7), 300, 20, 2000)
    assert answered(estimator, chat(hello), Usage(truth(chat(hello)), 26))
    request = chat(hello, reply, document)
    estimate = estimator.estimate(request, truth(request))
    assert estimate.stage in {Stage.SAMPLE, Stage.TEXT}
    lesson = estimator.lesson(request, truth(request), estimated=True)
    assert isinstance(lesson, Lesson)
    assert lesson.remembered is None


def calibrating(estimator: AnytimeEstimator) -> dict[Stage, float]:
    """How many errors calibrate each stage of the model, the prior included."""
    served = {served.model: served for served in estimator.snapshot().served}["m"]
    return {stage: float(np.frombuffer(packed, "<f4").sum()) for stage, packed in served.errors.items()}


def test_errors_of_memory_calibrate_memory() -> None:
    """Where memory decided the others had no say, and conversations that are known well would flatter them."""
    estimator, rng = remembering(), Random(8)
    talks = [conversation(rng, 400, 50, 30) for _ in range(20)]
    for asked, reply, _ in talks:
        assert answered(estimator, chat(asked), Usage(truth(chat(asked)), len(reply) // 5))
    before = calibrating(estimator)
    for talk in talks:
        assert answered(estimator, chat(*talk), truth(chat(*talk)))
    more = {stage: count - before[stage] for stage, count in calibrating(estimator).items()}
    assert more.pop(Stage.MEMORY) == pytest.approx(20, rel=0.01)
    assert set(more.values()) == {0.0}


def test_what_bounds_settled_calibrates_nothing() -> None:
    """Errors on prompts that nobody had to estimate say nothing of those that are; they teach what text costs."""
    estimator = anytime()
    before, known = calibrating(estimator), samples(estimator)["m"]
    for _ in range(5):
        request = chat(words(Random(4), 500))
        estimator.estimate(request, 8192)
        lesson = estimator.lesson(request, 8192, estimated=False)
        assert estimator.learn(request.facts, lesson, Usage(truth(request) + 30))
    assert calibrating(estimator) == before
    assert samples(estimator)["m"] == known + 5


def test_what_is_only_sampled_is_less_sure() -> None:
    """A long addition to a conversation, of which memory looks at a sample, and a text too long to be read in full.

    Each is compared with the longest of its kind that is looked at as a whole.
    """
    estimator = remembering()
    asked, reply, more = conversation(Random(7), 3000, 30, 400)
    assert answered(estimator, chat(asked), Usage(truth(chat(asked)), len(reply) // 5))
    short, long = (spread_of_rest(estimator, asked, reply, text) for text in (more[:760], more))
    assert short < long
    text, margins = words(Random(8), 20_000), []
    for characters in (65_000, 70_000):
        request = chat(text[:characters])
        estimate = estimator.estimate(request, estimator.estimate(request, 10**9).mean_tokens)
        assert estimate.stage is Stage.TEXT
        margins.append(estimate.conservative_tokens / estimate.mean_tokens)
    assert margins[0] < margins[1]


def spread_of_rest(estimator: AnytimeEstimator, asked: str, reply: str, more: str) -> float:
    """How unsure memory is of what is new, as a share of it."""
    request = chat(asked, reply, more)
    estimator.estimate(request, 8192)
    lesson = estimator.lesson(request, 8192, estimated=True)
    assert isinstance(lesson, Lesson)
    assert lesson.remembered is not None
    new_tokens = math.exp(lesson.remembered.log_tokens) - truth(chat(asked))
    known_spread = 0.005 * truth(chat(asked))
    spread = lesson.remembered.spread * math.exp(lesson.remembered.log_tokens)
    return math.sqrt(spread**2 - known_spread**2) / new_tokens


def test_what_memory_leaves_open_is_counted() -> None:
    """With a local tokenizer memory has not the last word."""
    estimator = taught(AnytimeEstimator(RULES, ConversationMemory(KEY), Tokenizer()))
    asked, reply, more = conversation(Random(7), 2000, 100, 60)
    assert answered(estimator, chat(asked), Usage(truth(chat(asked)), len(reply) // 5))
    request = chat(asked, reply, more)
    assert estimator.estimate(request, truth(request)).stage is Stage.EXACT
    assert estimator.estimate(chat(asked, reply, more), 50 * truth(request)).stage is Stage.MEMORY


def test_an_incredible_count_is_not_remembered() -> None:
    """It would speak for the whole conversation that follows; for the estimate it counts as an unlucky one."""
    estimator = remembering()
    request = chat(words(Random(9), 1500))
    assert answered(estimator, request, 3 * truth(request))
    assert estimator.remembered == 0
    assert answered(estimator, request, truth(request))
    assert estimator.remembered == 1


def test_an_alarm_clears_memory() -> None:
    """The counts are those of a vocabulary that is gone. Until then they are kept."""
    estimator, rng = remembering(), Random(10)
    for ratio in (1.0, 2.0):
        for _ in range(10):
            request = chat(words(rng, rng.randint(300, 1500)))
            answered(estimator, request, round(ratio * truth(request)))
            if estimator.standing()[0].alarms:
                assert estimator.remembered == 0
                return
            assert estimator.remembered
    pytest.fail("ten answers of twice the tokens raised no alarm")


def test_an_alarm_without_a_memory_only_relearns() -> None:
    """There is nothing to clear."""
    estimator, rng = anytime(), Random(10)
    for _ in range(30):
        request = chat(words(rng, rng.randint(300, 1500)))
        answered(estimator, request, 3 * truth(request))
    assert estimator.remembered is None
    assert estimator.standing()[0].alarms >= 1
    assert estimator.standing()[0].doubt > 0.1


# What teaches


def of_two_prompts() -> Request:
    """A list: its usage is a sum."""
    body = {"model": "m", "prompt": ["plain words " * 200, "plain words " * 200], "max_tokens": 9}
    return read_request(COMPLETIONS, json.dumps(body).encode())


def with_thoughts() -> Request:
    """A conversation that gives back reasoning, which some templates leave out."""
    messages = [
        {"role": "user", "content": "plain words " * 100},
        {"role": "assistant", "content": "yes", "reasoning_content": "so then " * 100},
        {"role": "user", "content": "plain words " * 100},
    ]
    return chat(messages=messages)


NEVER = {
    "a sum": (of_two_prompts(), Usage(1000)),
    "media": (chat("plain words " * 200), Usage(500, multimodal_tokens=200)),
    "more than a token a byte": (chat("plain words " * 200), Usage(2400 + 2 * 512 + 1)),
    "less than text has": (chat("plain words " * 200), Usage(2400 // 8 - 1)),
    "nothing": (chat("plain words " * 200), Usage(0)),
    "nothing of nothing": (chat(""), Usage(0)),
}


@pytest.mark.parametrize("why", NEVER)
def test_what_has_another_relation_to_bytes_teaches_nothing(why: str) -> None:
    """Not the model, not a margin, not memory."""
    request, usage = NEVER[why]
    estimator = remembering()
    before = estimator.snapshot().served
    assert not answered(estimator, request, usage)
    after = estimator.snapshot().served
    assert [replace(served, positions={}) for served in after] == [replace(served, positions={}) for served in before]
    assert estimator.remembered == 0


@pytest.mark.parametrize("tokens", [2400 + 2 * 512, 2400 // 8])
def test_what_is_possible_teaches(tokens: int) -> None:
    """To the last token; as much as an unlucky one."""
    estimator = anytime()
    before = samples(estimator)["m"]
    assert answered(estimator, chat("plain words " * 200), tokens)
    assert samples(estimator)["m"] == before + 1


def test_tools_may_take_more_than_their_bytes() -> None:
    """Templates write a preface to each."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    plain, with_tools = chat("plain words " * 50), chat("plain words " * 50, tools=tools)
    extra = 2 * with_tools.facts.structure_bytes + 512
    most = 600 + 2 * 512
    estimator = anytime()
    assert not answered(estimator, plain, most + 1)
    assert answered(estimator, with_tools, most + extra)
    assert not answered(estimator, with_tools, most + extra + 1)


@pytest.mark.parametrize(
    ("request_", "remembered"),
    [(with_thoughts(), 1), (chat("plain words " * 200, truncate_prompt_tokens=300), 0)],
    ids=["thoughts", "cut"],
)
def test_what_must_not_teach_may_still_be_remembered(request_: Request, remembered: int) -> None:
    """The server's count of a conversation with thoughts holds for it whatever was left out; that of a cut one not."""
    estimator = remembering()
    before = samples(estimator)
    assert not request_.facts.teaches
    assert not answered(estimator, request_, 300 if request_.facts.cut else truth(request_))
    assert samples(estimator) == before
    assert estimator.remembered == remembered


def test_counts_never_teach_across_models() -> None:
    """A model that nobody has answered for is judged as by a cold estimator, whatever others have learned."""
    estimator = anytime()
    request = chat(words(Random(2), 1000), model="new")
    assert estimator.estimate(request, 9000) == AnytimeEstimator(RULES).estimate(request, 9000)
    assert estimator.learning(request)
    assert not estimator.learning(chat(words(Random(2), 1000)))


def test_requests_make_no_models() -> None:
    """Only answers do, so a client cannot fill the table with invented names."""
    estimator = AnytimeEstimator(RULES)
    for number in range(100):
        request = chat("plain words " * 100, model=f"invented {number}")
        estimator.estimate(request, 8192)
        estimator.lesson(request, 8192, estimated=True)
        estimator.learning(request)
    assert samples(estimator) == {"*": 0}


def test_models_past_the_bound_share_one() -> None:
    """Each of the first has its own; the rest learn and are judged together."""
    estimator = AnytimeEstimator(RULES)
    for number in range(MAX_MODELS + 5):
        request = chat("plain words " * 100, model=f"model {number}")
        for _ in range(2):
            assert answered(estimator, request, 330)
    known = samples(estimator)
    assert len(known) == MAX_MODELS + 1
    assert known.pop("*") == 2 * 5
    assert set(known.values()) == {2}
    last, unheard = (chat("plain words " * 100, model=model) for model in ("model 20", "unheard of"))
    assert estimator.estimate(last, 8192).mean_tokens == estimator.estimate(unheard, 8192).mean_tokens


def test_a_model_not_heard_of_for_long_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come and go over months: 10,000 answers to others, here 30."""
    monkeypatch.setattr(anytime_module, "_IDLE_ANSWERS", 30)
    estimator = AnytimeEstimator(RULES)
    for number in range(MAX_MODELS):
        assert answered(estimator, chat("plain words " * 100, model=f"model {number}"), 330)
    for _ in range(40):
        assert answered(estimator, chat("plain words " * 100, model="model 1"), 330)
    assert answered(estimator, chat("plain words " * 100, model="new"), 330)
    known = samples(estimator)
    assert "model 0" not in known
    assert (known["new"], known["model 1"], known["*"]) == (1, 41, 0)


def test_the_published_ratios_are_learned_beside_it() -> None:
    """For people to see: bytes a token by kind of text."""
    (ratio,) = anytime().ratios()
    assert (ratio.model, ratio.category, ratio.samples) == ("m", Category.PROSE, LEARNING)
    assert ratio.bytes_per_token == pytest.approx(5.0, rel=0.05)


# Which answers are wanted


def test_answers_are_wanted_until_enough_were_seen() -> None:
    """So many for each model."""
    estimator, request = taught(AnytimeEstimator(RULES), LEARNING - 1), chat(words(Random(2), 1000))
    assert estimator.learning(request)
    answered(estimator, request, truth(request))
    assert not estimator.learning(request)


def test_answers_are_wanted_again_after_an_alarm() -> None:
    """Three hundred of them, counted from the one that raised it."""
    estimator, rng = anytime(), Random(10)
    request = chat(words(rng, 1000))
    while not estimator.standing()[0].alarms:
        answered(estimator, chat(words(rng, 1000)), 2 * truth(request))
    for _ in range(299):
        assert estimator.learning(request)
        answered(estimator, chat(words(rng, 1000)), 2 * truth(request))
    assert not estimator.learning(request)


def test_the_next_ten_answers_are_wanted_after_an_odd_one() -> None:
    """If it was one of a sample. Counted by requests that will be read, whenever their answers come."""
    estimator, rng = anytime(), Random(10)
    request = chat(words(rng, 1000))
    for weight, factor in ((50.0, 1), (1.0, 2), (50.0, 2)):
        assert not estimator.learning(request)
        lesson = estimator.lesson(request, 8192, estimated=True, weight=weight)
        estimator.learn(request.facts, lesson, Usage(factor * truth(request)))
    for _ in range(10):
        assert estimator.learning(request)
        estimator.lesson(request, 8192, estimated=True)
    assert not estimator.learning(request)
    assert not estimator.standing()[0].alarms


def test_a_request_that_stands_for_many_counts_for_as_many_rooms() -> None:
    """Rooms near the truth are observed more often than others, which must not make them look more frequent."""
    estimator, request = anytime(), chat(words(Random(10), 1000))
    distances = estimator._served("m").margins[Stage.TEXT].distances
    before = distances.sum()
    estimator.learn(request.facts, estimator.lesson(request, 8192, estimated=True, weight=50.0), Usage(truth(request)))
    assert distances.sum() == pytest.approx(before + 50.0, abs=0.1)


def test_conversations_are_wanted_for_the_sake_of_memory() -> None:
    """One with a reply in it until memory covers it; a single question not; and only once it was estimated."""
    estimator = remembering()
    asked, reply, more = conversation(Random(7), 800, 50, 40)
    question, talk = chat(asked), chat(asked, reply, more)
    assert not estimator.learning(talk)
    for request, wanted in ((question, False), (talk, True)):
        estimator.estimate(request, 8192)
        assert estimator.learning(request) == wanted
    assert answered(estimator, talk, Usage(truth(talk), 20))
    longer = chat(asked, reply, more, "so it is.", "And then?")
    estimator.estimate(longer, 8192)
    assert not estimator.learning(longer)


def test_without_a_memory_conversations_are_like_others() -> None:
    """Nothing would be gained."""
    estimator = anytime()
    talk = chat(*conversation(Random(7), 800, 50, 40))
    estimator.estimate(talk, 8192)
    assert not estimator.learning(talk)


# What is kept


def leaves(value: object) -> Iterator[object]:
    """Everything that a lesson holds, at any depth."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        yield from leaves(tuple(value.items()))
    else:
        yield value


def test_a_lesson_holds_no_text() -> None:
    """Numbers, the category's name and a keyed digest of 16 bytes, with every part of it there and at any depth."""
    estimator = taught(AnytimeEstimator(RULES, ConversationMemory(KEY), Tokenizer()))
    asked, reply, more = conversation(Random(7), 2000, 100, 60)
    assert answered(estimator, chat(asked), Usage(truth(chat(asked)), len(reply) // 5))
    request = chat(asked, reply, more, tools=None)
    estimator.estimate(request, truth(request))
    lesson = estimator.lesson(request, truth(request), estimated=True)
    assert isinstance(lesson, Lesson)
    assert all(part is not None for part in lesson)
    found = list(leaves(lesson))
    assert {type(leaf) for leaf in found} == {float, int, bool, bytes, Category}
    assert [len(leaf) for leaf in found if isinstance(leaf, bytes)] == [16]
    assert max(len(leaf) for leaf in found if isinstance(leaf, str)) <= max(map(len, Category))
    assert len(found) < 120


def test_a_state_holds_no_text_either() -> None:
    """The model's name, labels and packed numbers; nothing of memory, whose hashes are keyed for one process."""
    estimator = remembering()
    secret = "correct horse battery staple"
    request = chat(f"{words(Random(1), 500)} {secret}")
    assert answered(estimator, request, truth(request))
    assert estimator.remembered == 1
    written = msgspec.msgpack.encode(estimator.snapshot())
    assert secret.encode() not in written
    assert all(word.encode() not in written for word in secret.split())


# State


def test_what_was_learned_is_taken_over() -> None:
    """By one that was cold: the same estimates of the same prompts, and the published ratios with them."""
    cold, warm = AnytimeEstimator(RULES), anytime()
    cold.absorb(warm.snapshot())
    rng = Random(11)
    for _ in range(50):
        request = chat(words(rng, rng.randint(50, 3000)))
        room = round(truth(request) * rng.uniform(0.5, 2))
        ours, theirs = cold.estimate(request, room), warm.estimate(request, room)
        assert ours.mean_tokens == pytest.approx(theirs.mean_tokens, rel=0.001, abs=1) or ours.stage != theirs.stage
        assert ours.calibrated
    assert cold.ratios() == warm.ratios()
    assert samples(cold) == samples(warm)


def test_nothing_to_take_over_is_taken_over() -> None:
    """The state of a service that has seen no answer."""
    estimator = anytime()
    before = estimator.snapshot()
    estimator.absorb(EstimatorState())
    assert estimator.snapshot() == before


def test_estimates_of_decisions_agree_with_their_pools() -> None:
    """What the router does with an estimate is what the estimate says: short where it fits with its margin."""
    estimator = anytime()
    owner = routed(estimator, threshold=3009)
    rng = Random(12)
    pools = []
    for _ in range(200):
        request = chat(words(rng, rng.randint(700, 4000)))
        decision = owner.route(request, draw=0.999)
        if decision.reason is not Reason.FITS_WHATEVER_TOKENIZER:
            assert decision.budget is not None
            assert (decision.pool is Pool.SHORT) == (decision.budget.prompt_tokens + 9 <= 3009)
            pools.append(decision.pool)
    assert set(pools) == set(Pool)


# What no estimate may decide


def test_texts_of_several_kinds_are_never_decided_by_an_estimate() -> None:
    """The longest in bytes need not be the longest in tokens: prose beside a shorter list of digits."""
    estimator = anytime()
    body = {"model": "m", "max_tokens": 9, "prompt": [words(Random(2), 4000), "0123456789 " * 1700]}
    request = read_request("/v1/completions", json.dumps(body).encode())
    assert request.facts.mixed
    router = Router(estimator=estimator, policy=TokenBudgetPolicy(8192))
    assert router.route(request, draw=1.0).pool is Pool.LONG
