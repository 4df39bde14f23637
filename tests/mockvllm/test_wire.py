import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.wire import ChatBody, CompletionBody, EmbeddingsBody, MessagesBody, ResponsesBody, read


def test_only_the_fields_used_are_read() -> None:
    """Unknown fields are skipped, and a number in quotes is a number, as in vLLM."""
    body = b'{"messages":[{"role":"user","content":"hi","name":"x"}],"max_tokens":"5","logit_bias":{"1":2}}'
    given = read(body, ChatBody)
    assert isinstance(given, ChatBody)
    assert (given.max_tokens, given.messages[0].content, given.n) == (5, "hi", 1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "missing required field `messages`"),
        (b'{"messages": 5}', "Expected `array`"),
        (b'{"messages": [], "max_tokens": "many"}', "max_tokens"),
        (b"{", "JSON decode error"),
        (b"", "JSON decode error"),
        (b"[" * 100_000, "1 validation errors"),
    ],
)
def test_what_does_not_fit_is_a_refusal(body: bytes, words: str) -> None:
    """A body of the wrong shape gives 400 and says where."""
    refusal = read(body, ChatBody)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert words in refusal.message


def test_the_input_is_not_repeated() -> None:
    """What a user typed does not come back in an error."""
    refusal = read(b'{"messages": "my secret"}', ChatBody)
    assert isinstance(refusal, Refusal)
    assert "secret" not in refusal.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["messages", "role", "n"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("shape", [ChatBody, CompletionBody, ResponsesBody, MessagesBody, EmbeddingsBody])
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises(shape: type[ChatBody], body: bytes) -> None:
    """Any bytes at all are either a body or a refusal."""
    assert isinstance(read(body, shape), (shape, Refusal))
