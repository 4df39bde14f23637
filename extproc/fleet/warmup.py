"""Has the simulator compiled once on a machine, in one process, so that others find it on disk. Measures nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from extproc.compiled import is_kept
from extproc.fleet import events
from extproc.fleet.dispatch import Dispatch, Oracle, Routed
from extproc.fleet.handle import handle_of
from extproc.fleet.simulation import RunRules, simulate
from extproc.fleet.values import InstanceSpec, PoolSpec, StepTimes
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool
from extproc.settings import Settings

_THRESHOLD_TOKENS = 256
_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Compile:
    """A task: a few requests, once all together and once one by one, as both kinds of dispatch have it."""

    @property
    def effort(self) -> float:
        """More than anything that is done beside it."""
        return 10.0

    def perform(self) -> None:
        """Run them; nobody asks what becomes of them."""
        pools = [PoolSpec(pool, 1, _instance()) for pool in (Pool.SHORT, Pool.LONG)]
        routed = Routed(Settings(threshold_tokens=_THRESHOLD_TOKENS), 0)
        ways: tuple[Dispatch | Routed, ...] = (Oracle(_THRESHOLD_TOKENS), routed)
        for way in ways:
            simulate(pools, synthetic(Options(rate_per_s=1.0)), way, rules=RunRules(_REQUESTS))


def is_due() -> bool:
    """Whether this machine has not compiled this release of the simulator yet."""
    called: tuple[Callable[..., object], ...] = (events.advance, events.feed, handle_of, events.bring, events.look)
    return not all(is_kept(function) for function in called)


def _instance() -> InstanceSpec:
    steps = StepTimes(np.full(513, 0.01), np.zeros(9), 0.0, 0.0, 0.0)
    return InstanceSpec(max_model_len=65_536, max_num_seqs=8, max_num_batched_tokens=512, kv_blocks=8_192, steps=steps)
