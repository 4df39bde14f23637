from dataclasses import replace

import pytest

from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.settings import MockSettings, TokenizerName
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.wire import ChatMessage, Function, OpenAIBody, Part, StreamOptions, ToolCall
from extproc.mockvllm.work import Prompt, Work, conversation, listed_prompts, openai_work, text_of

TOKENIZER = Tokenizer(TokenizerName.LLAMA3)
PROMPT = Prompt(10, 40, 1)
WORK = Work(model=None, prompts=(PROMPT,), asked_tokens=100, asked_field="max_tokens")


def counts(given: str | list[str | int | list[int]]) -> list[int]:
    """Tokens of each prompt of a list."""
    prompts = listed_prompts(TOKENIZER, given)
    assert isinstance(prompts, list)
    return [prompt.tokens for prompt in prompts]


def test_prompts_come_in_four_forms() -> None:
    """Text is counted with its first special token; token ids are counted as they are."""
    assert counts("hello world") == [3]
    assert counts(["hello world", "hello"]) == [3, 2]
    assert counts([1, 2, 3, 4]) == [4]
    assert counts([[1, 2], [3]]) == [2, 1]


@pytest.mark.parametrize("given", [[], ["a", 1], [[1], "a"], ["a"] * 1025])
def test_other_lists_are_refused(given: list[str | int | list[int]]) -> None:
    """Mixtures, nothing, and more than 1024 prompts are 400."""
    refusal = listed_prompts(TOKENIZER, given)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


def test_the_same_text_has_the_same_fingerprint() -> None:
    """Answers depend on the prompt's text."""
    one, same, other = (listed_prompts(TOKENIZER, text) for text in ("a b", "a b", "a c"))
    assert one == same
    assert one != other


def test_parts_are_joined_and_media_counted() -> None:
    """Text parts stand on lines of their own; whatever is no text is counted by itself."""
    content = [Part(text="a"), Part(type="image_url"), Part(type="input_text", text="b"), Part(type="input_audio")]
    message = conversation([ChatMessage("user", content)])[0]
    assert (message.text, message.media) == ("a\nb", 2)
    assert text_of(None) == ""


def test_tool_calls_keep_their_arguments() -> None:
    """Arguments come as text or as an object; both become JSON text."""
    calls = [ToolCall(Function("f", '{"a":1}')), ToolCall(Function("g", {"b": 2})), ToolCall(Function("h"))]
    message = conversation([ChatMessage("assistant", None, calls)])[0]
    assert [call.arguments for call in message.calls] == ['{"a":1}', '{"b": 2}', "{}"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"n": 0}, "n must be at least 1"), ({"n": 20_000}, "n must be at most"), ({"min_tokens": 101}, "min_tokens")],
)
def test_sampling_parameters_are_checked(wrong: dict[str, int], words: str) -> None:
    """What cannot be generated whatever the prompt is refused."""
    refusal = replace(WORK, **wrong).refusal()  # type: ignore[arg-type]  # each case changes one number
    assert isinstance(refusal, Refusal)
    assert words in refusal.message
    assert WORK.refusal() is None


def worked(body: OpenAIBody, **chosen: object) -> Work | Refusal:
    """The work of a body on an instance with the settings chosen."""
    settings = MockSettings(**chosen)  # type: ignore[arg-type]  # the tests pass fitting values
    return openai_work(body, [PROMPT], settings, asked_tokens=None, asked_field="max_tokens")


def test_stream_options_need_a_stream() -> None:
    """Options without stream are a shape error that names the field."""
    refusal = worked(OpenAIBody(stream_options=StreamOptions()))
    assert isinstance(refusal, Refusal)
    assert refusal.param == "stream_options"
    assert "Stream options can only be defined when `stream=True`." in refusal.message


@pytest.mark.parametrize(
    ("options", "chosen", "usage"),
    [
        (None, {}, (False, False)),
        (StreamOptions(), {}, (True, False)),
        (StreamOptions(include_usage=False, continuous_usage_stats=True), {}, (False, False)),
        (StreamOptions(continuous_usage_stats=True), {}, (True, True)),
        (None, {"enable_force_include_usage": True}, (True, True)),
        (None, {"enable_force_include_usage": True, "vllm_version": "0.19.0"}, (True, False)),
    ],
)
def test_usage_is_told_where_vllm_tells_it(
    options: StreamOptions | None, chosen: dict[str, object], usage: tuple[bool, bool]
) -> None:
    """Only on request or by force; per chunk only on request or, since 0.20, by force."""
    work = worked(OpenAIBody(stream=True, stream_options=options), **chosen)
    assert isinstance(work, Work)
    assert (work.include_usage, work.continuous_usage) == usage
