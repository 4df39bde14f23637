"""Performs tasks here or in several processes; knows nothing of what a task does."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Task(Protocol[Result_co]):
    """Something to do; crosses to another process, as does what it comes to."""

    @property
    def effort(self) -> float:
        """How long it takes, roughly, beside others that are performed with it."""
        ...

    def perform(self) -> Result_co:
        """Do it."""
        ...


class Done(Generic[Result]):
    """What tasks came to, in the order of the tasks."""

    def __init__(self, count: int) -> None:
        self._results: dict[int, Result] = {}
        self._count = count

    def put(self, number: int, result: Result) -> None:
        """One is done."""
        self._results[number] = result

    @property
    def all(self) -> list[Result]:
        """Once every one is done."""
        return [self._results[number] for number in range(self._count)]


class Jobs:
    """Where tasks are performed."""

    def __init__(self, pool: Executor | None) -> None:
        """Here if there is no pool."""
        self._pool = pool

    def perform(self, tasks: Sequence[Task[Result]], done: Done[Result]) -> Iterator[None]:
        """Put the result of every task into `done`; yields after each.

        Those of most effort begin first: a long one at the end would leave the other processes idle.
        """
        if self._pool is None:
            for number, task in enumerate(tasks):
                done.put(number, task.perform())
                yield
            return
        longest_first = sorted(enumerate(tasks), key=lambda each: -each[1].effort)
        futures = {self._pool.submit(_perform, task): number for number, task in longest_first}
        for future in as_completed(futures):
            done.put(futures[future], future.result())
            yield


@contextmanager
def jobs(count: int | None) -> Iterator[Jobs]:
    """As many processes, by default one a core; all end with the block. One is this one."""
    count = count or os.cpu_count() or 1
    if count == 1:
        yield Jobs(None)
        return
    # One thread each: libraries of linear algebra would start as many as there are cores in every process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Spawned rather than forked: the terminal's progress display runs in a thread.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin) as pool:
        try:
            yield Jobs(pool)
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _begin() -> None:
    """Ctrl-C reaches every process of a terminal's group; those of the pool end silently, the first one reports."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _perform(task: Task[Result]) -> Result:
    return task.perform()
