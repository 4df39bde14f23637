import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.traces.files import read_lines


def test_plain_and_compressed_read_alike(tmp_path: Path) -> None:
    """Blank lines are left out and the others keep their numbers, whatever packs them."""
    plain, xz, gz = tmp_path / "a.jsonl", tmp_path / "a.jsonl.xz", tmp_path / "a.jsonl.gz"
    plain.write_text("one\n\ntwo\n")
    xz.write_bytes(lzma.compress(plain.read_bytes()))
    gz.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_lines(plain)) == list(read_lines(xz)) == list(read_lines(gz)) == [(1, "one\n"), (3, "two\n")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no.xz", b"plain text"),
        ("cut.xz", lzma.compress(b"x" * 10_000)[:-20]),
        ("no.gz", b"plain text"),
        ("cut.gz", gzip.compress(b"x" * 10_000)[:-20]),
        ("latin.txt", b"caf\xe9\n"),
    ],
)
def test_a_file_that_is_no_text_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    """Broken compression and other encodings are mistakes a person can mend."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=name):
        list(read_lines(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is one that is not there."""
    with pytest.raises(ConfigurationError, match=r"gone\.jsonl cannot be read: No such file"):
        list(read_lines(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_what_is_packed_is_known_without_its_ending(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A download may have lost it; the first bytes tell."""
    path = tmp_path / "download"
    path.write_bytes(pack(b"one\n"))
    assert list(read_lines(path)) == [(1, "one\n")]


@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress])
def test_a_byte_order_mark_is_no_text(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Spreadsheets and editors write it before the first line; elsewhere it stays."""
    path = tmp_path / "exported"
    path.write_bytes(pack("\ufeffone\n\ufefftwo\n".encode()))
    assert list(read_lines(path)) == [(1, "one\n"), (2, "\ufefftwo\n")]
