import gzip
from pathlib import Path
from typing import Any

import pytest

from extproc.accessreport.reading import tally_of
from extproc.errors import ConfigurationError
from extproc.traces.accesslog import encode


def test_lines_of_several_files(tmp_path: Path, answered: Any, unread: Any) -> None:
    """Packed or not."""
    plain, packed = tmp_path / "access.jsonl", tmp_path / "access.jsonl.1.gz"
    plain.write_bytes(encode(answered()) + b"\n")
    packed.write_bytes(gzip.compress(encode(unread()) + b"\n"))
    found = tally_of([plain, packed])
    assert (found.requests, found.read.count) == (2, 1)


def test_what_is_no_line_is_counted(tmp_path: Path, unread: Any) -> None:
    """Torn by a crash, of something else, or no text at all."""
    path = tmp_path / "log"
    torn = [b'{"pool": "sho', b"hello", b"\xff\xfe\x00", b'{"pool": "medium"}', b'{"prompt_tokens": 1e99}', b"[]"]
    path.write_bytes(encode(unread()) + b"\n" + b"\n".join(torn) + b"\n\n")
    found = tally_of([path])
    assert (found.requests, found.malformed) == (1, len(torn))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As a mistake of whoever typed it."""
    with pytest.raises(ConfigurationError, match="none cannot be read: No such file"):
        tally_of([tmp_path / "none"])
