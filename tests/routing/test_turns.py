from typing import Any

import msgspec
import pytest

from extproc.routing.schemas import Message
from extproc.routing.turns import carries_reasoning, is_reply, reply_end, reply_starts, rerendered

USER = {"role": "user", "content": "What time is it?"}
REPLY = {"role": "assistant", "content": "I will look."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
TOOL = {"role": "tool", "tool_call_id": "c", "content": "noon"}
CALL_ITEM = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
OUTPUT_ITEM = {"type": "function_call_output", "call_id": "c", "output": "noon"}
THOUGHT_ITEM = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "noon"}]}
THOUGHT = {**CALL, "reasoning_content": "The user wants the time."}


def read(*messages: dict[str, Any]) -> list[Message]:
    """Messages as they come through the door."""
    return msgspec.json.decode(msgspec.json.encode(messages), type=list[Message])


@pytest.mark.parametrize("message", [REPLY, CALL, THOUGHT, CALL_ITEM, THOUGHT_ITEM, {"type": "message", **REPLY}])
def test_the_model_writes_replies(message: dict[str, Any]) -> None:
    """An assistant's message, and the items of a Responses reply that name no role."""
    assert is_reply(*read(message))


@pytest.mark.parametrize("message", [USER, TOOL, OUTPUT_ITEM, RESULT, {"role": "system"}, {"role": "developer"}, {}])
def test_all_else_is_no_reply(message: dict[str, Any]) -> None:
    """Users, tools and whoever set the conversation up."""
    assert not is_reply(*read(message))


@pytest.mark.parametrize(
    ("messages", "starts"),
    [
        ([], []),
        ([USER, USER], []),
        ([USER, REPLY], [1]),
        ([USER, REPLY, USER], [1]),
        ([USER, CALL, TOOL, CALL, TOOL, REPLY, USER], [1, 3, 5]),
        ([USER, THOUGHT_ITEM, REPLY, CALL_ITEM, OUTPUT_ITEM, REPLY], [1, 5]),
        ([REPLY, USER], []),
        ([REPLY, REPLY, USER, REPLY], [3]),
    ],
)
def test_a_reply_starts_where_a_prompt_ended(messages: list[dict[str, Any]], starts: list[int]) -> None:
    """Once for each run of messages the model wrote; no prompt ended before the first message."""
    assert reply_starts(read(*messages)) == starts


@pytest.mark.parametrize(
    ("messages", "end"),
    [([USER, REPLY], 2), ([USER, REPLY, USER], 2), ([USER, THOUGHT_ITEM, REPLY, CALL_ITEM, OUTPUT_ITEM], 4)],
)
def test_a_reply_ends_where_somebody_else_speaks(messages: list[dict[str, Any]], end: int) -> None:
    """Or with the conversation."""
    assert reply_end(read(*messages), 1) == end


@pytest.mark.parametrize(
    "message",
    [
        {**REPLY, "reasoning_content": "hm"},
        {**REPLY, "reasoning": "hm"},
        {**REPLY, "content": "<think>hm</think>I will look."},
        {**REPLY, "content": "<seed:think>hm</seed:think>I will look."},
        {**REPLY, "content": "◁think▷hm◁/think▷I will look."},
        {**REPLY, "content": ["<think>hm</think>", "I will look."]},
        {**REPLY, "content": [{"type": "text", "text": "<think>hm</think>I will look."}]},
        {**REPLY, "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I will look."}]},
        {**REPLY, "content": [{"type": "redacted_thinking"}, {"type": "text", "text": "I will look."}]},
        THOUGHT_ITEM,
        {"type": "reasoning"},
    ],
)
def test_reasoning_is_found_wherever_clients_put_it(message: dict[str, Any]) -> None:
    """In a field, a part or an item of its own, or in the text as the model wrote it."""
    assert carries_reasoning(*read(message))


@pytest.mark.parametrize(
    "message",
    [
        REPLY,
        CALL,
        CALL_ITEM,
        {**REPLY, "reasoning_content": ""},
        {**REPLY, "content": "I think > therefore."},
        {**REPLY, "content": [{"type": "text", "text": "I will look."}, {"type": "refusal", "refusal": "No."}]},
        {**USER, "content": "What does </think> mean?"},
        {**USER, "reasoning": "hm"},
    ],
)
def test_not_everything_is_reasoning(message: dict[str, Any]) -> None:
    """Empty fields, plain text, and what users say of reasoning: templates strip only replies."""
    assert not carries_reasoning(*read(message))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([USER], [THOUGHT, TOOL, REPLY, USER]),
        ([USER, REPLY, USER], [REPLY, USER]),
        ([USER, THOUGHT, TOOL], [CALL, TOOL]),
        ([USER, THOUGHT, TOOL], [THOUGHT, {**TOOL, "role": "function"}, REPLY]),
        ([USER, THOUGHT_ITEM, CALL_ITEM, OUTPUT_ITEM], [CALL_ITEM, OUTPUT_ITEM, THOUGHT_ITEM]),
        ([USER, THOUGHT, RESULT], [REPLY, RESULT]),
        ([USER, THOUGHT], []),
    ],
)
def test_messages_stay_as_they_are(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Without reasoning whatever follows, with reasoning while only replies and answers of tools follow."""
    assert len(before) not in rerendered(read(*before, *after))


TURNS: list[dict[str, Any]] = [
    USER,
    {"role": "system", "content": "Be brief."},
    {"type": "message", "role": "user", "content": []},
    {"role": "user", "content": None},
    {"role": "user", "content": [{"type": "tool_result"}, {"type": "text", "text": "Go on."}]},
    {"role": "user", "content": [{"type": "tool_result"}, "Go on."]},
]


@pytest.mark.parametrize("turn", TURNS)
def test_reasoning_is_stripped_once_somebody_speaks(turn: dict[str, Any]) -> None:
    """So what was counted with it, at any end since, is no longer what is rendered; what came before it is."""
    messages = read(USER, REPLY, USER, THOUGHT, TOOL, REPLY, turn, REPLY)
    assert [end for end in range(9) if end in rerendered(messages)] == [4, 5, 6]


def test_a_conversation_that_nobody_began_is_rendered_as_it_was() -> None:
    """Without a turn nothing can be stripped."""
    assert not rerendered(read(THOUGHT, TOOL, REPLY))
    assert not rerendered([])
