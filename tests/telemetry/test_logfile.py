import os
from pathlib import Path

import pytest

from extproc.telemetry.logfile import LogFile

LINES = [b"one\n", b"two\n"]


def test_lines_are_appended(tmp_path: Path) -> None:
    """To what stood there before."""
    path = tmp_path / "log"
    path.write_bytes(b"zero\n")
    file = LogFile(path, 1000)
    assert file.append(LINES) == 2
    assert file.append([b"three\n"]) == 1
    assert path.read_bytes() == b"zero\none\ntwo\nthree\n"


def test_a_full_file_is_renamed(tmp_path: Path) -> None:
    """The one before it goes: two files are all there ever are."""
    path = tmp_path / "log"
    file = LogFile(path, 8)
    for at in range(6):
        file.append([b"%03d\n" % at])
    assert path.read_bytes() == b"004\n005\n"
    assert (tmp_path / "log.1").read_bytes() == b"002\n003\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_lines_larger_than_a_file_are_written_all_the_same(tmp_path: Path) -> None:
    """A bound below a single line does not lose it."""
    path = tmp_path / "log"
    file = LogFile(path, 1)
    assert file.append(LINES) == 2
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("moved", [True, False])
def test_a_file_that_was_moved_or_removed_is_begun_anew(tmp_path: Path, *, moved: bool) -> None:
    """As `logrotate` does it: nothing is written into the old one any more."""
    path, old = tmp_path / "log", tmp_path / "old"
    file = LogFile(path, 1000)
    file.append(LINES)
    if moved:
        path.rename(old)
    else:
        path.unlink()
    file.follow()
    file.append([b"three\n"])
    assert path.read_bytes() == b"three\n"
    assert not moved or old.read_bytes() == b"one\ntwo\n"


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """One renames it; the other finds that out before it renames the new one, and no line is lost."""
    path = tmp_path / "log"
    one, other = LogFile(path, 12), LogFile(path, 12)
    for file in (one, other, one, other, other):
        file.append([b"line\n"])
    assert (path.read_bytes(), (tmp_path / "log.1").read_bytes()) == (b"line\n", b"line\nline\n")


def test_a_torn_line_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    """What a killed process left unfinished is ended first."""
    path = tmp_path / "log"
    path.write_bytes(b'{"half": ')
    LogFile(path, 1000).append([b"one\n"])
    assert path.read_bytes() == b'{"half": \none\n'


def test_a_pipe_is_written_and_never_renamed(tmp_path: Path) -> None:
    """As with /dev/stdout of a container: its size means nothing."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(path, 1)
    file.append(LINES)
    file.follow()
    file.append(LINES)
    assert os.read(reader, 100) == b"one\ntwo\none\ntwo\n"
    os.close(reader)


def test_a_full_device_says_so() -> None:
    """And none of the lines counts as written."""
    file = LogFile(Path("/dev/full"), 1000)
    with pytest.raises(OSError, match="No space left"):
        file.append(LINES)


def test_an_absent_folder_says_so_until_it_is_there(tmp_path: Path) -> None:
    """A mount that comes late is used when it comes."""
    path = tmp_path / "late" / "log"
    file = LogFile(path, 1000)
    with pytest.raises(FileNotFoundError):
        file.append(LINES)
    path.parent.mkdir()
    assert file.append(LINES) == 2


def test_half_written_lines_are_not_counted_and_the_next_begins_anew(tmp_path: Path) -> None:
    """A pipe that took a part: the lines not whole are written again."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(path, 1)
    file.append([b"x\n"])
    assert file._descriptor is not None
    os.set_blocking(file._descriptor, False)
    long = b"y" * 49_999 + b"\n"
    assert file.append([long, long]) == 1
    os.read(reader, 2**20)
    assert file.append([b"z\n"]) == 1
    assert os.read(reader, 100).startswith(b"\nz\n")
    os.close(reader)
