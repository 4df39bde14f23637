import lzma
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.files import read_lines


def test_plain_and_compressed_read_alike(tmp_path: Path) -> None:
    """Blank lines are left out and the others keep their numbers, compressed or not."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.xz"
    plain.write_text("one\n\ntwo\n")
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert list(read_lines(plain)) == [(1, "one\n"), (3, "two\n")]
    assert list(read_lines(packed)) == list(read_lines(plain))


@pytest.mark.parametrize(
    ("name", "content"),
    [("no.xz", b"plain text"), ("cut.xz", lzma.compress(b"x" * 10_000)[:-20]), ("latin.txt", b"caf\xe9\n")],
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
