import json
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.rows import Requests, Row, Tokenizer, escape, read_rows
from extproc.routing.values import Flaw

LLAMA, QWEN = Tokenizer.LLAMA3, Tokenizer.QWEN3


def chat(text: str) -> str:
    """A chat's body, as UTF-8 text."""
    return json.dumps({"messages": [{"role": "user", "content": text}], "max_tokens": 7}, ensure_ascii=False)


def written(path: Path, *rows: object) -> Path:
    """A JSONL file of them."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_keep_what_is_judged(tmp_path: Path) -> None:
    """Counts, category and body are read, other keys passed over."""
    path = written(
        tmp_path / "r.jsonl",
        {"id": "a", "body": chat("hello"), "llama3_tokens": 12, "qwen3_tokens": 9, "category": "prose", "x": [1]},
    )
    (row,) = read_rows(path, {LLAMA, QWEN})
    assert row == Row(chat("hello"), "prose", 12, 9)
    assert (row.tokens(LLAMA), row.tokens(QWEN)) == (12, 9)


def test_one_count_is_enough_where_one_is_asked_for(tmp_path: Path) -> None:
    """A file counted by one tokenizer is of use with that one alone."""
    path = written(tmp_path / "r.jsonl", {"body": chat("hello"), "qwen3_tokens": 9})
    assert read_rows(path, {QWEN})[0].category == "all"
    with pytest.raises(ConfigurationError, match="line 1: llama3_tokens must be a positive count"):
        read_rows(path, {QWEN, LLAMA})


@pytest.mark.parametrize("line", ["seven", '{"llama3_tokens": 3}', '{"body": {}, "llama3_tokens": 3}'])
def test_a_line_that_is_no_row_is_named(line: str, tmp_path: Path) -> None:
    """The mistake says where it is and what a row looks like."""
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"body": "{{}}", "llama3_tokens": 1}}\n{line}\n')
    with pytest.raises(ConfigurationError, match=r"line 2: .*expected one JSON object a line"):
        read_rows(path, {LLAMA})


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """There is nothing to draw from."""
    path = tmp_path / "r.jsonl"
    path.touch()
    with pytest.raises(ConfigurationError, match="holds no requests"):
        read_rows(path, {LLAMA})


def test_the_other_tokenizer_is_the_other() -> None:
    """A stream is switched from each to each."""
    assert (LLAMA.other, QWEN.other) == (QWEN, LLAMA)


def test_escaping_changes_the_bytes_and_not_the_text() -> None:
    r"""The \uXXXX variant is ASCII and means the same; what is no JSON stays."""
    body = chat("日本語")
    assert escape(body).isascii()
    assert json.loads(escape(body)) == json.loads(body)
    assert escape("{no json") == "{no json"


def test_each_variant_is_read_once() -> None:
    """A body is parsed when it is first asked for, in the spelling asked for; the facts are those of its text."""
    requests = Requests([Row(chat("日本語"))])
    plain, escaped = requests.get(0, escaped=False), requests.get(0, escaped=True)
    assert plain.facts.text_bytes == escaped.facts.text_bytes == 9
    assert plain is not escaped
    assert requests.get(0, escaped=True) is escaped


def test_the_path_decides_the_dialect() -> None:
    """A row may be of another route than chat."""
    (body,) = [json.dumps({"prompt": "abc", "max_tokens": 5})]
    assert Requests([Row(body, path="/v1/completions")]).get(0, escaped=False).facts.text_bytes == 3
    assert Requests([Row(body, path="/metrics")]).get(0, escaped=False).facts.flaw is Flaw.NOT_INFERENCE
