import pytest

from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.template import MEDIA_TOKENS, Call, Message, llama3, qwen3
from extproc.mockvllm.tokens import Tokenizer

USER = Message("user", "Craft me a deep learning curriculum")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def text(segments: list[str | int]) -> str:
    """The text of segments, special tokens shown as numbers in brackets."""
    return "".join(f"[{segment}]" if isinstance(segment, int) else segment for segment in segments)


@pytest.mark.parametrize(("name", "tokens"), [(TokenizerName.LLAMA3, 41), (TokenizerName.QWEN3, 14)])
def test_a_single_message_costs_what_the_original_template_makes_of_it(name: TokenizerName, tokens: int) -> None:
    """Counts that the original tokenizers and templates gave for this conversation."""
    tokenizer = Tokenizer(name)
    assert tokenizer.count(tokenizer.render([USER])) == tokens


def test_llama_frames_every_message_with_five_tokens() -> None:
    """A message more costs its text and its frame."""
    tokenizer = Tokenizer(TokenizerName.LLAMA3)
    one = tokenizer.count(llama3([USER], ()))
    two = tokenizer.count(llama3([USER, Message("assistant", "Fine")], ()))
    assert two == one + 5 + tokenizer.count(["Fine"])


def test_llama_writes_tools_indented_before_the_first_question() -> None:
    """The tools stand as indented JSON inside the user's turn."""
    shown = text(llama3([USER], [TOOL]))
    assert '\n    "type": "function"' in shown
    assert shown.index('"function"') < shown.index(USER.text)
    assert "Environment: ipython" in shown


def test_qwen_writes_tools_compactly_into_the_system_turn() -> None:
    """The tools stand one a line before the user's turn."""
    shown = text(qwen3([Message("system", "Be brief."), USER], [TOOL]))
    assert '\n{"type": "function"' in shown
    assert shown.startswith("[151644]system\nBe brief.\n\n# Tools")


def test_calls_and_results_are_rendered_as_json() -> None:
    """A call's arguments and its result become part of the prompt in both templates."""
    talk = [USER, Message("assistant", "", calls=(Call("f", '{"a":1}'),)), Message("tool", "42"), Message("tool", "43")]
    assert '{"name": "f", "parameters": {"a": 1}}' in text(llama3(talk, ()))
    assert '{"output": "42"}' in text(llama3(talk, ()))
    assert '{"name": "f", "arguments": {"a":1}}' in text(qwen3(talk, ()))
    assert text(qwen3(talk, ())).count("[151644]user") == 2


def test_arguments_that_are_no_json_are_kept() -> None:
    """A client may send anything as arguments; rendering does not fail."""
    assert '"parameters": {oops}' in text(llama3([Message("assistant", "", calls=(Call("f", "{oops"),))], ()))


@pytest.mark.parametrize("render", [llama3, qwen3])
def test_pictures_cost_the_same_whatever_their_bytes(render: object) -> None:
    """Each picture adds the same number of tokens."""
    assert callable(render)
    plain, pictured = render([USER], ()), render([Message("user", USER.text, media=2)], ())
    assert len(pictured) == len(plain) + 2 * MEDIA_TOKENS


@pytest.mark.parametrize("render", [llama3, qwen3])
def test_odd_conversations_still_render(render: object) -> None:
    """No messages, tools alone, an answer at the end: each gives a prompt that ends open for the assistant."""
    assert callable(render)
    for messages, tools in (([], ()), ([], [TOOL]), ([USER, Message("assistant", "\nhm")], ())):
        assert text(render(messages, tools)).rstrip().removesuffix("[128007]").endswith("assistant")
