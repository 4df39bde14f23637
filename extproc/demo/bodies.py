"""Reads request bodies from a JSONL file, as datasets of requests keep them; sends nothing and shows none of it."""

import json
from collections.abc import Iterator
from pathlib import Path

from extproc.demo.mix import Ask, ask_of
from extproc.errors import ConfigurationError


def read_bodies(path: Path) -> Iterator[Ask]:
    """One request a line: the body itself, or an object whose `body` is the body, as an object or as JSON text.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no such thing.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _ask(line, number)
    except OSError as error:
        raise ConfigurationError(f"--bodies: the file cannot be read: {error.strerror}") from error


def _ask(line: bytes, number: int) -> Ask:
    try:
        return ask_of(_body(line))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"--bodies: line {number} is not a JSON chat or completion body") from error


def _body(line: bytes) -> bytes:
    """A body given as text keeps its bytes; any other is written anew."""
    entry = json.loads(line)
    body = entry.get("body", entry)
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
