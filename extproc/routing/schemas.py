"""The parts of OpenAI- and Anthropic-shaped bodies that decide a budget, as typed structs; knows no meaning of them.

Only the fields that are used are named, so that msgspec skips the rest (base64 images above all) without building it.
Duplicate keys: the last one wins, as it does in vLLM. Numbers keep the loose types that vLLM's own validation accepts.
"""

from typing import Any

import msgspec

Number = int | float | str | None
"""A count as clients write it: 16, 16.0 and "16" all reach vLLM as sixteen."""

COMPLETION_OUTPUT_TOKENS = 16
"""vLLM's default `max_tokens` on /v1/completions, OpenAI's legacy default; an explicit null names no limit."""

NULL = msgspec.Raw(b"null")
"""A JSON value of any shape that is null or missing: msgspec has no union of `Raw` and None."""


class Part(msgspec.Struct, omit_defaults=True):
    """One part of a message's content, in any of the dialects."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: str | None = None
    name: str | None = None
    id: str | None = None
    tool_use_id: str | None = None
    input: msgspec.Raw = NULL
    content: "str | list[Part | str] | None" = None


class Message(msgspec.Struct, omit_defaults=True):
    """One chat message, or one input item of the Responses API. Encoded anew, it shows only what it holds."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part | str] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tools: msgspec.Raw = NULL
    tool_calls: msgspec.Raw = NULL
    tool_call_id: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Part | str] | None = None
    summary: list[Part | str] | None = None


class StreamOptions(msgspec.Struct):
    """Whether a streamed answer will carry usage."""

    include_usage: bool | None = None


class Body(msgspec.Struct):
    """What every route shares."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: str | None = None
    kv_transfer_params: msgspec.Raw = NULL


class CutBody(Body):
    """A body on whose route vLLM cuts long prompts if told so; on the others it passes over the field."""

    truncate_prompt_tokens: Number = None


class ChatBody(CutBody):
    """POST /v1/chat/completions."""

    messages: list[Message] = []
    max_tokens: Number = None
    max_completion_tokens: Number = None
    tools: msgspec.Raw = NULL
    documents: msgspec.Raw = NULL
    response_format: msgspec.Raw = NULL
    chat_template: str | None = None
    chat_template_kwargs: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    """"none" takes the tools out of the prompt under --exclude-tools-when-tool-choice-none."""
    reasoning_effort: msgspec.Raw = NULL
    """Templates print it, or instructions that go with it."""
    n: Number = None
    """Sequences sampled; `completion_tokens` is their sum."""


class CompletionBody(CutBody):
    """POST /v1/completions."""

    prompt: str | list[str | int | list[int]] | None = None
    suffix: str | None = None
    prompt_embeds: msgspec.Raw = NULL
    max_tokens: Number = COMPLETION_OUTPUT_TOKENS
    max_completion_tokens: Number = None
    n: Number = None
    """Sequences sampled; `completion_tokens` is their sum."""


class ResponsesBody(Body):
    """POST /v1/responses."""

    input: str | list[Message] | None = None
    instructions: str | None = None
    max_output_tokens: Number = None
    tools: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL
    """Holds the reasoning effort."""
    chat_template_kwargs: msgspec.Raw = NULL
    previous_response_id: str | None = None
    previous_response: msgspec.Raw = NULL
    previous_input_messages: msgspec.Raw = NULL
    conversation: msgspec.Raw = NULL
    background: bool | None = None
    """The answer is kept for a later GET, which needs vLLM's store to be on."""
    prompt: msgspec.Raw = NULL


class MessagesBody(Body):
    """POST /v1/messages."""

    messages: list[Message] = []
    system: str | list[Part | str] | None = None
    max_tokens: Number = None
    tools: msgspec.Raw = NULL
    output_config: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    thinking: msgspec.Raw = NULL
    """Whether the model should reason, which some templates are told."""
    chat_template_kwargs: msgspec.Raw = NULL


class PoolingBody(CutBody):
    """POST /v1/embeddings, /pooling, /classify, /score and /rerank: a prompt and no output."""

    input: str | list[str | int | list[int]] | None = None
    messages: list[Message] | None = None
    chat_template: str | None = None
    chat_template_kwargs: msgspec.Raw = NULL
    query: str | None = None
    queries: str | list[str] | None = None
    text_1: str | list[str] | None = None
    data_1: str | list[str] | None = None
    documents: list[str | Part] | None = None
    items: list[str | Part] | None = None
    text_2: str | list[str] | None = None
    data_2: str | list[str] | None = None


class CalledFunction(msgspec.Struct):
    """What a call of a tool hands over."""

    arguments: Any = None
    """A string of JSON; some clients send the value itself."""


class ToolCall(msgspec.Struct):
    """One call of a tool."""

    function: CalledFunction | None = None


class ToolHead(msgspec.Struct):
    """What kind of tool a definition names."""

    type: str | None = None
