"""Gathers what a body's prompt is made of: text, structure, framing; knows the dialects' shapes, not their limits.

A prompt whose length the body does not show (a stored conversation, an image) raises `NotInBody`, and JSON that was
kept raw and turns out wrong raises msgspec's errors: `extproc.routing.request` turns both into flaws.
"""

from collections.abc import Sequence

import msgspec

from extproc.routing.schemas import (
    NULL,
    ChatBody,
    CompletionBody,
    Message,
    MessagesBody,
    Part,
    PoolingBody,
    ResponsesBody,
)
from extproc.routing.text import AS_IS, AS_JSON, AS_JSON_OF_PYTHON, TOOL_MESSAGES, Prompt, tool_heads, utf8_bytes
from extproc.routing.values import Flaw

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "reasoning_text", "summary_text"})
_TOOL_PARTS = frozenset({"tool_use", "tool_result", "redacted_thinking"})
_TEXT_ITEMS = frozenset(
    {
        None,
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    },
)
_PLAIN_ROLES = frozenset({None, "system", "user", "assistant"})
_ROLE_BYTES = 16
"""Templates print roles they do not know; shorter ones are within what a message is allowed for framing."""


class NotInBody(Exception):  # noqa: N818 - a turn of events, not an error
    """The body does not show how long its prompt is."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


def gather_chat(body: ChatBody) -> Prompt:
    """The messages and what the template sets around them. A template of the client's own may add anything."""
    if body.chat_template is not None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    shaping = (body.documents, body.response_format, body.chat_template_kwargs)
    prompt = Prompt(messages=body.messages, context=(body.tools, body.tool_choice, body.reasoning_effort, *shaping))
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    for raw in shaping:
        if raw != NULL:
            prompt.add_structure(raw, doubtful=True)
    return prompt


def gather_completion(body: CompletionBody) -> Prompt:
    """Each element of a list is a prompt of its own."""
    if body.prompt_embeds != NULL or body.prompt is None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt = _longest(body.prompt)
    prompt.add_text(body.suffix)
    return prompt


def gather_responses(body: ResponsesBody) -> Prompt:
    """Input items after the instructions; what the server keeps or fetches itself is not in the body.

    An answer in the background is asked for by its id later, and carried on by it: such requests go long, where the
    body shows nothing, and only the instance that answered knows it. `store` alone tells nothing: it is on by default.
    """
    elsewhere = (body.conversation, body.prompt, body.previous_response, body.previous_input_messages)
    stored = body.previous_response_id is not None or any(raw != NULL for raw in elsewhere)
    if stored or body.background or body.input is None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    _refuse_server_tools(body.tools)
    shaping = (body.tool_choice, body.reasoning, body.text, body.chat_template_kwargs)
    prompt = Prompt(context=(body.instructions, body.tools, *shaping))
    prompt.add_text(body.instructions)
    if isinstance(body.input, str):
        prompt.message_count += 1
        prompt.add_text(body.input)
    else:
        prompt.messages = body.input
        _add_messages(prompt, body.input)
    prompt.add_tools(body.tools)
    prompt.add_structure(body.text, body.chat_template_kwargs, doubtful=True)
    return prompt


def gather_messages(body: MessagesBody) -> Prompt:
    """A system text and the turns."""
    prompt = Prompt()
    _add_content(prompt, body.system)
    prompt.messages = body.messages
    shaping = (body.tool_choice, body.thinking, body.output_config, body.chat_template_kwargs)
    prompt.context = (*prompt.pieces, body.tools, *shaping)
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    prompt.add_structure(body.output_config, body.chat_template_kwargs, doubtful=True)
    return prompt


def gather_pooling(body: PoolingBody) -> Prompt:
    """Inputs stand alone; a query is paired with each document."""
    if body.chat_template is not None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    if body.messages is not None:
        prompt = Prompt()
        _add_messages(prompt, body.messages)
        prompt.add_structure(body.chat_template_kwargs, doubtful=True)
        return prompt
    if body.input is not None:
        return _longest(body.input)
    return _longest_pair(body)


def _longest_pair(body: PoolingBody) -> Prompt:
    """Whether a model reads both texts at once or one after the other decides what usage counts: no answer teaches."""
    lefts = _texts(body.query) or _texts(body.queries) or _texts(body.text_1) or _texts(body.data_1)
    rights = _texts(body.documents) or _texts(body.items) or _texts(body.text_2) or _texts(body.data_2)
    if not lefts or not rights:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    left, right = (max(texts, key=utf8_bytes) for texts in (lefts, rights))
    prompt = Prompt(prompt_count=len(rights), texts=lefts + rights)
    prompt.add_text(left, right)
    all_bytes = utf8_bytes(left) * prompt.prompt_count + sum(map(utf8_bytes, rights))
    prompt.other_text_bytes = all_bytes - prompt.text_bytes
    prompt.doubtful_bytes = all_bytes
    return prompt


def _texts(value: str | Sequence[str | Part] | None) -> list[str]:
    items = [value] if isinstance(value, str) else value or ()
    return [item if isinstance(item, str) else _plain_text(item) for item in items]


def _plain_text(document: Part) -> str:
    if document.text is None:
        raise NotInBody(Flaw.MEDIA)
    return document.text


def _longest(value: str | list[str | int | list[int]]) -> Prompt:
    """Of a string, strings, ids, or lists of ids: vLLM's four forms of `prompt` and `input`."""
    items = [value] if isinstance(value, str) else value
    texts = [item for item in items if isinstance(item, str)]
    id_counts = [len(item) for item in items if isinstance(item, list)]
    loose_ids = len(items) - len(texts) - len(id_counts)
    prompt = Prompt(token_ids=max(loose_ids, *id_counts, 0), texts=texts if len(texts) > 1 else ())
    prompt.prompt_count = max(1, len(texts) + len(id_counts) + bool(loose_ids))
    prompt.add_text(max(texts, key=utf8_bytes, default=""))
    prompt.other_text_bytes = sum(map(utf8_bytes, texts)) - prompt.text_bytes
    return prompt


def _add_messages(prompt: Prompt, messages: list[Message]) -> None:
    for message in messages:
        if message.role in _PLAIN_ROLES and message.output is None:
            _add_message(prompt, message)
        else:
            _add_special_message(prompt, message)


def _add_message(prompt: Prompt, message: Message) -> None:
    if message.type not in _TEXT_ITEMS:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt.message_count += 1
    if isinstance(message.content, str):
        prompt.add_text(message.content)
    else:
        _add_content(prompt, message.content)
    if message.summary is not None:
        _add_content(prompt, message.summary)
    if message.name or message.arguments is not None or message.input:
        _add_call(prompt, message)
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        prompt.add_doubtful_text(reasoning)
    if message.tool_calls != NULL:
        prompt.add_calls(message.tool_calls)


def _add_special_message(prompt: Prompt, message: Message) -> None:
    """A tool's answer, which some templates write as JSON; a developer's message; a role that templates print."""
    prompt.message_count += TOOL_MESSAGES - 1
    prompt.escapes = AS_JSON
    _add_message(prompt, message)
    _add_content(prompt, message.output)
    prompt.escapes = AS_IS
    prompt.add_tools(message.tools)
    prompt.add_doubtful_text(message.tool_call_id, message.call_id)
    if message.role and utf8_bytes(message.role) > _ROLE_BYTES:
        prompt.add_text(message.role)


def _add_call(prompt: Prompt, message: Message) -> None:
    """A call among the items of the Responses API, or the name of whoever speaks. Templates write arguments anew."""
    prompt.add_text(message.name, message.input)
    if message.arguments is not None:
        prompt.message_count += TOOL_MESSAGES - 1
        prompt.add_json_text(message.arguments)
        prompt.add_doubtful_text(message.call_id)


def _add_content(prompt: Prompt, content: str | list[Part | str] | None) -> None:
    """Text, or parts; what is set between two parts is at most what is set around a message."""
    if not content:
        return
    if isinstance(content, str):
        prompt.add_text(content)
        return
    prompt.message_count += len(content) - 1
    for part in content:
        if isinstance(part, str):
            prompt.add_text(part)
        else:
            _add_part(prompt, part)


def _add_part(prompt: Prompt, part: Part) -> None:
    """A part that shows no text is media: its bytes say nothing about its tokens."""
    if part.type in _TOOL_PARTS:
        _add_tool_part(prompt, part)
    elif part.type not in _TEXT_PARTS or (part.text, part.refusal, part.thinking) == (None, None, None):
        raise NotInBody(Flaw.MEDIA)
    prompt.add_text(part.text, part.refusal)
    if part.thinking:
        prompt.add_doubtful_text(part.thinking)


def _add_tool_part(prompt: Prompt, part: Part) -> None:
    """A call or its answer among the parts: it becomes a message of its own."""
    prompt.message_count += TOOL_MESSAGES
    prompt.add_text(part.name)
    prompt.add_structure(part.input)
    outer, prompt.escapes = prompt.escapes, AS_JSON if isinstance(part.content, str) else AS_JSON_OF_PYTHON
    _add_content(prompt, part.content)
    prompt.escapes = outer
    prompt.add_doubtful_text(part.id, part.tool_use_id)


def _refuse_server_tools(tools: msgspec.Raw) -> None:
    """Tools that the server runs itself put their results into the prompt."""
    if any(tool.type not in ("function", "custom") for tool in tool_heads.decode(tools) or ()):
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
