"""Which messages of a conversation the model wrote, and whether more messages change how earlier ones are rendered.

Knows chat messages of every dialect and what chat templates do with turns; must not know tokens, usage or memory.
"""

from collections.abc import Sequence

from extproc.routing.schemas import Message, Part

_REPLY_ITEMS = frozenset({"reasoning", "function_call", "custom_tool_call"})
"""Items of the Responses API that the model wrote and that name no role."""
_TOOL_ROLES = frozenset({"tool", "function"})
_TOOL_ITEMS = frozenset({"function_call_output", "custom_tool_call_output"})
_REASONING_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning_text"})
_REASONING_ENDS = ("think>", "/think▷")
"""Ends of reasoning left in the text, where templates cut earlier turns: `</think>`, `</seed:think>` and Kimi's."""


def reply_starts(messages: Sequence[Message]) -> list[int]:
    """Where the model's replies begin, in order, but for one that has nothing before it.

    A prompt whose usage was seen ended just before a reply, so these are the places where a conversation may have been
    seen before. A reply of several items (reasoning, text, calls) is one.
    """
    written = [message.role == "assistant" or message.type in _REPLY_ITEMS for message in messages]
    return [index for index in range(1, len(written)) if written[index] and not written[index - 1]]


def reply_end(messages: Sequence[Message], start: int) -> int:
    """Where the reply that begins at `start` ends: the first message after it that the model did not write."""
    end = start
    while end < len(messages) and is_reply(messages[end]):
        end += 1
    return end


def is_reply(message: Message) -> bool:
    """Whether the model wrote it."""
    return message.role == "assistant" or message.type in _REPLY_ITEMS


def rerendered(messages: Sequence[Message]) -> range:
    """The ends at which the messages so far were rendered in another way than they are now, with more after them.

    Templates strip reasoning from earlier turns (Qwen3, DeepSeek and GLM from those before the user's last message,
    gpt-oss from those before the last answer): it stays while tools are called and goes once somebody speaks. So an
    end is meant if it comes after some reasoning and has a turn after it. Whatever else a template writes of a message
    depends on what stands before it, or is moved whole, as Mistral moves the tools.
    """
    last_turn = max((index for index, message in enumerate(messages) if _is_turn(message)), default=0)
    thoughts = (index for index in range(last_turn) if carries_reasoning(messages[index]))
    return range(next(thoughts, last_turn) + 1, last_turn + 1)


def carries_reasoning(message: Message) -> bool:
    """Whether a reply gives back reasoning, in a field, an item or a part of its own, or left in its text."""
    if not is_reply(message):
        return False
    if message.reasoning_content or message.reasoning or message.type == "reasoning":
        return True
    if isinstance(message.content, str):
        return _shows_reasoning(message.content)
    return any(map(_is_reasoning, message.content or ()))


def _is_reasoning(part: Part | str) -> bool:
    if isinstance(part, str):
        return _shows_reasoning(part)
    return part.type in _REASONING_PARTS or _shows_reasoning(part.text or "")


def _shows_reasoning(text: str) -> bool:
    return any(end in text for end in _REASONING_ENDS)


def _is_turn(message: Message) -> bool:
    """Whether somebody speaks to the model: neither a reply nor the answer of a tool it called."""
    if message.role in _TOOL_ROLES or message.type in _TOOL_ITEMS or is_reply(message):
        return False
    return not _is_tool_result(message.content)


def _is_tool_result(content: str | list[Part | str] | None) -> bool:
    """Anthropic's dialect wraps answers of tools in a user's message; with text beside them the user speaks as well."""
    if not content or isinstance(content, str):
        return False
    return all(isinstance(part, Part) and part.type == "tool_result" for part in content)
