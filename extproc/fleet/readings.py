"""What a poll of a simulated fleet's `/metrics` would read: each instance that is up, and the means over a pool.

Knows no rule of steering. An instance that is down gives no reading, and the means are over the rest. Gauges are those
of the moment; a real engine shows those of its last step.
"""

from collections.abc import Sequence

import numpy as np

from extproc.fleet import engine
from extproc.fleet.compiled import compiled
from extproc.fleet.state import State
from extproc.fleet.values import Floats, Ints
from extproc.routing.steering import PoolState

_UP, _RUNNING, _WAITING, _KV = range(4)


@compiled
def look_at_each(state: State, now_s: float) -> Floats:
    """Whether each instance is up, its running and waiting requests, its share of blocks in use: [instance, 4].

    At a time up to which all has happened.
    """
    seen = np.zeros((len(state.instances), 4))
    for at in range(len(state.instances)):
        instance = state.instances[at]
        blocks = state.pools[instance.pool].blocks
        used = blocks - instance.free
        if instance.run_steps > 1:
            used += engine.blocks_after(state, at, engine.steps_by(state, at, now_s))
        seen[at, 0] = 1.0 if instance.down_until_s <= now_s else 0.0
        seen[at, 1] = instance.running
        seen[at, 2] = instance.waiting
        seen[at, 3] = used / blocks
    return seen


class Poller:
    """Asks all instances at a time. Remembers the counters of the last look, so that their growth can be told."""

    def __init__(self, silences: Sequence[tuple[float, float]] = ()) -> None:
        """Nothing was asked yet.

        Args:
            silences: from when until when nobody answers.
        """
        self._silences = silences
        self._last_s = 0.0
        self._preempted: Ints | None = None
        self._refused: Ints | None = None

    def states(self, state: State, now_s: float) -> list[PoolState | None]:
        """Of each pool; None where no instance answers."""
        if any(begin_s <= now_s < end_s for begin_s, end_s in self._silences):
            return [None] * len(state.pools)
        seen = look_at_each(state, now_s)
        preempted, self._preempted = self._preempted, state.pools["preemptions"].copy()
        refused, self._refused = self._refused, state.pools["refused"].copy()
        elapsed_s, self._last_s = now_s - self._last_s, now_s
        if preempted is None or refused is None or elapsed_s <= 0.0:
            preempted, refused, elapsed_s = self._preempted, self._refused, 1.0
        grown = np.stack((self._preempted - preempted, self._refused - refused)) / elapsed_s
        return [_state_of(seen[state.instances["pool"] == pool], grown[:, pool]) for pool in range(len(state.pools))]


def _state_of(seen: Floats, grown_per_s: Floats) -> PoolState | None:
    """Means over the instances that are up."""
    up = seen[seen[:, _UP] > 0.0]
    if not len(up):
        return None
    running, waiting, kv_usage = up[:, [_RUNNING, _WAITING, _KV]].mean(axis=0).tolist()
    preempted, refused = (grown_per_s / len(up)).tolist()
    return PoolState(len(up), running, waiting, kv_usage, preempted, refused)
