"""Reads text files, packed by xz or gzip or not, and names the mistake where one cannot be read; knows no format."""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from extproc.errors import ConfigurationError


def read_lines(path: Path, *, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Lines that are not blank, each with its number, which counts from 1.

    Args:
        path: of the file.
        errors: what becomes of bytes that are no UTF-8, as `open` has it.

    Raises:
        ConfigurationError: the file cannot be read as text.
    """
    try:
        with _open(path, errors) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _open(path: Path, errors: str) -> Iterator[TextIO]:
    """As its ending says it is packed, or its first bytes, where a name tells nothing. A byte order mark is no text."""
    with path.open("rb") as packed, _unpacked(path.suffix, packed) as raw:
        yield TextIOWrapper(raw, encoding="utf-8-sig", errors=errors)


def _unpacked(suffix: str, packed: BufferedReader) -> BinaryIO:
    first = packed.peek(len(_XZ))
    if suffix == ".xz" or first.startswith(_XZ):
        return cast("BinaryIO", lzma.open(packed))
    if suffix == ".gz" or first.startswith(_GZ):
        return cast("BinaryIO", gzip.open(packed))
    return packed


_XZ, _GZ = b"\xfd7zXZ\0", b"\x1f\x8b"
"""What packed files begin with."""
