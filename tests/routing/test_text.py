import json

import msgspec
import pytest

from extproc.routing.text import AS_IS, AS_JSON, AS_JSON_OF_PYTHON, Prompt, utf8_bytes


@pytest.mark.parametrize(("text", "count"), [("", 0), ("abc", 3), ("é", 2), ("中", 3), ("😀", 4)])
def test_text_is_counted_in_utf_8(text: str, count: int) -> None:
    """Tokenizers see UTF-8, whatever a string looks like in memory."""
    assert utf8_bytes(text) == count


def test_structure_counts_the_same_however_it_is_spelt() -> None:
    """Indented, compact and escaped JSON reach the template as one value."""
    value = {"описание": ["строка", {"путь": "C:\\users"}, "a\x01b"]}
    spellings = [
        json.dumps(value),
        json.dumps(value, indent=4),
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    ]
    prompts = [Prompt() for _ in spellings]
    for prompt, spelling in zip(prompts, spellings, strict=True):
        prompt.add_structure(msgspec.Raw(spelling.encode()))
    assert {prompt.structure_bytes for prompt in prompts} == {len(spellings[-1].encode())}


@pytest.mark.parametrize(
    "text", ["", "abc", 'a "b" \\ c\n\t', "\x1b[31m\x00\x7f", "中国 é 😀", "line\nline\n", "C:\\a\\b"]
)
def test_escapes_are_allowed_for_in_full(text: str) -> None:
    """As JSON to the byte; as JSON of Python's notation with room to spare."""
    plain, notation = json.dumps(text, ensure_ascii=False), json.dumps(repr(text)[1:-1], ensure_ascii=False)
    assert _room(text, AS_IS) == len(text.encode())
    assert _room(text, AS_JSON) == len(plain.encode()) - 2
    assert _room(text, AS_JSON_OF_PYTHON) >= len(notation.encode()) - 2 - 4 * text.count("\x7f")


def _room(text: str, escapes: int) -> int:
    prompt = Prompt(escapes=escapes)
    prompt.add_text(text)
    return prompt.text_bytes + prompt.escape_bytes
