import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.answers import Answer, Unreadable, read_answer


def read(**fields: object) -> Answer:
    """The answer of a document that must be readable."""
    answer = read_answer(json.dumps(fields).encode())
    assert isinstance(answer, Answer)
    return answer


def tokens(**usage: object) -> tuple[int, int]:
    """Prompt and completion tokens of a body with this usage."""
    answer = read(usage=usage)
    assert answer.usage is not None
    return answer.usage.tokens()


def test_each_route_words_its_usage_in_its_way() -> None:
    """Prompt and completion are told apart in every wording vLLM uses."""
    assert tokens(prompt_tokens=12, completion_tokens=5, total_tokens=17) == (12, 5)  # chat, completions
    assert tokens(prompt_tokens=12, total_tokens=12, completion_tokens=0) == (12, 0)  # embeddings
    assert tokens(total_tokens=12) == (12, 0)  # rerank, score
    assert tokens(total_tokens=12, completion_tokens=2) == (10, 2)
    assert tokens(input_tokens=12, output_tokens=5, total_tokens=17) == (12, 5)  # responses
    assert tokens(input_tokens=12, output_tokens=5) == (12, 5)  # messages


def test_cached_parts_belong_to_the_prompt() -> None:
    """Anthropic's three input fields are parts of one prompt; null parts are none."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 7, "output_tokens": 5}
    assert tokens(**usage) == (100, 5)
    assert tokens(**usage | {"cache_creation_input_tokens": None}) == (93, 5)
    assert tokens(cache_read_input_tokens=90, input_tokens=0) == (90, 0)


def test_details_do_not_count_twice() -> None:
    """OpenAI's cached tokens are part of `prompt_tokens` and lie in fields that are not read."""
    assert tokens(prompt_tokens=12, completion_tokens=5, prompt_tokens_details={"cached_tokens": 10}) == (12, 5)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0}, {"output_tokens": 5}, {"prompt_tokens": None}])
def test_a_prompt_that_is_not_stated_is_not_positive(usage: dict[str, object]) -> None:
    """Zero or less says that there is nothing to learn."""
    assert tokens(**usage)[0] <= 0


def test_a_body_without_usage_has_none() -> None:
    """Null and absent are the same."""
    assert read(usage=None, choices=[]).usage is None
    assert read(choices=[]).usage is None


def test_only_the_top_level_counts() -> None:
    """What the model wrote or a tool was called with may look like usage and changes nothing."""
    fake = {"usage": {"prompt_tokens": 1}, "error": {}, "type": "error"}
    answer = read(choices=[fake, {"delta": fake | {"content": json.dumps(fake)}}], delta=fake, output=[fake])
    assert answer.usage is None
    assert not answer.is_error


def test_the_last_of_doubled_fields_wins() -> None:
    """As in every JSON reader a client of vLLM uses."""
    answer = read_answer(b'{"usage": {"prompt_tokens": 1}, "usage": {"prompt_tokens": 2, "prompt_tokens": 3}}')
    assert isinstance(answer, Answer)
    assert answer.usage is not None
    assert answer.usage.tokens() == (3, 0)


def test_a_nested_answer_comes_to_the_top() -> None:
    """Some events carry the answer inside; its usage and error are what counts, under the event's type."""
    for kind, where in (
        ("message_start", "message"),
        ("response.completed", "response"),
        ("response.incomplete", "response"),
    ):
        inner = {"type": "message", "usage": {"input_tokens": 7}, "error": None}
        answer = read(**{"type": kind, where: inner})
        assert answer.type == kind
        assert answer.usage is not None
        assert answer.usage.tokens() == (7, 0)
        assert not answer.is_error
        assert read(**{"type": kind, where: inner | {"error": {"code": 500}}}).is_error


def test_a_text_in_the_place_of_a_nested_answer_is_left_alone() -> None:
    """Only the types that nest an answer are looked into; a flat error has a message of its own."""
    assert read(type="error", message="no memory").is_error
    assert read(message="hello", response=[1], usage={"prompt_tokens": 1}).usage is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"error": {"message": "m", "code": 500}},
        {"error": "m"},
        {"error": {}},
        {"type": "error", "code": "m"},
        {"type": "response.failed", "response": {"error": None}},
    ],
)
def test_errors_are_told(fields: dict[str, object]) -> None:
    """vLLM's, OpenAI's and Anthropic's shapes of an error."""
    assert read(**fields).is_error


def test_no_error_is_no_error() -> None:
    """Responses say `"error": null` in every answer."""
    assert not read(error=None).is_error
    assert not read().is_error


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        ({"choices": []}, True),
        ({"choices": [{"index": 0}]}, False),
        ({}, False),
        ({"type": "message_delta"}, True),
        ({"type": "response.completed", "response": {}}, True),
        ({"type": "response.incomplete", "response": {}}, True),
        ({"type": "message_start", "message": {}}, False),
        ({"type": "response.in_progress", "choices": []}, False),
    ],
)
def test_the_last_usage_is_known(fields: dict[str, object], last: bool) -> None:  # noqa: FBT001 - a table's column
    """A usage all along the stream is not the last one; each kind of stream has its event for that."""
    assert read(**fields).has_last_usage is last


def test_only_a_message_ends_with_a_typed_marker() -> None:
    """Chat ends with `[DONE]`, which is no JSON, and responses with their last usage."""
    assert read(type="message_stop").ends_stream
    assert not read(type="message_delta").ends_stream
    assert not read().ends_stream


@pytest.mark.parametrize("number", ["-1", "12.5", "1e30", "1" + "0" * 30, '"12"', "true", "[]", "2147483648"])
@pytest.mark.parametrize("field", ["prompt_tokens", "output_tokens", "cache_read_input_tokens"])
def test_a_count_that_is_none_makes_it_malformed(field: str, number: str) -> None:
    """A count is a whole number from 0 to 2^31 - 1; with any other, the usage is not believed at all."""
    text = f'{{"usage": {{"prompt_tokens": 5, "{field}": {number}}}}}'
    assert read_answer(text.encode()) is Unreadable.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"7",
        b"null",
        b'{"usage": []}',
        b'{"usage": 7}',
        b'{"type": "message_start", "message": "text"}',
        b'{"type": "response.completed"}',
        b'{"type": 7}',
        b'{"type": "\xff\xff\xff"}',
        b'{"a": NaN}',
        b"{} {}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_answer_is_malformed(text: bytes) -> None:
    """Other JSON, broken JSON, broken UTF-8 in a field that matters, and nesting too deep to follow."""
    assert read_answer(text) is Unreadable.MALFORMED


def test_a_missing_end_is_told_apart() -> None:
    """A document that stops is cut short wherever it stops, so the rest of it was not at fault."""
    text = json.dumps({"choices": [{"text": "é\n\u4e2d", "n": None}], "usage": {"prompt_tokens": 12}}).encode()
    for end in range(len(text)):
        assert read_answer(text[:end]) is Unreadable.CUT_SHORT
    assert read_answer(bytearray(text)) == read_answer(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(["type", "usage", "error", "choices", "message", "response", "prompt_tokens", "input_tokens"])
_KINDS = st.sampled_from(["error", "message_start", "message_delta", "response.completed"])
_NEAR = st.recursive(_JSON | _KINDS, lambda inner: st.dictionaries(_NAMES, inner, max_size=6), max_leaves=20)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=100), _NEAR.map(lambda value: json.dumps(value).encode())))
def test_it_never_raises(text: bytes) -> None:
    """Any bytes, and any JSON that is nearly an answer, give an answer with whole counts or the reason for none."""
    answer = read_answer(text)
    if isinstance(answer, Answer) and answer.usage:
        assert all(isinstance(count, int) for count in answer.usage.tokens())
        assert answer.is_error in (True, False)
        assert answer.has_last_usage in (True, False)
