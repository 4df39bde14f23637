import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.nesting import LEVELS_FREE, indent_bytes, may_be_deep
from extproc.routing.schemas import ChatBody, Message
from extproc.routing.text import Prompt

TEXTS = st.text(alphabet='[]{},"\\a\n', max_size=12)
VALUES = st.recursive(
    st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=15,
)


def compact(value: Any) -> bytes:
    """As structure is counted."""
    return json.dumps(value, separators=(",", ":")).encode()


def nested(levels: int, value: Any) -> Any:
    """A value in so many lists."""
    for _ in range(levels):
        value = [value]
    return value


def beyond(value: Any) -> int:
    """Spaces of an indented text that are further in than twenty levels."""
    lines = json.dumps(value, indent=4).split("\n")
    return sum(max(0, len(line) - len(line.lstrip(" ")) - 4 * LEVELS_FREE) for line in lines)


@given(value=VALUES, levels=st.integers(0, 40))
def test_indentation_is_never_counted_short(value: Any, levels: int) -> None:
    """Whatever strings hold; and nothing is counted for what is nested no deeper than twenty levels."""
    whole = nested(levels, [value, "]", [value]])
    counted = indent_bytes(compact(whole))
    assert counted >= beyond(whole)
    assert bool(counted) == (depth_of(whole) > LEVELS_FREE)


def depth_of(value: Any) -> int:
    """Lists and objects around each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@pytest.mark.parametrize("text", ["", "[", "]" * 100, '"[' * 50, "[" * 50 + '"' + "]" * 50, "\\" * 50])
def test_what_is_no_json_is_counted_too(text: str) -> None:
    """Arguments of calls may be anything; whether they are ever printed is not for us to say."""
    assert indent_bytes(text.encode()) >= 0


def test_brackets_in_strings_may_be_depth_and_are_none() -> None:
    """A look at brackets alone says where to look closely."""
    text = compact(["[" * 50])
    assert may_be_deep(text)
    assert indent_bytes(text) == 0


@pytest.mark.parametrize(
    ("function", "grows"),
    [
        ({"arguments": json.dumps(nested(50, 1))}, True),
        ({"arguments": nested(50, 1)}, True),
        ({"arguments": json.dumps([[1]] * 50)}, False),
        (None, False),
    ],
)
def test_arguments_of_calls_count_like_other_json(function: Any, grows: bool) -> None:  # noqa: FBT001
    """In a string, as the API has it, or as the value that some clients send; a call may lack its function."""
    calls = [{"function": function, "more": [[1]] * 50}]
    body = json.dumps({"messages": [{"role": "assistant", "tool_calls": calls}]})
    message: Message = msgspec.json.decode(body, type=ChatBody).messages[0]
    prompt = Prompt()
    prompt.add_calls(message.tool_calls)
    assert bool(prompt.escape_bytes) == grows
