"""Rebuilds conversations from a log that has only sizes and true tokens; knows the log's format, no router.

One JSON object a line (xz or not), as in Exgentic's traces of agents: `session_id`, `start_time_s`,
`input_messages_chars`, `output_messages_chars`, `tool_definitions_chars`, `input_tokens`, `output_tokens`, `is_error`,
`request_model`. The text is not in the log, so it is filler: English words and marks of code in the order of a seeded
generator, other for each session and message.

A call **extends** the last answered call of its session that had as large tool definitions, if its messages are longer
by more than that call's answer: to that call's messages come the answer and a message with the rest. Any other call
starts the conversation anew. Calls that failed have no sizes and are left out, as is every call without a size or a
count. The log does not tell messages apart, so a few calls count as extending that share no text with the one before
(agents ask small questions on the side).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from extproc.errors import ConfigurationError
from extproc.evaluate.files import read_lines


class Call(msgspec.Struct, frozen=True):
    """One call of the log."""

    session_id: str
    start_time_s: float
    input_messages_chars: int
    output_messages_chars: int
    input_tokens: int
    output_tokens: int
    tool_definitions_chars: int = 0
    is_error: bool = False
    request_model: str = ""

    @property
    def answered(self) -> bool:
        """Whether it has a true count."""
        return not self.is_error and self.input_tokens > 0 and self.input_messages_chars > 0


class Place(StrEnum):
    """Where in its session a call stands."""

    OPENS = "opens"
    """The first with its tools."""
    EXTENDS = "extends"
    """Continues a call that was answered."""
    RESTARTS = "restarts"
    """Its messages cannot hold those before and the answer: what was said was cut or summed up."""


class Turn(NamedTuple):
    """An answered call with a body of its size."""

    call: Call
    body: bytes
    place: Place


def read_calls(path: Path) -> list[Call]:
    """The calls of a log, in the order in which they began.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no such call.
    """
    calls = [_call(line, f"{path}, line {number}") for number, line in read_lines(path)]
    if not any(call.answered for call in calls):
        raise ConfigurationError(f"{path} holds no answered calls")
    return sorted(calls, key=lambda call: call.start_time_s)


def turns(calls: Iterable[Call]) -> Iterator[Turn]:
    """The answered calls, each with a body rebuilt."""
    conversations: dict[tuple[str, int], _Conversation] = {}
    for call in calls:
        if not call.answered:
            continue
        key = (call.session_id, call.tool_definitions_chars)
        known = conversations.get(key)
        conversation = conversations[key] = known or _Conversation(call.session_id, _tools(call))
        place = conversation.take(call) if known else conversation.open(call)
        yield Turn(call, conversation.body(call.request_model), place)


class _Line(msgspec.Struct):
    """A line as loggers write it: what a call that failed has not is missing, null, or below 0."""

    session_id: str | int
    start_time_s: float
    input_messages_chars: float | None = None
    output_messages_chars: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    tool_definitions_chars: float | None = None
    is_error: bool | None = None
    request_model: str | None = None


def _call(line: str, where: str) -> Call:
    try:
        found = _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigurationError(f"{where}: {error}; expected a call, for example {_EXAMPLE}") from error
    return Call(
        str(found.session_id),
        found.start_time_s,
        _size(found.input_messages_chars),
        _size(found.output_messages_chars),
        _size(found.input_tokens),
        _size(found.output_tokens),
        _size(found.tool_definitions_chars),
        bool(found.is_error),
        found.request_model or "",
    )


def _size(value: float | None) -> int:
    return max(0, int(value or 0))


@dataclass(slots=True)
class _Conversation:
    session: str
    tools: list[dict[str, Any]]
    messages: list[dict[str, str]] = field(default_factory=list)
    written: int = 0
    """Messages ever written, so that no two are alike."""
    chars: int = 0
    reply_chars: int = 0

    def open(self, call: Call) -> Place:
        self.messages = []
        self._say("user", call.input_messages_chars)
        self._answered(call)
        return Place.OPENS

    def take(self, call: Call) -> Place:
        rest = call.input_messages_chars - self.chars - self.reply_chars
        if rest <= 0:
            self.open(call)
            return Place.RESTARTS
        self._say("assistant", self.reply_chars)
        self._say("user", rest)
        self._answered(call)
        return Place.EXTENDS

    def body(self, model: str) -> bytes:
        tools = {"tools": self.tools} if self.tools else {}
        return msgspec.json.encode({"model": model, "messages": self.messages, **tools, "max_tokens": 1024})

    def _say(self, role: str, chars: int) -> None:
        self.messages.append({"role": role, "content": filler(f"{self.session}/{self.written}", chars)})
        self.written += 1

    def _answered(self, call: Call) -> None:
        self.chars, self.reply_chars = call.input_messages_chars, call.output_messages_chars


def filler(name: str, chars: int) -> str:
    """So many characters, the same for the same name."""
    random = Random(name)  # noqa: S311 - filler is no secret
    words = random.choices(_WORDS, k=chars // _SHORTEST + 1)
    return " ".join(words)[:chars]


def _tools(call: Call) -> list[dict[str, Any]]:
    """Definitions whose compact JSON has as many characters as the log says, some twenty of them."""
    chars = call.tool_definitions_chars
    if not chars:
        return []
    empty_chars = len(msgspec.json.encode([_tool("", "")] * _TOOLS))
    count = _TOOLS if chars > empty_chars + _TOOLS * _NAME_CHARS else 1
    names = [f"tool_{index:02}" for index in range(count)]
    framing = len(msgspec.json.encode([_tool(name, "") for name in names]))
    each, more = divmod(max(0, chars - framing), count)
    texts = [filler(f"{call.session_id}/{name}", each + (index < more)) for index, name in enumerate(names)]
    return [_tool(name, text) for name, text in zip(names, texts, strict=True)]


def _tool(name: str, description: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_decoder = msgspec.json.Decoder(_Line)
_EXAMPLE = (
    '{"session_id": "a", "start_time_s": 12.5, "input_messages_chars": 8000, "output_messages_chars": 200,'
    ' "input_tokens": 2000, "output_tokens": 50}'
)
_TOOLS, _NAME_CHARS = 20, 7
_TEXT = (
    "the of to and in is file test line that for error it with this return on as def path be self from value not an if"
    " () == { } -> = [0] import None name class should check output run src/module.py 12 use list data result function"
    " because before change which when call other number string first true # // assert raise key index type"
)
_WORDS = _TEXT.split()
_SHORTEST = 1 + min(map(len, _WORDS))
