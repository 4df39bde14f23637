"""What was learned, kept in a file over a restart; knows files and threads, not what the bytes in them mean.

Nothing here may harm traffic. A file that cannot be used means a cold start, and is kept aside for whoever wants to
know why; a save that fails is counted, and said once for each kind of failure. The event loop takes the snapshot, since
only it may look at what is being learned (0.5 ms for one model, 5 to 9 for sixteen, 13 to 22 with every table full);
encoding and writing happen on a thread of their own, which a hung disk may hold for ever.
"""

import asyncio
import contextlib
import glob
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter

from extproc.errors import ConfigurationError
from extproc.pools.aside import Aside
from extproc.routing.router import Router
from extproc.routing.state import STATE_MAX_BYTES, RouterState, StateError, decode, encode
from extproc.server.waiting import happens
from extproc.telemetry.labels import SaveOutcome
from extproc.telemetry.ledger import Ledger

_LAST_SAVE_S = 3.0
"""How long the end of the process waits for the last save: what is lost otherwise is a minute's learning."""
_MS = 1000.0
_log = logging.getLogger(__name__)


def read_state(path: Path) -> RouterState:
    """The state in a file.

    Raises:
        OSError: it cannot be read.
        StateError: it is no state, of another version, or damaged.
    """
    with path.open("rb") as file:
        return decode(file.read(STATE_MAX_BYTES + 1))


def write_state(path: Path, state: RouterState) -> None:
    """Replace a file by a state, whole or not at all, readable by its owner alone.

    Raises:
        OSError: it cannot be written; what stood there before still does.
    """
    # The process's number keeps those apart that were told the same file by mistake: the last one to write wins.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


class StateFile:
    """The file of one process."""

    def __init__(self, path: Path, ledger: Ledger, *, writes: bool = True) -> None:
        """Name the file; a link is followed, so that its target is what is replaced.

        Args:
            path: where the state is kept; it need not exist.
            ledger: where saves are counted.
            writes: False for those of several workers that only read it: one of them writes it for all.

        Raises:
            ConfigurationError: it is a folder, a pipe or a device, or a link that leads nowhere.
        """
        try:
            self._path = path.resolve()
        except RuntimeError as error:  # as Python 3.11 says it
            raise ConfigurationError(f"state_file {path} is a link to itself") from error
        if self._path.is_dir():
            raise ConfigurationError(f"state_file {path} is a folder: name a file in it")
        if self._path.exists() and not self._path.is_file():  # reading may never end, and setting it aside harms others
            raise ConfigurationError(f"state_file {path} is no plain file; empty keeps what is learned in memory alone")
        self._ledger = ledger
        self._ledger.state_saves.update(dict.fromkeys(SaveOutcome, 0))
        self._writes = writes
        self._may_save = writes
        self._told: set[str] = set()
        self._aside = Aside()

    def restore(self, build: Callable[[], Router]) -> Router:
        """A router that has learned what the file holds; a cold one where there is no file or it cannot be used.

        Args:
            build: makes a cold router.
        """
        if self._writes:
            _remove_drafts(self._path)
        router = build()
        try:
            state = read_state(self._path)
            router.absorb(state)
        except FileNotFoundError:
            _log.info("no state at %s yet: starting cold", self._path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what was learned, the service starts
            self._set_aside(_why(error))
            return build()
        else:
            _log.info("state of %d models read from %s", len(state.estimator.served), self._path)
        return router

    async def run(self, router: Router, over: asyncio.Event, save_s: float) -> None:
        """Save every so many seconds, and once more when it is over. Never fails."""
        ended = False
        while not ended:
            ended = await happens(over, within_s=save_s)
            if self._may_save:
                await self._save(router)

    async def _save(self, router: Router) -> None:
        outcome = SaveOutcome.SAVED
        try:
            before_s = perf_counter()
            state = router.snapshot()
            took_ms = (perf_counter() - before_s) * _MS
            await self._aside.run(lambda: write_state(self._path, state))
            first = not self._ledger.state_saves[SaveOutcome.SAVED]
            _log.log(logging.INFO if first else logging.DEBUG, "state saved: its snapshot took %.1f ms", took_ms)
        except Exception as error:  # noqa: BLE001 - a bug in saving must not reach the traffic either
            outcome = SaveOutcome.FAILED
            self._tell(_why(error))
        self._ledger.state_saves[outcome] += 1

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            _log.warning("state not saved to %s: %s; trying on, without saying so again", self._path, why)

    def _set_aside(self, why: str) -> None:
        """Keep the file for whoever wants to know; where it cannot be moved, never write over it."""
        if not self._writes:
            _log.warning("state %s cannot be used: %s. Starting cold", self._path, why)
            return
        aside = self._path.with_name(f"{self._path.name}.bad")
        try:
            self._path.replace(aside)
        except OSError as error:
            self._may_save = False
            _log.warning("state %s cannot be used: %s. Starting cold", self._path, why)
            _log.warning("it cannot be moved out of the way either (%s): nothing will be saved", error.strerror)
        else:
            _log.warning("state %s cannot be used: %s. Starting cold; it is kept as %s", self._path, why, aside.name)


@contextlib.asynccontextmanager
async def saving(file: StateFile | None, router: Router, save_s: float) -> AsyncIterator[None]:
    """Save what a router learns for as long as the block lasts, and once more at its end, if there is a file at all."""
    if file is None:
        yield
        return
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(file.run(router, over, save_s))
        try:
            yield
        finally:
            over.set()
            await asyncio.wait({task}, timeout=_LAST_SAVE_S)
            if not task.done():
                _log.warning("the last save is not done after %.0f s: leaving without it", _LAST_SAVE_S)
            task.cancel()


def _remove_drafts(path: Path) -> None:
    """What processes left that were killed while they wrote."""
    with contextlib.suppress(OSError):
        for draft in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name last. Not every file system can, and the file is whole either way."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _why(error: Exception) -> str:
    """A reason without a path or what was learned in it, one for each kind."""
    if isinstance(error, StateError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
