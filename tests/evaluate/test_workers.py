import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import active_children
from typing import cast

import pytest

from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.runs import Material, StreamRun
from extproc.evaluate.workers import workers
from extproc.routing.estimators import EmaRules

Asked = Callable[..., EvaluateOptions]


@dataclass(frozen=True)
class Where:
    """A run that says in which process it was made, and with how many rows."""

    number: int

    def perform(self, material: Material) -> tuple[int, int, int]:
        """Its number, the process, the rows."""
        return self.number, os.getpid(), len(material.rows)


def test_one_job_is_this_process(asked: Asked) -> None:
    """Runs are made here, in order, and each is announced."""
    options, announced = asked(), []
    with workers(options, Material.load(options), lambda: announced.append(1)) as made:
        assert made.make([Where(1), Where(2)]) == [(1, os.getpid(), 30), (2, os.getpid(), 30)]
    assert len(announced) == 2


def test_several_jobs_come_to_the_same(asked: Asked) -> None:
    """Processes that read the files themselves make of a seed what this one makes of it, in the order asked for."""
    options, announced = asked(jobs=2), []
    material = Material.load(options)
    runs = [StreamRun(Contender.EMA, seed, EmaRules()) for seed in range(3)]
    with workers(options, material, lambda: announced.append(1)) as made:
        found = made.make(runs)
    assert [outcome.figures.shares for outcome in found] == [run.perform(material).figures.shares for run in runs]
    assert len(announced) == 3


def test_an_error_in_another_process_is_heard_here(asked: Asked) -> None:
    """It ends the evaluation, and the processes with it."""
    options = asked(jobs=2)
    runs = [StreamRun(cast("Contender", "nobody"), 0, EmaRules())]
    with pytest.raises(AttributeError, match="is_ema"), workers(options, Material.load(options), lambda: None) as made:
        made.make(runs)
    assert active_children() == []
