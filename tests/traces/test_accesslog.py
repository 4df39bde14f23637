from datetime import UTC, datetime

import msgspec
import pytest

from extproc.routing.values import Category, Pool
from extproc.traces.accesslog import AccessLine, decode, encode


def test_a_line_comes_back_as_it_was() -> None:
    """Times, labels and numbers."""
    line = AccessLine(
        datetime(2026, 1, 1, tzinfo=UTC), Pool.LONG, "exceeds", category=Category.CODE, doubt=0.25, prompt_tokens=7
    )
    assert decode(encode(line)) == line


def test_nothing_is_said_by_leaving_it_out() -> None:
    """Every key stands in every line, so that a table of them has all its columns."""
    assert set(msgspec.json.decode(encode(AccessLine()))) == set(AccessLine.__struct_fields__)


def test_a_log_of_another_version_is_read() -> None:
    """Labels and keys that this one does not know."""
    assert decode(b'{"pool": "short", "reason": "a_new_reason", "new_key": 1}').reason == "a_new_reason"


def test_what_is_no_line_is_refused() -> None:
    """With msgspec's errors."""
    with pytest.raises(msgspec.MsgspecError):
        decode(b'{"pool": "short"')
