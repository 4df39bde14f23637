import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.answers import Answer, Unreadable, finish_named, read_answer
from extproc.routing.values import Finish


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


def parts(**usage: object) -> tuple[int, int]:
    """Reasoning and multimodal tokens of a body with this usage."""
    answer = read(usage={"prompt_tokens": 50, "completion_tokens": 20, **usage})
    assert answer.usage is not None
    return answer.usage.parts()


def test_thought_and_media_are_told_from_the_rest() -> None:
    """Chat and responses word reasoning each in its way; media are counted by modality, or in one number."""
    assert parts(completion_tokens_details={"reasoning_tokens": 7}) == (7, 0)
    assert parts(output_tokens_details={"reasoning_tokens": 7, "tool_output_tokens": 0}) == (7, 0)
    assert parts(prompt_tokens_details={"cached_tokens": 1, "multimodal_tokens": {"image": 9, "audio": 4}}) == (0, 13)
    assert parts(prompt_tokens_details={"multimodal_tokens": 13}) == (0, 13)
    assert parts(prompt_tokens_details={"cached_tokens": 10, "multimodal_tokens": None}) == (0, 0)
    assert parts(prompt_tokens_details=None, completion_tokens_details=None) == (0, 0)
    assert parts(prompt_tokens_details={"multimodal_tokens": 3}, completion_tokens_details={"reasoning_tokens": 2}) == (
        2,
        3,
    )


@pytest.mark.parametrize(
    "details",
    [
        [{"modality": "text", "token_count": 10}],
        "text",
        7,
        {"reasoning_tokens": -1, "multimodal_tokens": -1},
        {"reasoning_tokens": "7", "multimodal_tokens": [7]},
        {"reasoning_tokens": 2**31, "multimodal_tokens": {"image": 2**31}},
    ],
)
def test_details_that_are_none_leave_the_usage_standing(details: object) -> None:
    """They are a supplement, and every gateway has its own."""
    assert parts(prompt_tokens_details=details, completion_tokens_details=details) == (0, 0)


def test_details_in_broken_characters_leave_the_usage_standing() -> None:
    """Modalities are names that nobody reads."""
    details = b'{"multimodal_tokens": {"\xff": 7}}'
    answer = read_answer(b'{"usage": {"prompt_tokens": 5, "prompt_tokens_details": %b}}' % details)
    assert isinstance(answer, Answer)
    assert answer.usage is not None
    assert (answer.usage.tokens(), answer.usage.parts()) == ((5, 0), (0, 0))


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0}, {"output_tokens": 5}, {"prompt_tokens": None}])
def test_a_prompt_that_is_not_stated_is_not_positive(usage: dict[str, object]) -> None:
    """Zero or less says that there is nothing to learn."""
    assert tokens(**usage)[0] <= 0


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", Finish.STOP),
        ("tool_calls", Finish.STOP),
        ("function_call", Finish.STOP),
        ("repetition", Finish.STOP),
        ("length", Finish.LENGTH),
        ("content_filter", Finish.OTHER),
        ("abort", Finish.OTHER),
        ("error", Finish.OTHER),
        ("of some other kind", Finish.OTHER),
        (7, Finish.OTHER),
        ({"type": "stop"}, Finish.OTHER),
        (None, Finish.UNKNOWN),
        ("", Finish.UNKNOWN),
    ],
)
def test_a_choice_says_how_it_finished(reason: object, finish: Finish) -> None:
    """The words of vLLM and any other; what is not known is no good end."""
    assert read(choices=[{"index": 0, "finish_reason": reason, "stop_reason": "max_tokens"}]).finish is finish
    assert finish_named(json.dumps(reason).encode()) is finish


def test_of_several_choices_the_worst_speaks() -> None:
    """One cut at its limit makes the answer cut, one failed makes it failed."""

    def finish(*reasons: str | None) -> Finish:
        return read(choices=[{"finish_reason": reason} for reason in reasons]).finish

    assert finish("stop", "stop") is Finish.STOP
    assert finish("stop", "length", "abort") is Finish.LENGTH
    assert finish("abort", "stop") is Finish.OTHER
    assert finish("stop", None) is Finish.STOP
    assert finish(None, None) is Finish.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"type": "message", "stop_reason": "end_turn"}, Finish.STOP),
        ({"type": "message", "stop_reason": "stop_sequence"}, Finish.STOP),
        ({"type": "message", "stop_reason": "tool_use"}, Finish.STOP),
        ({"type": "message", "stop_reason": "max_tokens"}, Finish.LENGTH),
        ({"type": "message", "stop_reason": "refusal"}, Finish.OTHER),
        ({"type": "message", "stop_reason": None}, Finish.UNKNOWN),
        ({"status": "completed", "incomplete_details": None}, Finish.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Finish.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Finish.OTHER),
        ({"status": "incomplete", "incomplete_details": {}}, Finish.UNKNOWN),
        ({"status": "incomplete"}, Finish.OTHER),
        ({"status": "cancelled"}, Finish.OTHER),
        ({"status": "in_progress"}, Finish.OTHER),
        ({"status": 200}, Finish.OTHER),
        ({"object": "list", "data": []}, Finish.UNKNOWN),
        ({"choices": [], "usage": {}}, Finish.UNKNOWN),
    ],
)
def test_messages_and_responses_say_how_they_finished(fields: dict[str, object], finish: Finish) -> None:
    """Each in the fields of its route; embeddings and the like say nothing."""
    assert read(**fields).finish is finish


def test_the_end_nested_in_an_event_counts() -> None:
    """Beside the usage in `message_delta`; within `response.completed`, which vLLM sends of incomplete ones too."""
    assert read(type="message_delta", delta={"stop_reason": "max_tokens"}).finish is Finish.LENGTH
    assert read(type="message_delta", usage={}).finish is Finish.UNKNOWN
    assert read(type="message_start", message={"stop_reason": None}).finish is Finish.UNKNOWN
    response = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read(type="response.completed", response=response).finish is Finish.LENGTH
    assert read(type="response.output_text.delta", delta="text").finish is Finish.UNKNOWN


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
    nested = {"finish_reason": "length", "stop_reason": "max_tokens", "status": "incomplete"}
    assert (
        read(choices=[{"finish_reason": "stop", "message": nested}], delta=nested, output=[nested]).finish
        is Finish.STOP
    )


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
        b'{"choices": [7]}',
        b'{"choices": [null]}',
        b'{"incomplete_details": "text"}',
        b'{"type": "message_start", "message": "text"}',
        b'{"type": "message_delta", "delta": "text"}',
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
_NAMES = st.sampled_from(
    [
        *(
            "type",
            "usage",
            "error",
            "choices",
            "message",
            "response",
            "prompt_tokens",
            "input_tokens",
            "delta",
            "status",
        ),
        *("stop_reason", "finish_reason", "incomplete_details", "reason", "prompt_tokens_details", "multimodal_tokens"),
    ]
)
_KINDS = st.sampled_from(["error", "message_start", "message_delta", "response.completed"])
_NEAR = st.recursive(_JSON | _KINDS, lambda inner: st.dictionaries(_NAMES, inner, max_size=6), max_leaves=20)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=100), _NEAR.map(lambda value: json.dumps(value).encode())))
def test_it_never_raises(text: bytes) -> None:
    """Any bytes, and any JSON that is nearly an answer, give an answer with whole counts or the reason for none."""
    answer = read_answer(text)
    if isinstance(answer, Answer):
        assert answer.finish in Finish
    if isinstance(answer, Answer) and answer.usage:
        assert all(isinstance(count, int) for count in (*answer.usage.tokens(), *answer.usage.parts()))
        assert answer.is_error in (True, False)
        assert answer.has_last_usage in (True, False)
