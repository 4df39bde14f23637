import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.schemas import Message
from extproc.routing.text import Prompt
from extproc.routing.transcript import Transcript, transcribe

TEXTS = st.text(alphabet='a\x90\x91\xa1\xc0é中\n"\\{}[],:1', max_size=6)
CONTENTS = st.none() | TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2)
CALLS = st.lists(st.fixed_dictionaries({"id": TEXTS}), min_size=1, max_size=2) | st.integers(0, 120)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool"]), "content": CONTENTS},
        optional={"name": TEXTS, "tool_call_id": TEXTS, "tool_calls": CALLS, "reasoning": TEXTS},
    ),
    min_size=1,
    max_size=3,
)
CONTEXTS = st.lists(st.none() | TEXTS | CALLS.map(lambda value: msgspec.Raw(json.dumps(value).encode())), max_size=3)


def transcript(messages: list[dict[str, Any]], cuts: list[int], *, model: str = "m", context: Any = ()) -> Transcript:
    """Of messages as they come through the door."""
    read = msgspec.json.decode(json.dumps(messages), type=list[Message])
    return transcribe(model, Prompt(messages=read, context=context), cuts)


PROMPTS = st.tuples(TEXTS, CONTEXTS, MESSAGES)


@given(PROMPTS, PROMPTS)
def test_other_prompts_have_other_bytes(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Whatever stands where: no text can pass for the end of another, for a key or for a message."""
    runs = [transcript(messages, [1], model=model, context=context).runs for model, context, messages in (one, other)]
    prompts = [(model, list(map(plain, context)), messages[:1]) for model, context, messages in (one, other)]
    assert (runs[0] == runs[1]) == (prompts[0] == prompts[1])


def plain(item: Any) -> Any:
    """An item of a context as a value that can be compared."""
    return bytes(item) if isinstance(item, msgspec.Raw) else item


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"content": "ab"}, {"content": "c"}], [{"content": "a"}, {"content": "bc"}]),
        ([{"content": "a"}, {"content": "b"}], [{"content": "ab"}]),
        ([{"content": "a", "name": "b"}], [{"content": "b", "name": "a"}]),
        ([{"content": "a"}], [{"reasoning": "a"}]),
        ([{"content": ["a", "b"]}], [{"content": ["ab"]}]),
        ([{"content": "a"}], [{"content": [{"type": "text", "text": "a"}]}]),
        ([{"tool_calls": 1}, {"tool_calls": 23}], [{"tool_calls": 12}, {"tool_calls": 3}]),
    ],
)
def test_nothing_passes_for_something_else(one: list[Any], other: list[Any]) -> None:
    """The same letters in other places are another prompt."""
    assert b"".join(transcript(one, [len(one)]).runs) != b"".join(transcript(other, [len(other)]).runs)


def test_raw_values_of_the_context_are_kept_apart() -> None:
    """12 and 3 are not 1 and 23."""
    one, other = ([msgspec.Raw(text) for text in pair] for pair in ([b"12", b"3"], [b"1", b"23"]))
    assert transcript([{}], [1], context=one).runs != transcript([{}], [1], context=other).runs


@given(MESSAGES, MESSAGES)
def test_a_conversation_that_goes_on_begins_with_the_same_bytes(messages: list[Any], more: list[Any]) -> None:
    """So a hash that was taken at its end is met again on the way."""
    cut = len(messages)
    before = transcript(messages, [cut])
    after = transcript([*messages, *more], [cut, cut + len(more)])
    assert after.runs[0] == before.runs[0]
    assert after.places[0] == before.places[0]
    assert after.places[1] > after.places[0]


def test_a_place_tells_bytes_and_messages() -> None:
    """As many bytes in more messages, or more bytes in as many messages, are elsewhere."""
    prompts: list[list[dict[str, Any]]] = [[{"content": ""}], [{"content": "a"}], [{}] * 10, [{"content": "b"}]]
    transcripts = [transcript(messages, [len(messages)]) for messages in prompts]
    assert len(transcripts[0].runs[0]) == len(transcripts[2].runs[0])
    places = [one.places[0] for one in transcripts]
    assert len(set(places)) == 3
    assert places[1] == places[3]


def test_only_what_is_there_is_written() -> None:
    """A field more in the schema changes no hash and costs nothing."""
    assert len(b"".join(transcript([{"role": "user", "content": "hello"}], [1]).runs)) < 40
