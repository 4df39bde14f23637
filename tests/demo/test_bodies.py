import json
from pathlib import Path

import pytest

from extproc.demo.bodies import read_bodies
from extproc.errors import ConfigurationError

BODY = {"model": "m", "messages": [{"role": "user", "content": "né"}], "max_tokens": 4}


def test_three_forms_of_a_line(tmp_path: Path) -> None:
    """A body as it is, an object holding it, and an object holding its text all make the same request."""
    path = tmp_path / "bodies.jsonl"
    forms = [BODY, {"id": 1, "body": BODY}, {"id": 2, "body": json.dumps(BODY, ensure_ascii=False)}]
    path.write_text("\n\n".join(map(json.dumps, forms)))
    first, second, third = read_bodies(path)
    assert first == second == third
    assert first.text_bytes == 3


def test_text_keeps_its_bytes(tmp_path: Path) -> None:
    """A body given as text is sent as it was written, spaces and escapes included."""
    path = tmp_path / "bodies.jsonl"
    text = '{"messages" :[{"role":"user","content":"\\u00e9"}]}'
    path.write_text(json.dumps({"body": text}))
    assert next(read_bodies(path)).body == text.encode()


@pytest.mark.parametrize("line", ["{", "7", '"text"', '{"body": 7}', '{"messages": 7}', '{"body": "{"}'])
def test_bad_line_is_named_not_shown(tmp_path: Path, line: str) -> None:
    """The message gives the line's number and nothing of its text."""
    path = tmp_path / "bodies.jsonl"
    path.write_text(f"{json.dumps(BODY)}\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"^--bodies: line 2 is not a JSON chat or completion body$"):
        list(read_bodies(path))


def test_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is the caller's mistake, said in one line."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(read_bodies(tmp_path / "none.jsonl"))
