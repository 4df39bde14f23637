import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.mockvllm.chat import Chat
from extproc.mockvllm.completions import Completions
from extproc.mockvllm.dialect import Dialect
from extproc.mockvllm.errors import Refusal, bad_request
from extproc.mockvllm.messages import Messages
from extproc.mockvllm.responses import Responses
from extproc.mockvllm.settings import MockSettings, TokenizerName
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.work import Work

TOKENIZER = Tokenizer(TokenizerName.LLAMA3)
DIALECTS: list[Dialect] = [
    Chat(MockSettings(), TOKENIZER),
    Completions(MockSettings(), TOKENIZER),
    Responses(TOKENIZER),
    Messages(TOKENIZER),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_work_or_a_refusal(dialect: Dialect, body: bytes) -> None:
    """No body makes a route raise."""
    assert isinstance(dialect.read(body), (Work, Refusal))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_route_has_an_error_body(dialect: Dialect) -> None:
    """Whatever its shape, the message is in it."""
    assert dialect.refused(bad_request("No."), (0, 33))["error"]["message"] == "No."
