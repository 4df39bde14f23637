"""Request bodies as typed values that name only the fields used; knows JSON's shape and no meaning.

Numbers written as strings are taken for numbers, as vLLM's validation does. What is not named is skipped unread, so a
picture of 20 MB inside a data URL costs one pass over its bytes.
"""

from typing import Any, TypeVar

import msgspec

from extproc.mockvllm.errors import Refusal, malformed

T = TypeVar("T")


class Part(msgspec.Struct):
    """A piece of content: text, a picture, a tool's use or its result."""

    type: str = "text"
    text: str | None = None
    content: "str | list[Part] | None" = None
    """Of a tool result."""
    name: str = ""
    input: Any = None
    """Of a tool use."""


class Function(msgspec.Struct):
    """The function a tool call names."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    """A call inside an assistant's message."""

    function: Function


class ChatMessage(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None


class StreamOptions(msgspec.Struct):
    """What a stream tells beside the text."""

    include_usage: bool | None = True
    continuous_usage_stats: bool | None = False


class Body(msgspec.Struct, kw_only=True):
    """What all generating routes share."""

    model: str | None = None
    stream: bool | None = False
    seed: int | None = None
    request_id: str | None = None


class OpenAIBody(Body, kw_only=True):
    """What chat and plain completions share."""

    max_tokens: int | None = None
    n: int | None = 1
    stream_options: StreamOptions | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    truncate_prompt_tokens: int | None = None


class ChatBody(OpenAIBody, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None


class CompletionBody(OpenAIBody, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[str | int | list[int]]


class ResponsesItem(msgspec.Struct):
    """One item of the input of /v1/responses."""

    type: str = "message"
    role: str = "user"
    content: str | list[Part] | None = None
    name: str = ""
    arguments: str = ""
    output: str | list[Part] | None = None


class ResponsesBody(Body, kw_only=True):
    """POST /v1/responses."""

    input: str | list[ResponsesItem]
    instructions: str | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    truncation: str | None = None


class CountBody(msgspec.Struct, kw_only=True):
    """POST /v1/messages/count_tokens."""

    messages: list[ChatMessage]
    model: str | None = None
    system: str | list[Part] | None = None
    tools: list[dict[str, Any]] | None = None


class MessagesBody(CountBody, kw_only=True):
    """POST /v1/messages."""

    max_tokens: int
    stream: bool | None = False


class EmbeddingsBody(msgspec.Struct, kw_only=True):
    """POST /v1/embeddings."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: str | None = None
    truncate_prompt_tokens: int | None = None


class TokenizeBody(msgspec.Struct, kw_only=True):
    """POST /tokenize."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True


def read(body: bytes, shape: type[T]) -> T | Refusal:
    """Decode a body; what does not fit is a 400 in FastAPI's words, without the input they repeat."""
    try:
        return msgspec.json.decode(body, type=shape, strict=False)
    except msgspec.ValidationError as error:
        kind = "missing" if "missing required field" in str(error) else "value_error"
        return malformed([problem(kind, str(error))])
    except (msgspec.DecodeError, RecursionError):
        return malformed([problem("json_invalid", "JSON decode error")])


def problem(kind: str, message: str) -> str:
    """One validation error as FastAPI lists it."""
    return str({"type": kind, "loc": ("body",), "msg": message})
