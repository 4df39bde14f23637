"""Runs what may hang, a file system or a resolver, on a thread of its own; knows nothing of what it runs."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """One piece of work at a time.

    A thread that hangs keeps no more than itself: nothing else is begun while it does, and the process ends without
    it. (Threads of asyncio's own executor would be waited for at the end.)
    """

    def __init__(self) -> None:
        self._pending: asyncio.Future[object] | None = None

    async def run(self, work: Callable[[], T], within_s: float | None = None) -> T:
        """The work's result, waited for as long as it takes unless `within_s` says otherwise.

        Raises:
            TimeoutError: it takes too long, or what was begun before still does.
            Exception: whatever the work raises.
        """
        if self._pending is not None and not self._pending.done():
            raise TimeoutError
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # An error that comes too late is looked at here, or asyncio would log it as forgotten.
        done.add_done_callback(lambda done: done.exception())
        self._pending = done  # type: ignore[assignment]  # only ever asked whether it is done
        threading.Thread(target=_settle, args=(work, done), name="aside", daemon=True).start()
        async with asyncio.timeout(within_s):
            # Shielded, so that it stays pending while the thread hangs.
            return await asyncio.shield(done)


def _settle(work: Callable[[], T], done: "asyncio.Future[T]") -> None:
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - raised again where it is awaited
        settle = partial(done.set_exception, error)
    else:
        settle = partial(done.set_result, result)
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        done.get_loop().call_soon_threadsafe(settle)
