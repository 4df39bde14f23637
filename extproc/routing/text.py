"""Counts the text and structure of a prompt while they are gathered; knows bytes and JSON, no dialect of any API."""

from collections.abc import Sequence

import msgspec

from extproc.routing.nesting import indent_bytes, may_be_deep
from extproc.routing.schemas import NULL, Message, ToolCall, ToolHead

TOOL_MESSAGES = 2
"""A tool's call or answer is framed like so many messages: as JSON inside a message, 9 to 17 tokens."""
AS_IS, AS_JSON, AS_JSON_OF_PYTHON = 0, 1, 3
r"""How a template writes a text. The Anthropic route of some vLLM releases turns a list of parts into Python's notation
first, and JSON of that takes up to three bytes where JSON takes one: a line break becomes `\\n`."""
tool_heads = msgspec.json.Decoder(list[ToolHead] | None)
_tool_calls = msgspec.json.Decoder(list[ToolCall] | None)


class Prompt(msgspec.Struct):
    """The longest prompt of a request while it is gathered, and what matters of the others."""

    pieces: list[str] = []
    """All text."""
    structures: list[bytes] = []
    """JSON that the template writes anew, compact."""
    messages: Sequence[Message] = ()
    """The turns of a conversation; empty where no template is applied."""
    context: Sequence[msgspec.Raw | str | None] = ()
    """What shapes the prompt beside the turns: tools, documents, instructions, arguments of the template."""
    text_bytes: int = 0
    """UTF-8 bytes of all text, structure included."""
    structure_bytes: int = 0
    """JSON that the template writes anew."""
    escape_bytes: int = 0
    """What the template may add by writing text as a JSON string, and by indenting JSON that is nested deep."""
    doubtful_bytes: int = 0
    """Bytes counted that the server may leave out or count another way: they must not teach."""
    message_count: int = 0
    tool_count: int = 0
    token_ids: int = 0
    prompt_count: int = 1
    """Prompts of the request, this one included."""
    other_text_bytes: int = 0
    """UTF-8 bytes of the other prompts."""
    texts: Sequence[str] = ()
    """Where there are several texts to choose the longest from: all of them."""
    escapes: int = 0
    """How the text that comes now may be written: `AS_IS`, `AS_JSON` or `AS_JSON_OF_PYTHON`."""

    def add_text(self, *texts: str | None) -> None:
        """Take in text as it stands."""
        for text in texts:
            if text:
                self.pieces.append(text)
                self.text_bytes += utf8_bytes(text)
                if self.escapes:
                    self.escape_bytes += self.escapes * _escape_bytes(text)

    def add_doubtful_text(self, *texts: str | None) -> None:
        """Take in text that only some templates show: ids of calls, thoughts of earlier turns."""
        before = self.text_bytes
        self.add_text(*texts)
        self.doubtful_bytes += self.text_bytes - before

    def add_structure(self, *values: msgspec.Raw, doubtful: bool = False) -> None:
        """Take in JSON values, null or not, that every template writes anew, or only some do."""
        for raw in values:
            if raw != NULL:
                compact = _compact(raw)
                self._add_json(compact)
                self.doubtful_bytes += doubtful * len(compact)

    def add_json_text(self, text: str) -> None:
        """Take in JSON that came as a string and is written anew."""
        self._add_json(text.encode())

    def add_calls(self, calls: msgspec.Raw) -> None:
        """Take in calls of tools, not null; their arguments come as strings of JSON, which are written anew like it."""
        self.add_structure(calls)
        if may_be_deep(calls):
            self.escape_bytes += sum(map(_indent_of_arguments, _tool_calls.decode(calls) or ()))

    def add_tools(self, tools: msgspec.Raw) -> None:
        """Take in tool definitions, which may be null."""
        if tools != NULL:
            self.tool_count += len(tool_heads.decode(tools) or ())
            self.add_structure(tools)

    def _add_json(self, compact: bytes) -> None:
        self.structures.append(compact)
        self.structure_bytes += len(compact)
        self.text_bytes += len(compact)
        self.escape_bytes += indent_bytes(compact)


def utf8_bytes(text: str) -> int:
    """Bytes of a string in UTF-8, without a copy where it is ASCII."""
    return len(text) if text.isascii() else len(text.encode())


def _compact(raw: msgspec.Raw) -> bytes:
    r"""A JSON value without white space and \uXXXX escapes: the same however a client's library spells it."""
    compact = msgspec.json.format(raw, indent=-1)
    if b"\\u" in compact:
        compact = msgspec.json.encode(msgspec.json.decode(compact))
    return compact


def _indent_of_arguments(call: ToolCall) -> int:
    """Of arguments in a string; others have been counted with the call."""
    arguments = call.function.arguments if call.function else None
    return indent_bytes(arguments.encode()) if isinstance(arguments, str) else 0


def _escape_bytes(text: str) -> int:
    """Bytes that a JSON string has more than its text: one for a quote or a line break, five for an ESC."""
    return len(msgspec.json.encode(text)) - 2 - utf8_bytes(text)
