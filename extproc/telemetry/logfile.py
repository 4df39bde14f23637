"""A file that is appended to, renamed when it is full, and opened anew when somebody else renamed it.

Knows lines' ends, not what they say.
Several processes may write to one file: each appends whole lines, and who renames it holds its lock.
"""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

_MODE = 0o640


class LogFile:
    """Opened by the first `append`. Not thread-safe; any method may wait for the disk."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Name the file.

        Args:
            path: of a file, or of a pipe or device, which is never renamed.
            max_bytes: size that a file does not exceed, unless one call of `append` alone does.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._torn = False

    def follow(self) -> None:
        """Let go of a file that does not bear the name any more: `logrotate` moved it, or someone removed it."""
        if self._descriptor is not None and not self._is_named(self._descriptor):
            self.close()

    def append(self, lines: list[bytes]) -> int:
        """Write some lines, each with its end; returns how many are in the file whole.

        Raises:
            OSError: none of them could be written.
        """
        text = b"".join(lines)
        descriptor = self._room_for(len(text))
        lead = b"\n" if self._torn else b""
        written = os.write(descriptor, lead + text) - len(lead)
        self._torn = written < len(text)
        return len(lines) if not self._torn else text.count(b"\n", 0, max(0, written))

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _room_for(self, more_bytes: int) -> int:
        """A file that is open and not full."""
        descriptor = self._open()
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not found.st_size or found.st_size + more_bytes <= self._max_bytes:
            return descriptor
        self._rename(descriptor)
        return self._open()

    def _rename(self, descriptor: int) -> None:
        """Under the file's lock, so that of several processes one renames it and the others take the new one."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_named(descriptor):
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        finally:
            self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            self._torn = _is_torn(self._path)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        return self._descriptor

    def _is_named(self, descriptor: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        return False


def _is_torn(path: Path) -> bool:
    """Whether a file's last line has no end: a process was killed, or the disk was full."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False
