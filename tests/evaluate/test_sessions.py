import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.sessions import Call, Place, Turn, filler, read_calls, turns


def call(start_s: float, chars: int, reply: int = 100, *, session: str = "s", tools: int = 0, tokens: int = 50) -> Call:
    """An answered call."""
    return Call(session, start_s, chars, reply, tokens, 10, tools)


def body(turn: Turn) -> dict[str, Any]:
    """Its body, parsed."""
    parsed: dict[str, Any] = json.loads(turn.body)
    return parsed


def lengths(turn: Turn) -> list[tuple[str, int]]:
    """Who says how much in it."""
    return [(message["role"], len(message["content"])) for message in body(turn)["messages"]]


def test_a_longer_call_holds_the_one_before_and_its_answer() -> None:
    """The same first message, a reply of the size the log says, and a message with the rest."""
    first, second = turns([call(0, 500, reply=120), call(1, 900)])
    assert (first.place, second.place) == (Place.OPENS, Place.EXTENDS)
    assert lengths(first) == [("user", 500)]
    assert lengths(second) == [("user", 500), ("assistant", 120), ("user", 280)]
    assert body(second)["messages"][0] == body(first)["messages"][0]


@pytest.mark.parametrize("chars", [400, 500, 620])
def test_a_call_that_cannot_hold_the_answer_starts_anew(chars: int) -> None:
    """Fewer characters, as many, or no more than the answer itself: other text of that size."""
    first, second = turns([call(0, 500, reply=120), call(1, chars)])
    assert (second.place, lengths(second)) == (Place.RESTARTS, [("user", chars)])
    assert body(second)["messages"][0]["content"][:400] != body(first)["messages"][0]["content"][:400]


def test_after_a_new_start_the_next_extends_that() -> None:
    """The conversation goes on from where it restarted."""
    third = list(turns([call(0, 500), call(1, 200), call(2, 400)]))[2]
    assert (third.place, lengths(third)) == (Place.EXTENDS, [("user", 200), ("assistant", 100), ("user", 100)])


def test_sessions_and_tools_are_kept_apart() -> None:
    """A call of another session, or with other tools, opens a conversation with text of its own."""
    found = list(turns([call(0, 500), call(1, 700, session="t"), call(2, 700, tools=3000), call(3, 800)]))
    assert [turn.place for turn in found] == [Place.OPENS, Place.OPENS, Place.OPENS, Place.EXTENDS]
    assert body(found[0])["messages"][0]["content"][:50] != body(found[1])["messages"][0]["content"][:50]


def test_failed_calls_are_left_out() -> None:
    """They have no sizes, and the next call extends the one before them."""
    failed = msgspec.structs.replace(call(1, 0, tokens=0), is_error=True)
    assert [turn.place for turn in turns([call(0, 500), failed, call(2, 900)])] == [Place.OPENS, Place.EXTENDS]


@pytest.mark.parametrize("chars", [500, 4000, 37311, 63235])
def test_tools_have_the_size_of_the_log(chars: int) -> None:
    """As compact JSON, and alike in every call of a session; without tools there are none."""
    first, second = (body(turn)["tools"] for turn in turns([call(0, 500, tools=chars), call(1, 900, tools=chars)]))
    assert len(json.dumps(first, separators=(",", ":"))) == chars
    assert first == second
    assert "tools" not in body(next(turns([call(0, 500)])))


def test_filler_is_the_same_for_the_same_name() -> None:
    """So many characters, other ones for another name."""
    assert filler("a", 300) == filler("a", 300)
    assert len(filler("a", 301)) == 301
    assert filler("a", 300) != filler("b", 300)
    assert filler("a", 0) == ""


def test_calls_are_read_in_order_of_time(tmp_path: Path) -> None:
    """Whatever their order in the file; fields that are not needed are passed over."""
    path = tmp_path / "log.jsonl"
    logged = [msgspec.to_builtins(call(start, 500)) | {"span_id": "x"} for start in (2.0, 1.0)]
    path.write_text("".join(json.dumps(line) + "\n" for line in logged))
    assert [found.start_time_s for found in read_calls(path)] == [1.0, 2.0]


def test_what_a_failed_call_lacks_may_be_null(tmp_path: Path) -> None:
    """Or below 0, or not there; floats are sizes too, and sessions may be numbers."""
    path = tmp_path / "log.jsonl"
    good = msgspec.to_builtins(call(0, 500)) | {"session_id": 7, "input_tokens": 50.0}
    failed = dict.fromkeys(good) | {"session_id": "s", "start_time_s": 1.0}
    below = good | {"start_time_s": 2.0, "input_messages_chars": -1, "output_messages_chars": -5}
    path.write_text("\n".join(map(json.dumps, (good, failed, below, {"session_id": "s", "start_time_s": 3.0}))))
    calls = read_calls(path)
    assert [found.answered for found in calls] == [True, False, False, False]
    assert (calls[0].session_id, calls[0].input_tokens, calls[2].output_messages_chars) == ("7", 50, 0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("seven\n", "line 1: .*expected a call, for example"),
        ("", "no answered calls"),
        (json.dumps(msgspec.to_builtins(call(0, 500, tokens=0))), "no answered calls"),
    ],
)
def test_what_is_no_log_is_refused(content: str, complaint: str, tmp_path: Path) -> None:
    """The mistake says what is wrong with it."""
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_calls(path)
