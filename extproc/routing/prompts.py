"""Gathers what a body's prompt is made of: text, structure, framing; knows the dialects' shapes, not their limits.

A prompt whose length the body does not show (a stored conversation, an image) raises `NotInBody`, which
`extproc.routing.request` turns into a flaw; nothing else here raises.
"""

from dataclasses import dataclass, field

import msgspec

from extproc.routing.schemas import (
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
_tool_head = msgspec.json.Decoder(ToolHead)


class NotInBody(Exception):  # noqa: N818 - a turn of events, not an error
    """The body does not show how long its prompt is."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@dataclass(slots=True)
class Prompt:
    """One prompt while it is gathered."""

    pieces: list[str] = field(default_factory=list)
    structure_bytes: int = 0
    """JSON that the template writes anew."""
    message_count: int = 0
    tool_count: int = 0
    token_ids: int = 0

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of all text, structure included."""
        return self.structure_bytes + sum(map(utf8_bytes, self.pieces))

    def add_structure(self, raw: msgspec.Raw | None) -> None:
        """Take in a JSON value that is rendered into the prompt, at the size the client wrote it."""
        if raw is not None:
            self.structure_bytes += _raw_bytes(raw)

    def add_tools(self, tools: list[msgspec.Raw] | None) -> None:
        """Take in tool definitions."""
        for tool in tools or ():
            self.tool_count += 1
            self.structure_bytes += _raw_bytes(tool)

    def add_text(self, *texts: str | None) -> None:
        """Take in text as it stands."""
        self.pieces.extend(text for text in texts if text)


def utf8_bytes(text: str) -> int:
    """Bytes of a string in UTF-8, without a copy where it is ASCII."""
    return len(text) if text.isascii() else len(text.encode())


def gather_chat(body: ChatBody) -> list[Prompt]:
    """A chat is one prompt. A template of the client's own may add anything."""
    if body.chat_template is not None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt = Prompt()
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    prompt.add_structure(body.documents)
    prompt.add_structure(body.response_format)
    return [prompt]


def gather_completion(body: CompletionBody) -> list[Prompt]:
    """Each element of a list is a prompt of its own."""
    if body.prompt_embeds is not None or body.prompt is None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompts = _flat_prompts(body.prompt)
    for prompt in prompts:
        prompt.add_text(body.suffix)
    return prompts


def gather_responses(body: ResponsesBody) -> list[Prompt]:
    """Input items after the instructions; what the server keeps or fetches itself is not in the body."""
    stored = (body.previous_response_id, body.conversation, body.prompt)
    if body.input is None or any(value is not None for value in stored):
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
    prompt.add_structure(body.text)
    return [prompt]


def gather_messages(body: MessagesBody) -> list[Prompt]:
    """A system text and the turns."""
    prompt = Prompt()
    _add_content(prompt, body.system)
    _add_messages(prompt, body.messages)
    prompt.add_tools(body.tools)
    return [prompt]


def gather_pooling(body: PoolingBody) -> list[Prompt]:
    """Inputs stand alone; a query is paired with each document."""
    if body.messages is not None:
        prompt = Prompt()
        _add_messages(prompt, body.messages)
        return [prompt]
    if body.input is not None:
        return _flat_prompts(body.input)
    return _pairs(body)


def _pairs(body: PoolingBody) -> list[Prompt]:
    lefts = _texts(body.query) or _texts(body.queries) or _texts(body.text_1) or _texts(body.data_1)
    rights = _documents(body.documents) or _texts(body.text_2) or _texts(body.data_2)
    if not lefts and not rights:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    longest = max(lefts, key=utf8_bytes, default="")
    return [Prompt(pieces=[longest, right]) for right in rights or [""]]


def _texts(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _documents(documents: list[str | Part] | None) -> list[str]:
    return [_plain_text(document) for document in documents or ()]


def _plain_text(document: str | Part) -> str:
    if isinstance(document, str):
        return document
    if document.text is None:
        raise NotInBody(Flaw.MEDIA)
    return document.text


def _flat_prompts(value: str | list[str | int | list[int]]) -> list[Prompt]:
    """A string, strings, ids, or lists of ids: vLLM's four forms of `prompt` and `input`."""
    if isinstance(value, str):
        return [Prompt(pieces=[value])]
    prompts = [Prompt(pieces=[item]) for item in value if isinstance(item, str)]
    prompts += [Prompt(token_ids=len(item)) for item in value if isinstance(item, list)]
    loose_ids = sum(isinstance(item, int) for item in value)
    return [*prompts, Prompt(token_ids=loose_ids)] if loose_ids or not prompts else prompts


def _add_messages(prompt: Prompt, messages: list[Message]) -> None:
    for message in messages:
        _add_message(prompt, message)


def _add_message(prompt: Prompt, message: Message) -> None:
    if message.type not in _TEXT_ITEMS:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    prompt.message_count += 1
    _add_content(prompt, message.content)
    _add_content(prompt, message.output)
    _add_content(prompt, message.summary)
    prompt.add_text(message.name, message.reasoning_content or message.reasoning, message.arguments, message.input)
    prompt.add_structure(message.tool_calls)


def _add_content(prompt: Prompt, content: str | list[Part | str] | None) -> None:
    if isinstance(content, str):
        prompt.pieces.append(content)
        return
    for part in content or ():
        if isinstance(part, str):
            prompt.pieces.append(part)
        else:
            _add_part(prompt, part)


def _add_part(prompt: Prompt, part: Part) -> None:
    """A part that shows no text is media: its bytes say nothing about its tokens."""
    text = part.text or part.refusal or part.thinking
    if part.type in _TOOL_PARTS:
        prompt.add_text(part.name, text)
        prompt.add_structure(part.input)
        _add_content(prompt, part.content)
    elif part.type in _TEXT_PARTS and (text is not None or part.text is not None):
        prompt.add_text(text)
    else:
        raise NotInBody(Flaw.MEDIA)


def _refuse_server_tools(tools: list[msgspec.Raw] | None) -> None:
    """Tools that the server runs itself put their results into the prompt."""
    for tool in tools or ():
        if _tool_head.decode(tool).type not in ("function", "custom"):
            raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)


def _raw_bytes(raw: msgspec.Raw) -> int:
    return memoryview(raw).nbytes
