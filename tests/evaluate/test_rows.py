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
    ((row,), left_out) = read_rows(path, {LLAMA, QWEN})
    assert left_out == {}
    assert row == Row(chat("hello"), "prose", 12, 9)
    assert (row.tokens(LLAMA), row.tokens(QWEN)) == (12, 9)


def test_one_count_is_enough_where_one_is_asked_for(tmp_path: Path) -> None:
    """A file counted by one tokenizer is of use with that one alone."""
    path = written(tmp_path / "r.jsonl", {"body": chat("hello"), "qwen3_tokens": 9})
    assert read_rows(path, {QWEN}).usable[0].category == "all"
    with pytest.raises(ConfigurationError, match=r"no row of use: 1 without llama3_tokens. --tokenizer says"):
        read_rows(path, {QWEN, LLAMA})


@pytest.mark.parametrize("count", [None, 0, -3, 812.5, True, "812", [812], float("nan")])
def test_a_row_without_its_count_is_left_out(count: object, tmp_path: Path) -> None:
    """It is counted, and the others are read: exporters write null, and floats where a column has gaps."""
    rows = [{"body": chat("a"), "llama3_tokens": 812.0}, {"body": chat("b"), "llama3_tokens": count}]
    usable, left_out = read_rows(written(tmp_path / "r.jsonl", *rows), {LLAMA})
    assert [row.tokens(LLAMA) for row in usable] == [812]
    assert left_out == {"without llama3_tokens": 1}


def test_a_count_nobody_asks_for_may_be_missing(tmp_path: Path) -> None:
    """The other tokenizer's null is no one's mistake, nor is a category or a path that is null."""
    row = {"body": chat("a"), "llama3_tokens": 5, "qwen3_tokens": None, "category": None, "path": None}
    assert read_rows(written(tmp_path / "r.jsonl", row), {LLAMA}).usable == [Row(chat("a"), "all", 5)]


@pytest.mark.parametrize(("category", "name"), [(None, "all"), ("", "all"), (7, "7"), ("prose", "prose")])
def test_a_category_is_a_name(category: object, name: str, tmp_path: Path) -> None:
    """Whatever the file numbers its kinds of text by."""
    path = written(tmp_path / "r.jsonl", {"body": chat("a"), "llama3_tokens": 5, "category": category})
    assert read_rows(path, {LLAMA}).usable[0].category == name


def test_a_body_may_be_an_object(tmp_path: Path) -> None:
    """It is taken as clients write it most tightly; any other thing is no body."""
    bodies = [{"messages": [{"role": "user", "content": "日"}], "max_tokens": None}, [1], None, 3]
    path = written(tmp_path / "r.jsonl", *({"body": body, "llama3_tokens": 5} for body in bodies))
    usable, left_out = read_rows(path, {LLAMA})
    assert [row.body for row in usable] == ['{"messages":[{"role":"user","content":"日"}],"max_tokens":null}']
    assert left_out == {"without a body": 3}
    assert Requests(usable).get(0, escaped=False).facts.flaw is None


def test_a_body_that_is_too_deep_is_unreadable(tmp_path: Path) -> None:
    """As text, with escapes or without, it is a row like others; as an object the line cannot be read."""
    deep = '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "r.jsonl"
    path.write_text(f'{json.dumps({"body": deep, "llama3_tokens": 5})}\n{{"body": {deep}, "llama3_tokens": 5}}\n')
    usable, left_out = read_rows(path, {LLAMA})
    requests = Requests(usable)
    assert [requests.get(0, escaped=escaped).facts.flaw for escaped in (False, True)] == [Flaw.UNREADABLE] * 2
    assert requests.flaws() == {"unreadable": 1}
    assert left_out == {"nested too deeply": 1}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"prompt": "a"}, "/v1/completions"),
        ({"prompt": "a", "messages": None}, "/v1/completions"),
        ({"prompt": "a", "messages": []}, "/v1/chat/completions"),
        ({"prompt": None}, "/v1/chat/completions"),
        ("{", "/v1/chat/completions"),
    ],
)
def test_a_prompt_without_messages_is_a_completion(body: object, path: str, tmp_path: Path) -> None:
    """Unless the row names a path."""
    text = body if isinstance(body, str) else json.dumps(body)
    named = {"body": text, "llama3_tokens": 5, "path": "/v1/embeddings"}
    file = written(tmp_path / "r.jsonl", {"body": text, "llama3_tokens": 5}, named)
    assert [row.path for row in read_rows(file, {LLAMA}).usable] == [path, "/v1/embeddings"]


def test_half_a_character_is_unreadable(tmp_path: Path) -> None:
    """Text that was cut within a pair of surrogates is no text; the rows around it are read."""
    path = written(tmp_path / "r.jsonl", {"body": chat("\ud83d"), "llama3_tokens": 5})
    ((row,), _) = read_rows(path, {LLAMA})
    assert Requests([row]).flaws() == {"unreadable": 1}


@pytest.mark.parametrize("line", ["seven", "[]", '"text"'])
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
