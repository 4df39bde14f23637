import msgspec
import pytest

from extproc.routing.schemas import (
    NULL,
    ChatBody,
    CompletionBody,
    CutBody,
    Message,
    MessagesBody,
    PoolingBody,
    ResponsesBody,
    ToolHead,
)

BODIES = [ChatBody, CompletionBody, ResponsesBody, MessagesBody, PoolingBody]


@pytest.mark.parametrize("schema", BODIES)
def test_an_empty_object_is_a_body(schema: type[msgspec.Struct]) -> None:
    """Every field may be missing: what that means is judged elsewhere."""
    assert msgspec.json.decode(b"{}", type=schema) == schema()


@pytest.mark.parametrize("schema", BODIES)
@pytest.mark.parametrize("text", [b"", b"[]", b'"text"', b"16", b"null", b"true", b"{", b"{} x", b"\xef\xbb\xbf{}"])
def test_what_is_not_one_object_is_no_body(schema: type[msgspec.Struct], text: bytes) -> None:
    """Arrays, scalars, truncated text, trailing text and a byte order mark are refused."""
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(text, type=schema)


def test_of_duplicate_keys_the_last_wins_however_it_is_spelt() -> None:
    """An escaped key is the same key to vLLM, so it must be to us: else a client could hide its limit."""
    body = msgspec.json.decode(b'{"max_tokens": 1, "max\\u005ftokens": 99999}', type=ChatBody)
    assert body.max_tokens == 99999


def test_fields_that_are_not_named_are_skipped_unread() -> None:
    """Their values need not even be UTF-8; they only have to be JSON in shape."""
    body = msgspec.json.decode(b'{"user": "\xff\xfe", "seed": {"a": [1, {}]}, "model": "m"}', type=ChatBody)
    assert body == ChatBody(model="m")


@pytest.mark.parametrize(
    ("text", "value"), [(b"16", 16), (b"16.0", 16.0), (b'"16"', "16"), (b"null", None), (b"-1", -1), (b"1e3", 1000.0)]
)
def test_counts_are_kept_as_clients_write_them(text: bytes, value: object) -> None:
    """Integers, floats and strings all come through; reading them is the business of `request`."""
    assert msgspec.json.decode(b'{"max_tokens": ' + text + b"}", type=ChatBody).max_tokens == value


@pytest.mark.parametrize("text", [b"true", b"[]", b"{}", b"1e999", b"NaN", b"01"])
def test_what_is_no_count_is_refused(text: bytes) -> None:
    """Truth values, containers, infinities and numbers that are not JSON."""
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"max_tokens": ' + text + b"}", type=ChatBody)


@pytest.mark.parametrize(("text", "value"), [(b"{}", 16), (b'{"max_tokens": null}', None)])
def test_null_is_not_the_default_of_completions(text: bytes, value: int | None) -> None:
    """A field left out means sixteen tokens, an explicit null as many as fit."""
    assert msgspec.json.decode(text, type=CompletionBody).max_tokens == value


@pytest.mark.parametrize("schema", BODIES)
def test_only_some_routes_cut_prompts(schema: type[msgspec.Struct]) -> None:
    """The server's Responses and Anthropic requests have no `truncate_prompt_tokens`, so it must not be read there."""
    assert issubclass(schema, CutBody) == (schema not in (ResponsesBody, MessagesBody))


@pytest.mark.parametrize("text", [b"{}", b'{"documents": null}', b'{"documents":  null }'])
def test_a_missing_json_value_equals_a_null_one(text: bytes) -> None:
    """One comparison with `NULL` tells whether anything is there."""
    assert msgspec.json.decode(text, type=ChatBody).documents == NULL


@pytest.mark.parametrize("text", [b'{"a": [1, 2]}', b"[]", b'"text"', b"0", b"false"])
def test_a_json_value_of_any_shape_is_kept_raw(text: bytes) -> None:
    """Objects, arrays and scalars pass as the bytes they were, and none of them is taken for null."""
    body = msgspec.json.decode(b'{"documents": ' + text + b"}", type=ChatBody)
    assert bytes(memoryview(body.documents)) == text
    assert body.documents != NULL


def test_a_tool_is_read_for_its_kind_alone() -> None:
    """Whatever a definition holds, only its type is taken out."""
    tool = b'{"type": "function", "function": {"name": "f", "parameters": {}}}'
    assert msgspec.json.decode(tool, type=ToolHead) == ToolHead(type="function")


MESSAGES = [
    b'{"role":"user","content":"abc"}',
    b'{"type":"function_call_output","call_id":"1","output":[{"type":"input_text","text":"abc"}]}',
    b'{"role":"user","content":[{"type":"text","text":"abc"},"de"]}',
    b"{}",
]


@pytest.mark.parametrize("text", MESSAGES)
def test_a_message_encoded_anew_shows_only_what_it_holds(text: bytes) -> None:
    """Two spellings of one message become the same, and fields that nobody reads are gone."""
    spelt = text.replace(b":", b" : ").replace(b"{", b'{"cache_control": null, ', 1).replace(b", }", b"}")
    for spelling in (text, spelt):
        assert msgspec.json.encode(msgspec.json.decode(spelling, type=Message)) == text


def test_raw_values_of_a_message_are_encoded_as_they_came() -> None:
    """Calls may hold anything, so they are not taken apart."""
    text = b'{"role":"assistant","tool_calls":[{"id" :  "1"}]}'
    assert msgspec.json.encode(msgspec.json.decode(text, type=Message)) == text
