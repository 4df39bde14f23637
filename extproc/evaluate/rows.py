r"""Requests with their true prompt tokens, from a JSONL file; knows the file's format and how a body may be spelt.

One JSON object a line: `body` (the request's JSON as text), `llama3_tokens` and `qwen3_tokens` (what the prompt came
to, chat template included; one of them suffices), `category` (the kind of text, for the table by category), and, if it
is no chat, `path`. Other keys, such as `id` and `source`, are passed over.
"""

import json
from enum import StrEnum
from pathlib import Path

import msgspec

from extproc.errors import ConfigurationError
from extproc.evaluate.files import read_lines
from extproc.routing.request import Request, read_request

FORMAT = (
    'one JSON object a line, as text or xz: {"body": "{\\"messages\\": […], …}", "llama3_tokens": 812,'
    ' "qwen3_tokens": 843, "category": "prose"}'
)


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
    llama3_tokens: int = 0
    """0 where the file does not say."""
    qwen3_tokens: int = 0
    path: str = "/v1/chat/completions"

    def tokens(self, tokenizer: Tokenizer) -> int:
        """True prompt tokens."""
        return self.llama3_tokens if tokenizer is Tokenizer.LLAMA3 else self.qwen3_tokens


def read_rows(path: Path, tokenizers: set[Tokenizer]) -> list[Row]:
    """The rows of a file, each with a count under every tokenizer that is asked for.

    Raises:
        ConfigurationError: the file cannot be read, or a line is not such a row.
    """
    rows = [_row(line, f"{path}, line {number}", tokenizers) for number, line in read_lines(path)]
    if not rows:
        raise ConfigurationError(f"{path} holds no requests; expected {FORMAT}")
    return rows


def _row(line: str, where: str, tokenizers: set[Tokenizer]) -> Row:
    try:
        row = _decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{where}: {error}; expected {FORMAT}") from error
    for tokenizer in sorted(tokenizers):
        if row.tokens(tokenizer) <= 0:
            raise ConfigurationError(f"{where}: {tokenizer}_tokens must be a positive count; expected {FORMAT}")
    return row


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
            found = self._read[index, escaped] = read_request(row.path, body.encode())
        return found


def escape(body: str) -> str:
    r"""The same JSON in ASCII. A body that is no JSON stays as it is: it will be a flaw either way."""
    try:
        return json.dumps(json.loads(body))
    except ValueError:
        return body


_decoder = msgspec.json.Decoder(Row)
