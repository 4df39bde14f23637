from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import NoReturn

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.jobs import Done, Jobs, jobs


@dataclass(frozen=True)
class Square:
    """A task."""

    number: int

    @property
    def effort(self) -> float:
        """More for larger numbers."""
        return self.number

    def perform(self) -> int:
        """Its square."""
        return self.number**2


@dataclass(frozen=True)
class Refuse:
    """A task that cannot be done."""

    effort = 1.0

    def perform(self) -> NoReturn:
        """Say so."""
        raise ConfigurationError("no")


def test_results_stand_in_the_order_of_tasks() -> None:
    """One step for each, here as in two processes."""
    tasks = [Square(number) for number in range(7)]
    here: Done[int] = Done(7)
    steps = list(Jobs(None).perform(tasks, here))
    there: Done[int] = Done(7)
    with jobs(2) as two:
        assert len(list(two.perform(tasks, there))) == len(steps) == 7
    assert here.all == there.all == [number**2 for number in range(7)]


def test_what_is_not_done_is_not_made_up() -> None:
    """Asking too early is our own error."""
    done: Done[int] = Done(2)
    done.put(0, 1)
    with pytest.raises(KeyError):
        _ = done.all


def test_an_error_comes_back() -> None:
    """From another process too, and it ends."""
    with pytest.raises(ConfigurationError, match="no"), jobs(2) as two:
        list(two.perform([Refuse()], Done(1)))


def test_one_job_is_this_process() -> None:
    """No other is started."""
    with jobs(1) as one:
        done: Done[int] = Done(1)
        list(one.perform([Square(3)], done))
    assert done.all == [9]


def test_the_longest_begins_first() -> None:
    """So that none is left over for one process at the end; results stand in their places all the same."""

    class InOrder(Executor):
        """Notes what it is given, and does it at once."""

        def __init__(self) -> None:
            """Nothing yet."""
            self.given: list[int] = []

        def submit(self, function, task):  # type: ignore[no-untyped-def,override]  # noqa: ANN001, ANN202
            """Do it."""
            self.given.append(task.number)
            future: Future[int] = Future()
            future.set_result(function(task))
            return future

    there, done = InOrder(), Done[int](4)
    list(Jobs(there).perform([Square(number) for number in (1, 3, 2, 3)], done))
    assert there.given == [3, 3, 2, 1]
    assert done.all == [1, 9, 4, 9]
