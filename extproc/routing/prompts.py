"""Gathers what a body's prompt is made of: text, structure, framing; knows the dialects' shapes, not their limits.

A prompt whose length the body does not show (a stored conversation, an image) raises `NotInBody`, and JSON that was
kept raw and turns out wrong raises msgspec's errors: `extproc.routing.request` turns both into flaws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    ToolHead,
)
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
_tool_heads = msgspec.json.Decoder(list[ToolHead] | None)


class NotInBody(Exception):  # noqa: N818 - a turn of events, not an error
    """The body does not show how long its prompt is."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@dataclass(slots=True)
class Prompt:
    """The longest prompt of a request while it is gathered, and what matters of the others."""

    pieces: list[str] = field(default_factory=list)
    text_bytes: int = 0
    """UTF-8 bytes of all text, structure included."""
    structure_bytes: int = 0
    """JSON that the template writes anew."""
    doubtful_bytes: int = 0
    """Bytes counted that the server may leave out or count another way: they must not teach."""
    message_count: int = 0
    tool_count: int = 0
    token_ids: int = 0
    prompt_count: int = 1
    """Prompts of the request, this one included."""
    other_text_bytes: int = 0
    """UTF-8 bytes of the other prompts."""

    def add_text(self, *texts: str | None) -> None:
        """Take in text as it stands."""
        for text in texts:
            if text:
                self.pieces.append(text)
                self.text_bytes += utf8_bytes(text)

    def add_reasoning(self, text: str) -> None:
        """Take in what the model thought in an earlier turn: most templates drop it, some keep the last."""
        self.add_text(text)
        self.doubtful_bytes += utf8_bytes(text)

    def add_structure(self, raw: msgspec.Raw, *, doubtful: bool = False) -> None:
        """Take in a JSON value that every template renders into the prompt, or only some do."""
        json_bytes = _json_bytes(raw)
        self.structure_bytes += json_bytes
        self.text_bytes += json_bytes
        self.doubtful_bytes += doubtful * json_bytes

    def add_tools(self, tools: msgspec.Raw) -> None:
        """Take in tool definitions, which may be null."""
        if tools != NULL:
            self.tool_count += len(_tool_heads.decode(tools) or ())
            self.add_structure(tools)


def utf8_bytes(text: str) -> int:
    """Bytes of a string in UTF-8, without a copy where it is ASCII."""
    return len(text) if text.isascii() else len(text.encode())


def _json_bytes(raw: msgspec.Raw) -> int:
    r"""Bytes of a JSON value without white space and \uXXXX escapes: the same however a client's library spells it."""
    compact = msgspec.json.format(raw, indent=-1)
    if b"\\u" in compact:
        compact = msgspec.json.encode(msgspec.json.decode(compact))
    return len(compact)


def gather_chat(body: ChatBody) -> Prompt:
    """The messages and what the template sets around them. A template of the client's own may add anything."""
    if body.chat_template is not None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt = Prompt()
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    for raw in (body.documents, body.response_format, body.chat_template_kwargs):
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
    """Input items after the instructions; what the server keeps or fetches itself is not in the body."""
    stored = body.conversation != NULL or body.prompt != NULL or body.previous_response_id is not None
    if stored or body.input is None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    _refuse_server_tools(body.tools)
    prompt = Prompt()
    prompt.add_text(body.instructions)
    if isinstance(body.input, str):
        prompt.message_count += 1
        prompt.add_text(body.input)
    else:
        _add_messages(prompt, body.input)
    prompt.add_tools(body.tools)
    if body.text != NULL:
        prompt.add_structure(body.text, doubtful=True)
    return prompt


def gather_messages(body: MessagesBody) -> Prompt:
    """A system text and the turns."""
    prompt = Prompt()
    _add_content(prompt, body.system)
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    return prompt


def gather_pooling(body: PoolingBody) -> Prompt:
    """Inputs stand alone; a query is paired with each document."""
    if body.messages is not None:
        prompt = Prompt()
        _add_messages(prompt, body.messages)
        return prompt
    if body.input is not None:
        return _longest(body.input)
    return _longest_pair(body)


def _longest_pair(body: PoolingBody) -> Prompt:
    """Whether a model reads both texts at once or one after the other decides what usage counts: no answer teaches."""
    lefts = _texts(body.query) or _texts(body.queries) or _texts(body.text_1) or _texts(body.data_1)
    rights = _texts(body.documents) or _texts(body.text_2) or _texts(body.data_2)
    if not lefts and not rights:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    left, right = (max(texts, key=utf8_bytes, default="") for texts in (lefts, rights))
    prompt = Prompt(prompt_count=max(1, len(rights)))
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
    prompt = Prompt(token_ids=max(loose_ids, *id_counts, 0))
    prompt.prompt_count = max(1, len(texts) + len(id_counts) + bool(loose_ids))
    prompt.add_text(max(texts, key=utf8_bytes, default=""))
    prompt.other_text_bytes = sum(map(utf8_bytes, texts)) - prompt.text_bytes
    return prompt


def _add_messages(prompt: Prompt, messages: list[Message]) -> None:
    for message in messages:
        _add_message(prompt, message)


def _add_message(prompt: Prompt, message: Message) -> None:
    if message.type not in _TEXT_ITEMS:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt.message_count += 1
    if isinstance(message.content, str):
        prompt.add_text(message.content)
    else:
        _add_content(prompt, message.content)
    for content in (message.output, message.summary):
        if content is not None:
            _add_content(prompt, content)
    if message.name or message.arguments or message.input:
        prompt.add_text(message.name, message.arguments, message.input)
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        prompt.add_reasoning(reasoning)
    if message.tool_calls != NULL:
        prompt.add_structure(message.tool_calls)


def _add_content(prompt: Prompt, content: str | list[Part | str] | None) -> None:
    if isinstance(content, str):
        prompt.add_text(content)
        return
    for part in content or ():
        if isinstance(part, str):
            prompt.add_text(part)
        else:
            _add_part(prompt, part)


def _add_part(prompt: Prompt, part: Part) -> None:
    """A part that shows no text is media: its bytes say nothing about its tokens."""
    if part.type in _TOOL_PARTS:
        prompt.add_text(part.name)
        if part.input != NULL:
            prompt.add_structure(part.input)
        _add_content(prompt, part.content)
    elif part.type not in _TEXT_PARTS or (part.text, part.refusal, part.thinking) == (None, None, None):
        raise NotInBody(Flaw.MEDIA)
    prompt.add_text(part.text, part.refusal)
    if part.thinking:
        prompt.add_reasoning(part.thinking)


def _refuse_server_tools(tools: msgspec.Raw) -> None:
    """Tools that the server runs itself put their results into the prompt."""
    if any(tool.type not in ("function", "custom") for tool in _tool_heads.decode(tools) or ()):
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
