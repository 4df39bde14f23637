"""Runs several workers of one service, each a process with addresses of its own; knows processes, not what they do.

HTTP/2 spreads streams over endpoints, so that Envoy balances the workers itself. A worker that dies is started again,
later each time it dies at once; the others serve on meanwhile. The workers end with this process, however it ends.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import monotonic

from extproc.errors import ConfigurationError
from extproc.server.waiting import happens
from extproc.settings import Settings, split_host_port

WORKERS_MAX = 64
MENDABLE = 2
"""The status of a worker that cannot start as it was told to; it would not the next time either."""
_NOT_STARTED = 126
"""As shells say it of a command that they cannot run."""
_KILLED = 128
"""Shells add this to the number of the signal that ended a process."""
_FIRST_DELAY_S, _DELAY_MAX_S = 0.5, 30.0
_SETTLED_S = 60.0
"""A worker that lived so long has not died at once."""
_BESIDE_DRAIN_S = 10.0
"""Beside draining, a worker saves its state and leaves; afterwards it is killed."""
_PORT_MAX = 65_535
_STANDARD_INPUT = 0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One process to keep running."""

    number: int
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of this process."""


def workers_of(settings: Settings, flags: Sequence[str], count: int, folder: Path) -> list[Worker]:
    """The workers of one service: number i listens i ports above the first, for Envoy and for Prometheus.

    Args:
        settings: of the service, for its addresses.
        flags: of `dualpool serve`, without addresses.
        count: how many.
        folder: where they find each other.

    Raises:
        ConfigurationError: there are not so many ports.
    """
    return [
        Worker(
            number,
            [sys.executable, "-m", "extproc", "serve", *flags, *_addresses(settings, number), "--worker", str(number)],
            {"DUALPOOL_STATE_PEERS": str(folder)},
        )
        for number in range(count)
    ]


def raised(address: str, by: int) -> str:
    """HOST:PORT with a higher port; empty stays empty.

    Raises:
        ConfigurationError: there is no such port, or the system was to choose it.
    """
    if not address:
        return ""
    port = split_host_port(address)[1]
    if not port or port + by > _PORT_MAX:
        raise ConfigurationError(f"workers take the ports after that of {address}, which must leave room for them")
    return f"{address.rpartition(':')[0]}:{port + by}"


@contextmanager
def meeting_place(settings: Settings) -> Iterator[Path]:
    """The folder in which workers find each other: the operator's, or one of this service alone, removed at the end.

    Raises:
        ConfigurationError: none can be made.
    """
    if settings.state_peers:
        yield Path(settings.state_peers)
        return
    try:
        folder = Path(mkdtemp(prefix="dualpool-"))
    except OSError as error:
        raise ConfigurationError(f"no folder for the workers can be made, set state_peers: {error.strerror}") from error
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


class Supervisor:
    """Keeps workers running until it is told to stop. Runs on one event loop."""

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        drain_s: float,
        beside_drain_s: float = _BESIDE_DRAIN_S,
        first_delay_s: float = _FIRST_DELAY_S,
    ) -> None:
        """A supervisor that has started nothing yet.

        Args:
            workers: to keep running.
            drain_s: how long exchanges in flight may take at the end.
            beside_drain_s: how long all else may take then.
            first_delay_s: how long a worker that died at once waits for its first restart; twice as long each time.
        """
        self._workers = workers
        self._end_s = drain_s + beside_drain_s
        self._first_delay_s = first_delay_s
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until `stop`, or until a worker cannot start as it was told to; the workers' worst status."""
        async with asyncio.TaskGroup() as group:
            kept = [group.create_task(self._keep(worker)) for worker in self._workers]
            await self._stopping.wait()
            self.signal(signal.SIGTERM)
            _, late = await asyncio.wait(kept, timeout=self._end_s)
            if late:
                _log.error("%d workers are not done after %.0f s: killing them", len(late), self._end_s)
                self.signal(signal.SIGKILL)
        return max(task.result() for task in kept)

    def stop(self) -> None:
        """Let the workers drain, and start none again."""
        self._stopping.set()

    def signal(self, number: int) -> None:
        """Pass a signal on to every worker that runs."""
        for process in list(self._processes.values()):
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, worker: Worker) -> int:
        """Start a worker again and again; its last status."""
        delay_s, starts = self._first_delay_s, 0
        while True:
            starts, started_s = starts + 1, monotonic()
            status = await self._once(worker)
            if self._stopping.is_set():
                return status
            if status == MENDABLE and starts == 1:
                self.stop()
                return status
            if monotonic() - started_s >= _SETTLED_S:
                delay_s = self._first_delay_s
            _log.error("worker %d ended with status %d: starting it again in %.1f s", worker.number, status, delay_s)
            if await happens(self._stopping, within_s=delay_s):
                return status
            delay_s = min(2 * delay_s, _DELAY_MAX_S)

    async def _once(self, worker: Worker) -> int:
        """From start to end. Its standard input ends with this process, and the worker with that."""
        environment = {**os.environ, **worker.environment}
        pipe = asyncio.subprocess.PIPE
        # It inherits what is held back, and has a hangup only when it knows that one is not its end.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process = await asyncio.create_subprocess_exec(*worker.command, stdin=pipe, env=environment)
        except OSError as error:  # no memory, no number or no file descriptor left at present: the others serve on
            _log.error("worker %d cannot be started: %s", worker.number, error.strerror)
            return _NOT_STARTED
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._processes[worker.number] = process
        if self._stopping.is_set():  # while it was started
            process.terminate()
        status = await process.wait()
        del self._processes[worker.number]
        if status == -signal.SIGTERM and self._stopping.is_set():  # it had not begun to listen for that
            return 0
        return status if status >= 0 else _KILLED - status


async def supervise(supervisor: Supervisor) -> int:
    """Run workers until SIGTERM or SIGINT; SIGHUP is theirs too. Returns their worst status."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.signal, signal.SIGHUP)
    return await supervisor.run()


def end_with_parent() -> None:
    """Drain this worker when standard input ends, which whoever started it holds open for as long as it lives."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(_STANDARD_INPUT, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _addresses(settings: Settings, number: int) -> list[str]:
    return [
        "--listen",
        raised(settings.listen, number),
        "--metrics-listen",
        raised(settings.metrics_listen, number),
    ]
