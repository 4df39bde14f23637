"""What one worker read teaches another the same, and what cannot have been read teaches nobody."""

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing import lessons
from extproc.routing.anytime import AnytimeEstimator, Lesson
from extproc.routing.estimators import EmaEstimator, Estimator, FixedRatioEstimator
from extproc.routing.exact import Counted
from extproc.routing.exchange import Exchange, Outcome, RequestHead, ResponseHead
from extproc.routing.features import COUNT
from extproc.routing.judgement import Judgement
from extproc.routing.lessons import LESSONS_MAX, MESSAGE_MAX_BYTES, LessonError, Taught, decode, encode, learn_from
from extproc.routing.memory import ConversationMemory
from extproc.routing.outputs import OutputModel, OutputRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.state import RouterState
from extproc.routing.values import Category, Finish, RequestFacts, Usage

HEAD = RequestHead("POST", "/v1/chat/completions")
KINDS = ("some words ", "def f(x): return x\n", "данные и слова ")


def router(estimator: Estimator) -> Router:
    """One that learns outputs too."""
    outputs = OutputModel(OutputRules(0.1))
    return Router(estimator=estimator, policy=TokenBudgetPolicy(8192), outputs=outputs)


def exchanged(
    subject: Router, text: str, answer: dict[str, Any], *, status: int = 200, limit: int | None = None
) -> Outcome:
    """One exchange, as the servicer drives it."""
    exchange = Exchange(subject, draw=0.0)
    exchange.request_headers(HEAD, end_of_stream=False)
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}]}
    exchange.request_body(json.dumps(body | ({"max_tokens": limit} if limit else {})).encode(), end_of_stream=True)
    exchange.response_headers(ResponseHead(status, "application/json"), end_of_stream=False)
    exchange.response_body(json.dumps(answer).encode(), end_of_stream=True)
    return exchange.close()


def usage(prompt_tokens: int) -> dict[str, Any]:
    """An answer that stopped by itself."""
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": 200}
    return {"usage": counts, "choices": [{"finish_reason": "stop"}]}


def told(teacher: Router, outcome: Outcome) -> Taught:
    """What an exchange taught, sent and received."""
    taught = lessons.taught_by(teacher, outcome)
    assert taught is not None
    (received,) = decode(encode([taught]))
    return received


COUNTS = st.integers(0, 2**53)
FACTS = st.builds(
    RequestFacts,
    text_bytes=COUNTS,
    structure_bytes=COUNTS,
    message_count=COUNTS,
    n=COUNTS,
    output_tokens=st.none() | COUNTS,
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=128),
    mixed=st.booleans(),
)
SHARES = st.lists(st.floats(0, 1e6), min_size=COUNT, max_size=COUNT).map(np.array)
LESSONS = st.builds(
    Lesson,
    SHARES,
    SHARES,
    st.just(Category.CJK),
    st.floats(0, 50),
    st.booleans(),
    st.none() | st.builds(Judgement, st.floats(-50, 50), st.floats(1e-9, 100)),
    st.none(),
    st.none() | st.builds(Counted, COUNTS, COUNTS, COUNTS, COUNTS),
    st.floats(0, 1e6),
)
TAUGHT = st.builds(
    Taught,
    FACTS,
    st.just(Category.CJK),
    LESSONS | st.just(Category.CJK),
    st.builds(Usage, COUNTS, COUNTS, finish=st.sampled_from(Finish)),
    st.booleans(),
)


def plain(taught: Taught) -> list[object]:
    """Its values, arrays as lists, so that two can be compared."""
    lesson = taught.lesson
    if isinstance(lesson, Lesson):
        lesson = lesson._replace(sample=lesson.sample.tolist(), text=lesson.text.tolist())
    return [taught.facts, taught.category, lesson, taught.usage, taught.of_output]


@given(st.lists(TAUGHT, max_size=3))
def test_lessons_are_read_as_they_were_written(written: list[Taught]) -> None:
    """Every number to its last bit: what others learn is what was learned."""
    assert list(map(plain, decode(encode(written)))) == list(map(plain, written))


@given(st.binary(max_size=400))
def test_no_bytes_are_believed(message: bytes) -> None:
    """Whatever comes, it is lessons or an error of its own."""
    with suppress(LessonError):
        decode(message)


@given(TAUGHT, st.data())
def test_a_message_cut_short_is_refused(taught: Taught, data: st.DataObject) -> None:
    """At any byte."""
    message = encode([taught])
    with pytest.raises(LessonError):
        decode(message[: data.draw(st.integers(0, len(message) - 1))])


FULL = Taught(
    RequestFacts(text_bytes=6600, total_text_bytes=6600, model="m" * 128),
    Category.PROSE,
    Lesson(
        np.full(COUNT, 0.5),
        np.full(COUNT, 0.5),
        Category.PROSE,
        9.0,
        True,
        Judgement(7.0, 0.1),
        None,
        Counted(1, 2, 3, 4),
        5.0,
    ),
    Usage(1300, 200, finish=Finish.STOP),
)


def altered(taught: Taught, **fields: Any) -> Taught:
    """With other values in its facts or its lesson."""
    assert isinstance(taught.lesson, Lesson)
    of_lesson = {name: value for name, value in fields.items() if name in Lesson._fields}
    of_facts = {name: value for name, value in fields.items() if name not in Lesson._fields}
    return taught._replace(
        facts=msgspec.structs.replace(taught.facts, **of_facts), lesson=taught.lesson._replace(**of_lesson)
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"text_bytes": -1},
        {"text_bytes": 2**53 + 1},
        {"model": "m" * 129},
        {"sample": np.full(COUNT, math.nan)},
        {"text": np.full(COUNT, -0.1)},
        {"text": np.full(COUNT, math.inf)},
        {"text": np.full(COUNT - 1, 0.5)},
        {"log_room": math.nan},
        {"log_room": -1.0},
        {"weight": math.inf},
        {"weight": math.nan},
        {"remembered": Judgement(7.0, 0.0)},
        {"remembered": Judgement(math.nan, 0.1)},
        {"counted": Counted(1, 2, 3, -4)},
    ],
    ids=str,
)
def test_what_cannot_have_been_learned_is_refused(fields: dict[str, Any]) -> None:
    """Negative counts, names too long, numbers that are none: one of them spoils the message."""
    assert decode(encode([FULL]))
    with pytest.raises(LessonError):
        decode(encode([FULL, altered(FULL, **fields)]))


def test_a_usage_that_counts_below_nothing_is_refused() -> None:
    """As that of an answer is, where it is read."""
    with pytest.raises(LessonError):
        decode(encode([FULL._replace(usage=Usage(-1))]))


def test_messages_are_bounded() -> None:
    """The largest fits in a datagram; a longer one, and one of more lessons, are refused unread."""
    message = encode([FULL] * LESSONS_MAX)
    assert len(message) < MESSAGE_MAX_BYTES
    more = msgspec.msgpack.encode(msgspec.msgpack.decode(message) * 2)
    with pytest.raises(LessonError, match=r"too long|damaged"):
        decode(more)
    with pytest.raises(LessonError, match="too long"):
        decode(bytes(MESSAGE_MAX_BYTES + 1))


def learned(router: Router) -> RouterState:
    """What answers taught it: where rooms lie it counts of the requests it routes itself."""
    state = router.snapshot()
    served = [replace(served, positions={}) for served in state.estimator.served]
    return replace(state, estimator=replace(state.estimator, served=served))


@pytest.mark.parametrize("make", [AnytimeEstimator, EmaEstimator, FixedRatioEstimator])
def test_who_is_told_knows_what_the_teller_knows(make: type[Estimator]) -> None:
    """Estimates, margins and outputs to the last bit, though the second router has seen no request."""
    teacher, pupil = router(make()), router(make())
    for index in range(60):
        text = KINDS[index % 3] * (40 + 11 * index)
        learn_from(pupil, told(teacher, exchanged(teacher, text, usage(len(text.encode()) // 4 + 20))))
    assert learned(pupil) == learned(teacher)
    assert pupil.outputs is not None
    assert make is not AnytimeEstimator or pupil.snapshot().estimator.served[-1].samples == 60
    assert pupil.outputs.reserve("m", None) is not None


def test_a_conversation_stays_where_it_was_read() -> None:
    """Its hash is of no use to others: the one remembers the prompt, the other only what it taught."""
    keys = (bytes(16), bytes(range(16)))
    teacher, pupil = (router(AnytimeEstimator(memory=ConversationMemory(key))) for key in keys)
    outcome = exchanged(teacher, "some words " * 600, usage(1300))
    assert outcome.decision is not None
    assert isinstance(outcome.decision.lesson, Lesson)
    assert outcome.decision.lesson.bookmark is not None
    taught = told(teacher, outcome)
    learn_from(pupil, taught)
    assert isinstance(taught.lesson, Lesson)
    assert taught.lesson.bookmark is None
    remembered = [
        subject.estimator.remembered for subject in (teacher, pupil) if isinstance(subject.estimator, AnytimeEstimator)
    ]
    assert remembered == [1, 0]


def test_a_refusal_teaches_the_prompt_and_no_output() -> None:
    """The short pool found a prompt too long: that much can be passed on."""
    teacher, pupil = router(EmaEstimator()), router(EmaEstimator())
    refusal = {"error": {"message": "This model's maximum context length is 8192 tokens.", "code": 400}}
    for _ in range(10):
        learn_from(pupil, told(teacher, exchanged(teacher, "some words " * 600, usage(1300), limit=9)))
    outcome = exchanged(teacher, "some words " * 600, refusal, status=400, limit=9)
    taught = told(teacher, outcome)
    assert (taught.of_output, taught.usage.prompt_tokens) == (False, 8192 - 9 + 1)
    learn_from(pupil, taught)
    assert pupil.ratios() == teacher.ratios()


def test_what_taught_nothing_is_not_told() -> None:
    """No decision, no answer read, an answer without usage."""
    teacher = router(EmaEstimator())
    assert lessons.taught_by(teacher, Exchange(teacher, draw=0.0).close()) is None
    unread = Exchange(teacher, draw=0.0)
    unread.request_headers(RequestHead("GET", "/"), end_of_stream=True)
    assert lessons.taught_by(teacher, unread.close()) is None
    assert lessons.taught_by(teacher, exchanged(teacher, "some words " * 600, {})) is None
