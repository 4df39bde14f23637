"""Makes runs here or in several processes, each of which loads the files once; knows nothing of what a run does."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Final, Protocol, TypeVar

from extproc.evaluate.options import EvaluateOptions
from extproc.evaluate.runs import Material

Outcome = TypeVar("Outcome")
Outcome_co = TypeVar("Outcome_co", covariant=True)


class Run(Protocol[Outcome_co]):
    """Something to be done with the files; crosses to another process, as does what it comes to."""

    def perform(self, material: Material) -> Outcome_co:
        """Do it."""
        ...


class Workers:
    """Where runs are made."""

    def __init__(self, material: Material, pool: ProcessPoolExecutor | None, done: Callable[[], None]) -> None:
        """Runs are made here if there is no pool; `done` is called whenever one is finished."""
        self._material = material
        self._pool = pool
        self._done = done

    def make(self, runs: Sequence[Run[Outcome]]) -> list[Outcome]:
        """What each run came to, in their order."""
        return [*self._here(runs)] if self._pool is None else self._there(self._pool, runs)

    def _here(self, runs: Sequence[Run[Outcome]]) -> Iterator[Outcome]:
        for run in runs:
            yield run.perform(self._material)
            self._done()

    def _there(self, pool: ProcessPoolExecutor, runs: Sequence[Run[Outcome]]) -> list[Outcome]:
        futures = [pool.submit(_perform, run) for run in runs]
        for finished in as_completed(futures):
            finished.result()
            self._done()
        return [future.result() for future in futures]


@contextmanager
def workers(options: EvaluateOptions, material: Material, done: Callable[[], None]) -> Iterator[Workers]:
    """As many processes as the options say, by default one a core; all end with the block. One is this one."""
    jobs = options.jobs or os.cpu_count() or 1
    if jobs == 1:
        yield Workers(material, None, done)
        return
    # Spawned rather than forked: the terminal's progress display runs in a thread.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_load, initargs=(options,))
    with pool:
        try:
            yield Workers(material, pool, done)
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


_loaded: Final[list[Material]] = []
"""In a process of the pool: its one copy."""


def _load(options: EvaluateOptions) -> None:
    """Ctrl-C reaches every process of a terminal's group; those of the pool end silently, the first one reports."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _loaded.append(Material.load(options))


def _perform(run: Run[Outcome]) -> Outcome:
    return run.perform(_loaded[0])
