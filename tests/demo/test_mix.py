import json
from collections import Counter
from random import Random

import pytest

from extproc.demo.corpus import Corpus, Kind, load
from extproc.demo.mix import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    CONVERSATION,
    MODELS_PATH,
    Ask,
    ask_of,
    asks,
    next_turn,
    text_bytes,
)
from extproc.routing.request import read_request

THRESHOLD = 8192


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The corpus as one seed makes it."""
    return load(Random(1))


@pytest.fixture(scope="module")
def mixed(corpus: Corpus) -> list[Ask]:
    """A stream long enough for its shares to show."""
    return list(asks(corpus, requests=600, threshold_tokens=THRESHOLD, rng=Random(3)))


def test_same_seed_same_requests(corpus: Corpus) -> None:
    """One generator state makes one stream of requests."""
    first, second = (list(asks(corpus, requests=40, threshold_tokens=THRESHOLD, rng=Random(seed))) for seed in (1, 1))
    assert first == second


def test_kinds_are_met_equally_often(mixed: list[Ask]) -> None:
    """Every kind of text has the same share, give or take one, conversations aside."""
    counts = Counter(ask.kind for ask in mixed if ask.is_inference and ask.kind != CONVERSATION)
    assert counts.keys() == set(Kind)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_shapes_are_mixed(mixed: list[Ask]) -> None:
    """Chats and completions, JSON and events, declared and undeclared outputs, escapes, parts and turns all occur."""
    bodies = [json.loads(ask.body) for ask in mixed if ask.is_inference]
    chats = [body for body in bodies if "messages" in body]
    assert {ask.path for ask in mixed} == {CHAT_PATH, COMPLETIONS_PATH, MODELS_PATH}
    assert 0.3 < sum(ask.streams for ask in mixed) / len(mixed) < 0.5
    assert 0.03 < sum(ask.output_tokens is None for ask in mixed if ask.path == CHAT_PATH) / len(mixed) < 0.1
    assert {len(body["messages"]) for body in chats} >= {1, 2, 3, 5}
    assert any(isinstance(body["messages"][-1]["content"], list) for body in chats)
    assert any(b"\\u" in ask.body for ask in mixed if ask.kind == Kind.CJK)
    assert all(body["stream_options"] == {"include_usage": True} for body in bodies if "stream" in body)


@pytest.mark.parametrize("requests", [1, 40, 41, 44, 600])
def test_asks_come_to_the_number_wanted(corpus: Corpus, requests: int) -> None:
    """Turns count as requests, and the last conversation is as long as there is room for."""
    found = asks(corpus, requests=requests, threshold_tokens=THRESHOLD, rng=Random(3))
    assert sum(ask.requests for ask in found) == requests


def test_conversations_grow_past_the_threshold(mixed: list[Ask]) -> None:
    """They begin below it and take a few turns; some end above it, some below."""
    conversations = [ask for ask in mixed if ask.kind == CONVERSATION]
    assert 0.05 < sum(ask.requests for ask in conversations) / 600 < 0.2
    begins = [ask.text_bytes / 5 for ask in conversations]
    ends = [_last_turn(ask).text_bytes / 5 for ask in conversations]
    assert THRESHOLD / 2 < min(begins) < max(begins) < THRESHOLD * 1.2
    assert min(ends) < THRESHOLD < max(ends)


def _last_turn(ask: Ask) -> Ask:
    """What a conversation comes to where every answer is short."""
    following = next_turn(ask, "An answer.")
    return ask if following is None else _last_turn(following)


def test_next_turn_answers_to_the_reply() -> None:
    """The conversation comes back whole, with the reply and the next question at its end, and counts its own bytes."""
    first = Ask(CHAT_PATH, b'{"messages":[{"role":"user","content":"one"}]}', text_bytes=3, turns=("two", "three"))
    second = next_turn(first, "né")
    assert second is not None
    assert [message["content"] for message in json.loads(second.body)["messages"]] == ["one", "né", "two"]
    assert (second.text_bytes, second.turns, second.requests) == (9, ("three",), 2)
    third = next_turn(second, "yes")
    assert third is not None
    assert next_turn(third, "yes") is None


def test_a_conversation_ends_where_no_answer_came() -> None:
    """There is nothing to answer to."""
    assert next_turn(Ask(CHAT_PATH, b'{"messages":[]}', turns=("two",)), "") is None


def test_sizes_lie_on_both_sides_of_the_threshold(mixed: list[Ask]) -> None:
    """A good share is small, a good share near the threshold, and some far above it."""
    tokens = [ask.text_bytes / 4.8 for ask in mixed if ask.kind in {Kind.PROSE, Kind.OTHER_SCRIPT}]
    assert sum(count < THRESHOLD / 8 for count in tokens) >= 20
    assert sum(THRESHOLD / 2 < count < THRESHOLD * 1.4 for count in tokens) >= 15
    assert sum(count > THRESHOLD * 1.4 for count in tokens) >= 6


def test_own_count_agrees_with_the_router(mixed: list[Ask]) -> None:
    """Counted from the composed text, the bytes are those that the service finds in the body, brackets aside."""
    for ask in mixed[:120]:
        if ask.is_inference:
            facts = read_request(ask.path, ask.body).facts
            assert facts.total_text_bytes == pytest.approx(ask.text_bytes, rel=0.01 if facts.tool_count else 0.0)
            assert facts.output_tokens == ask.output_tokens


def test_text_bytes_counts_every_form_of_content() -> None:
    """Strings, parts, prompts and tools count; what is not text does not."""
    parts = [{"type": "text", "text": "né"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    body = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "ab"}, {"role": "user"}]}
    assert text_bytes(body) == 5
    assert text_bytes({"prompt": ["ab", "c"], "tools": [{}]}) == 7


@pytest.mark.parametrize(
    ("body", "path", "output_tokens"),
    [
        ({"messages": [], "max_tokens": 5, "max_completion_tokens": 7}, CHAT_PATH, 7),
        ({"messages": [], "max_tokens": 5, "max_completion_tokens": None}, CHAT_PATH, 5),
        ({"messages": []}, CHAT_PATH, None),
        ({"prompt": "x"}, COMPLETIONS_PATH, 16),
    ],
)
def test_bodies_from_elsewhere(body: dict[str, object], path: str, output_tokens: int | None) -> None:
    """Path and reserved output are told from a body as vLLM would."""
    ask = ask_of(json.dumps(body).encode())
    assert (ask.path, ask.output_tokens) == (path, output_tokens)
