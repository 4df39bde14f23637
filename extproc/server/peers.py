"""Tells the other workers of a service what this one read, and learns what they did; knows sockets, not lessons.

Each worker has a datagram socket in a folder that belongs to the service; whoever has one there is told. Nobody waits
for anybody: lessons are gathered for a moment and sent at once to all, off the path of requests; a worker whose queue
is full, or that is gone, misses them, and the ledger says how many were lost.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from extproc.errors import ConfigurationError
from extproc.routing.exchange import Outcome
from extproc.routing.lessons import (
    LESSONS_MAX,
    MESSAGE_MAX_BYTES,
    LessonError,
    Taught,
    decode,
    encode,
    learn_from,
    taught_by,
)
from extproc.routing.router import Router
from extproc.telemetry.labels import LessonOutcome
from extproc.telemetry.ledger import Ledger

GATHER_S = 0.05
"""Lessons of this time go in as few datagrams as hold them; others learn by so much later."""
_UNSENT_MAX, _UNHEARD_MAX = 1024, 4096
"""Lessons that wait to be sent, and to be learned, some 2 and 8 MiB; later ones are lost."""
_AT_ONCE = 8
"""Lessons learned before requests get their turn again, about 0.3 ms each."""
_BUFFER_BYTES = 4 * MESSAGE_MAX_BYTES
_SUFFIX = ".sock"
_log = logging.getLogger(__name__)


class Peers:
    """One worker's way to the others. Runs on its event loop."""

    def __init__(self, folder: Path, router: Router, ledger: Ledger) -> None:
        """Open a socket in the folder, which is made if need be, for its owner alone.

        Args:
            folder: where the workers of this service find each other; of no other service.
            router: learns what the others read.
            ledger: counts lessons.

        Raises:
            ConfigurationError: the folder cannot be used.
        """
        self._folder = folder
        self._router = router
        self._ledger = ledger
        self._unsent: deque[Taught] = deque()
        self._unheard: deque[Taught] = deque()
        self._waiting = asyncio.Event()
        self._complained = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
        except OSError as error:
            self._socket.close()
            raise ConfigurationError(f"state_peers {folder} cannot be used: {error.strerror or error}") from error
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)

    def tell(self, outcome: Outcome) -> None:
        """Let the others know, soon, what an exchange has taught; does not wait."""
        taught = taught_by(self._router, outcome)
        if taught is None:
            return
        if len(self._unsent) >= _UNSENT_MAX:
            self._ledger.peer_lessons[LessonOutcome.LOST] += 1
            return
        self._unsent.append(taught)
        self._waiting.set()

    async def run(self) -> None:
        """Send what is gathered and learn what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._hear)
        try:
            while True:
                await self._waiting.wait()
                await asyncio.sleep(GATHER_S)
                self._waiting.clear()
                self._send()
        finally:
            loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Send what is left, and leave the folder."""
        self._send()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _send(self) -> None:
        """All that was gathered to all that are there."""
        try:
            others = self._others()
            while self._unsent:
                lessons = [self._unsent.popleft() for _ in range(min(LESSONS_MAX, len(self._unsent)))]
                message = encode(lessons)
                for other in others:
                    outcome = LessonOutcome.SENT if self._send_to(other, message) else LessonOutcome.LOST
                    self._ledger.peer_lessons[outcome] += len(lessons)
        except Exception as error:  # noqa: BLE001 - learning together must not break learning, nor traffic
            self._complain("lessons cannot be sent to the other workers", error)

    def _others(self) -> Sequence[str]:
        with os.scandir(self._folder) as entries:
            return [entry.path for entry in entries if entry.name.endswith(_SUFFIX) and entry.name != self._path.name]

    def _send_to(self, path: str, message: bytes) -> bool:
        """Whether it was taken; a socket that a killed worker left behind is removed."""
        try:
            self._socket.sendto(message, path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                Path(path).unlink()
            return False
        except OSError:  # its queue is full, or it has just left
            return False
        return True

    def _hear(self) -> None:
        """Take one datagram; the loop calls again while there are more."""
        try:
            message = self._socket.recv(MESSAGE_MAX_BYTES + 1)
            lessons = decode(message)
        except BlockingIOError:
            return
        except (OSError, LessonError) as error:
            self._ledger.peer_lessons[LessonOutcome.LOST] += 1
            self._complain("a message of another worker cannot be used", error)
            return
        room = _UNHEARD_MAX - len(self._unheard)
        self._ledger.peer_lessons[LessonOutcome.LOST] += max(0, len(lessons) - room)
        idle = not self._unheard
        self._unheard.extend(lessons[:room])
        if idle and self._unheard:
            asyncio.get_running_loop().call_soon(self._learn)

    def _learn(self) -> None:
        """A few lessons, then the rest after whatever else waits."""
        for _ in range(min(_AT_ONCE, len(self._unheard))):
            try:
                learn_from(self._router, self._unheard.popleft())
                self._ledger.peer_lessons[LessonOutcome.TAKEN] += 1
            except Exception as error:  # noqa: BLE001 - another worker's mistake must not become this one's
                self._ledger.peer_lessons[LessonOutcome.LOST] += 1
                self._complain("a lesson of another worker cannot be learned", error)
        if self._unheard:
            asyncio.get_running_loop().call_soon(self._learn)

    def _complain(self, what: str, error: Exception) -> None:
        """Once: the ledger counts the others."""
        if not self._complained:
            self._complained = True
            _log.warning("%s (%s); going on, without saying so again", what, type(error).__name__)


@contextlib.asynccontextmanager
async def sharing(peers: Peers | None) -> AsyncIterator[None]:
    """Tell and hear for as long as the block lasts, if there is anybody at all."""
    if peers is None:
        yield
        return
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(peers.run())
            try:
                yield
            finally:
                task.cancel()
    finally:
        peers.close()
