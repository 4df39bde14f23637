"""Chat templates of Llama 3.1 and Qwen3, rendered to segments a tokenizer can count; knows no tokenizer and no HTTP.

A segment is text, or the id of one special token. vLLM's templates frame each message, put the tools in front of the
first user message (Llama, as indented JSON) or into the system message (Qwen, as compact JSON), and write a tool call
as JSON. Where a template has instructions of its own, the words here are ours and cost the same number of tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Segment = str | int

MEDIA_TOKENS = 1024
"""Tokens that stand for one image, sound or film: whatever its bytes, like a picture of about a megapixel."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call the assistant made: the function's name and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, its content parts already joined."""

    role: str
    text: str
    media: int = 0
    """Images, sounds and films among the parts."""
    calls: tuple[Call, ...] = ()


def llama3(messages: Sequence[Message], tools: Sequence[Any]) -> list[Segment]:
    """A conversation as Llama 3.1 reads it, open for the assistant's answer."""
    system, rest = _split_system(messages)
    text = system.text.strip() if system else ""
    text = f"Environment: ipython\n{_LLAMA_DATES}{text or _LLAMA_TOOL_SYSTEM}" if tools else _LLAMA_DATES + text
    segments: list[Segment] = [_LLAMA_BEGIN, *_llama_turn("system", text, system.media if system else 0)]
    if tools:
        first, rest = (rest[0], rest[1:]) if rest else (Message("user", ""), rest)
        listing = "".join(f"{_json(tool, indent=4)}\n\n" for tool in tools)
        segments += _llama_turn("user", _LLAMA_TOOL_INSTRUCTION + listing + first.text.strip(), first.media)
    for message in rest:
        segments += _llama_message(message)
    return [*segments, _LLAMA_START, "assistant", _LLAMA_END, "\n\n"]


def qwen3(messages: Sequence[Message], tools: Sequence[Any]) -> list[Segment]:
    """A conversation as Qwen3 reads it, open for the assistant's answer."""
    system, rest = _split_system(messages)
    segments: list[Segment] = []
    if tools:
        text = f"{system.text}\n\n" if system else ""
        listing = "".join(f"\n{_json(tool)}" for tool in tools)
        segments += [_QWEN_START, f"system\n{text}{_QWEN_TOOLS}{listing}{_QWEN_CALLS}", _QWEN_CALL, _QWEN_CALL_END]
        segments += [" XML tags:\n", _QWEN_CALL, _QWEN_CALL_SHAPE, _QWEN_CALL_END, _QWEN_END, "\n"]
    elif system:
        segments += [_QWEN_START, f"system\n{system.text}", *_media(system.media, _QWEN_PAD), _QWEN_END, "\n"]
    for index, message in enumerate(rest):
        segments += _qwen_message(rest, index, message)
    return [*segments, _QWEN_START, "assistant\n"]


def _split_system(messages: Sequence[Message]) -> tuple[Message | None, Sequence[Message]]:
    if messages and messages[0].role == "system":
        return messages[0], messages[1:]
    return None, messages


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _media(count: int, pad: int) -> list[Segment]:
    return [pad] * (count * MEDIA_TOKENS)


def _arguments(call: Call) -> str:
    """The arguments as the template writes them: parsed and dumped again, or as they came where they do not parse."""
    try:
        return _json(json.loads(call.arguments))
    except ValueError:
        return call.arguments


_LLAMA_BEGIN, _LLAMA_START, _LLAMA_END, _LLAMA_EOT, _LLAMA_PAD = 128_000, 128_006, 128_007, 128_009, 128_004
_LLAMA_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_LLAMA_TOOL_SYSTEM = (
    "You help people and may call tools while you do so. Call a tool only where one of the functions listed by the "
    "user can do what is asked. Where none of them can, answer in plain words of your own. Once a tool has answered, "
    "write your reply to the user from what it said."
)
_LLAMA_TOOL_INSTRUCTION = (
    "Below are functions you can use. Answer with the JSON of the one call that serves the prompt best, with its "
    "arguments all filled in.\n\n"
    'Write {"name": name of the function, "parameters": object from argument to value}. Leave no variables in.\n\n'
)


def _llama_turn(role: str, text: str, media: int = 0) -> list[Segment]:
    return [_LLAMA_START, role, _LLAMA_END, f"\n\n{text}", *_media(media, _LLAMA_PAD), _LLAMA_EOT]


def _llama_message(message: Message) -> list[Segment]:
    if message.calls:
        turns = (f'{{"name": "{call.name}", "parameters": {_arguments(call)}}}' for call in message.calls)
        return [segment for text in turns for segment in _llama_turn("assistant", text)]
    if message.role in {"tool", "ipython"}:
        return _llama_turn("ipython", _json({"output": message.text}), message.media)
    return _llama_turn(message.role, message.text.strip(), message.media)


_QWEN_START, _QWEN_END, _QWEN_PAD = 151_644, 151_645, 151_655
_QWEN_CALL, _QWEN_CALL_END, _QWEN_RESPONSE, _QWEN_RESPONSE_END = 151_657, 151_658, 151_665, 151_666
_QWEN_THINK, _QWEN_THINK_END = 151_667, 151_668
_QWEN_TOOLS = (
    "# Tools\n\nFunctions that help with what the user asks may be called, one or several.\n\n"
    "Their signatures stand between these <tools></tools> XML tags:\n<tools>"
)
_QWEN_CALLS = "\n</tools>\n\nWrite every single function call as a json object of function name and arguments within "
_QWEN_CALL_SHAPE = '\n{"name": <function-name>, "arguments": <args-json-object>}\n'


def _qwen_message(rest: Sequence[Message], index: int, message: Message) -> list[Segment]:
    if message.role == "tool":
        return _qwen_tool_result(rest, index, message)
    if message.role == "assistant":
        return _qwen_answer(message, last=index + 1 == len(rest))
    return [_QWEN_START, f"{message.role}\n{message.text}", *_media(message.media, _QWEN_PAD), _QWEN_END, "\n"]


def _qwen_tool_result(rest: Sequence[Message], index: int, message: Message) -> list[Segment]:
    """Results that follow one another share one user turn."""
    opens = index == 0 or rest[index - 1].role != "tool"
    closes = index + 1 == len(rest) or rest[index + 1].role != "tool"
    return [
        *((_QWEN_START, "user") if opens else ()),
        "\n",
        _QWEN_RESPONSE,
        f"\n{message.text}\n",
        _QWEN_RESPONSE_END,
        *((_QWEN_END, "\n") if closes else ()),
    ]


def _qwen_answer(message: Message, *, last: bool) -> list[Segment]:
    """Only an answer at the very end keeps its (here empty) thoughts."""
    segments: list[Segment] = [_QWEN_START, f"assistant\n{'' if last else message.text}"]
    if last:
        segments += [_QWEN_THINK, "\n\n", _QWEN_THINK_END, "\n\n" + message.text.lstrip("\n")]
    for index, call in enumerate(message.calls):
        shape = f'\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n'
        segments += [*(("\n",) if index or message.text else ()), _QWEN_CALL, shape, _QWEN_CALL_END]
    return [*segments, _QWEN_END, "\n"]
