r"""Requests with their true prompt tokens, from a JSONL file; knows the file's format and how a body may be spelt.

One JSON object a line: `body` (the request's JSON as text, or as an object), `llama3_tokens` and `qwen3_tokens` (what
the prompt came to, chat template included; one of them suffices), `category` (the kind of text, for the figures by
category), and, if it is no chat, `path`. Other keys, such as `id` and `source`, are passed over.

A row that lacks a body or a count that is asked for is left out and counted; a line that is no JSON object is an error.
"""

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from extproc.errors import ConfigurationError
from extproc.evaluate.files import read_lines
from extproc.routing.request import Request, read_request

FORMAT = (
    'one JSON object a line, as text or xz: {"body": "{\\"messages\\": […], …}", "llama3_tokens": 812,'
    ' "qwen3_tokens": 843, "category": "prose"}'
)
NO_BODY, TOO_DEEP = "without a body", "nested too deeply"
_COUNT_MAX = 2**31
"""Of tokens; no context is that long."""
_NOTHING = (b"", b"null")
_CHAT_PATH, _COMPLETIONS_PATH = "/v1/chat/completions", "/v1/completions"


class Tokenizer(StrEnum):
    """Whose counts are the truth."""

    LLAMA3 = "llama3"
    QWEN3 = "qwen3"

    @property
    def other(self) -> "Tokenizer":
        """What a stream is switched to in its middle."""
        return Tokenizer.QWEN3 if self is Tokenizer.LLAMA3 else Tokenizer.LLAMA3


class Row(msgspec.Struct, frozen=True):
    """One request and the truth about it."""

    body: str
    category: str = "all"
    llama3_tokens: int | None = None
    """None where the file does not say."""
    qwen3_tokens: int | None = None
    path: str = _CHAT_PATH

    def count(self, tokenizer: Tokenizer) -> int | None:
        """True prompt tokens, if the file says them."""
        return self.llama3_tokens if tokenizer is Tokenizer.LLAMA3 else self.qwen3_tokens

    def tokens(self, tokenizer: Tokenizer) -> int:
        """True prompt tokens of a row that was read for this tokenizer."""
        count = self.count(tokenizer)
        assert count is not None
        return count


class Rows(NamedTuple):
    """What a file holds."""

    usable: list[Row]
    left_out: dict[str, int]
    """What is wrong with a row → how many."""


def read_rows(path: Path, tokenizers: set[Tokenizer]) -> Rows:
    """The rows of a file that have a body and a count under every tokenizer that is asked for; others are counted.

    Raises:
        ConfigurationError: the file cannot be read, a line is no JSON object, or no row is of use.
    """
    rows, left_out = [], Counter[str]()
    for number, line in read_lines(path):
        row = _row(line, f"{path}, line {number}")
        if isinstance(row, str):
            left_out[row] += 1
            continue
        lacks = next((f"without {name}_tokens" for name in sorted(tokenizers) if row.count(name) is None), None)
        if lacks is None:
            rows.append(row)
        else:
            left_out[lacks] += 1
    if not rows:
        raise ConfigurationError(_no_rows(path, left_out))
    return Rows(rows, dict(left_out))


def _no_rows(path: Path, left_out: Counter[str]) -> str:
    if not left_out:
        return f"{path} holds no requests; expected {FORMAT}"
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return (
        f"{path} holds no row of use: {reasons}. --tokenizer says whose counts are the truth, and --swap-tokenizer-at"
        f" needs both, each a positive whole number; expected {FORMAT}"
    )


class _Line(msgspec.Struct):
    """A line as it stands: what is missing, null or of another type is judged key by key."""

    body: Any = None
    category: Any = None
    llama3_tokens: Any = None
    qwen3_tokens: Any = None
    path: Any = None


def _row(line: str, where: str) -> Row | str:
    """The row, or what is wrong with it."""
    try:
        return _row_of(_parsed(line))
    except RecursionError:
        return TOO_DEEP
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}; expected {FORMAT}") from error


def _row_of(found: _Line) -> Row | str:
    body = _body(found.body)
    if body is None:
        return NO_BODY
    path = found.path if isinstance(found.path, str) else _path_of(body)
    return Row(body, _category(found.category), _count(found.llama3_tokens), _count(found.qwen3_tokens), path)


def _parsed(line: str) -> _Line:
    """Python writes NaN for a count that is missing, and halves of characters, which are no JSON: so does it read."""
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError:
        return msgspec.convert(json.loads(line), _Line)


def _body(value: Any) -> str | None:
    """Text as it stands, an object as clients write it most tightly."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value if isinstance(value, str) else None


def _category(value: Any) -> str:
    return "all" if value is None else str(value) or "all"


def _count(value: Any) -> int | None:
    """A positive count; 812.0 is one, 812.5, 0 and true are none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= _COUNT_MAX else None


class _Shape(msgspec.Struct):
    """What tells a completion from a chat."""

    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


def _path_of(body: str) -> str:
    """Where a body without a path was sent: a prompt and no messages make a completion."""
    try:
        shape = _shape.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _CHAT_PATH
    is_completion = bytes(shape.messages) in _NOTHING and bytes(shape.prompt) not in _NOTHING
    return _COMPLETIONS_PATH if is_completion else _CHAT_PATH


class Requests:
    r"""The rows as the router reads them, each read once: as it stands in the file, and with \uXXXX escapes."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._read: dict[tuple[int, bool], Request] = {}

    def get(self, index: int, *, escaped: bool) -> Request:
        """Row `index`; escaped as Python's `json.dumps` writes it unless told otherwise."""
        found = self._read.get((index, escaped))
        if found is None:
            row = self._rows[index]
            body = escape(row.body) if escaped else row.body
            found = self._read[index, escaped] = _request(row.path, body)
        return found

    def flaws(self) -> dict[str, int]:
        """What keeps a row's budget from being told → how many rows. Keeps none of them: a file may be large."""
        found = (_request(row.path, row.body).facts.flaw for row in self._rows)
        return dict(Counter(flaw.value for flaw in found if flaw is not None))


def _request(path: str, body: str) -> Request:
    """Half a character makes a body that nobody can read, and is no obstacle here."""
    return read_request(path, body.encode(errors="surrogatepass"))


def escape(body: str) -> str:
    r"""The same JSON in ASCII. A body that is no JSON, or too deep to read, stays: it will be a flaw either way."""
    try:
        return json.dumps(json.loads(body))
    except (ValueError, RecursionError):
        return body


_decoder = msgspec.json.Decoder(_Line)
_shape = msgspec.json.Decoder(_Shape)
