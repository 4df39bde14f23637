"""Which pool gives requests to the other one under pressure, and how many; knows pressures and time, no request.

Spilling is quick and passing, as published (arXiv 2604.08075, load-aware spillover): a pool under pressure is relieved
if the other one has room. What the other one can hold is not decided here but request by request, in the router.
"""

from dataclasses import dataclass
from typing import NamedTuple

from extproc.routing.pressure import CALM, EASED, FULL
from extproc.routing.values import Pool

_LONGEST_STEP_S = 10.0
"""Time that counts as elapsed at most: who was not asked for long does not catch up at once."""


@dataclass(frozen=True, slots=True)
class SpilloverRules:
    """How much a pool gives away, and how fast that changes."""

    share_max: float = 0.8
    """Of a pool's requests, at most this share goes to the other one."""
    up_per_s: float = 0.05
    """The share grows by so much a second, less where the other pool has fewer instances: by as much of what they
    get."""
    down_per_s: float = 0.05
    """It falls by so much."""


class Spill(NamedTuple):
    """Whose requests go to the other pool at present."""

    spill_from: Pool | None = None
    share: float = 0.0


class Load(NamedTuple):
    """A pool as spillover sees it."""

    pressure: float
    """As `pressure.pressure_of` has it."""
    instances: int


class Spillover:
    """Owns the share. Not thread-safe.

    While one pool is relieved, the share

        grows   where the pool is at full pressure and the other one is calm,
        falls   where the pool has eased or the other one has not,
        stays   in between,

    so that the readings may wander by a factor of two without any effect: answers that are spilled now show in the
    readings only after the pool has worked off its queue. A pool begins to be relieved where the share may grow, and is
    until it has fallen to 0; only then may the other one be. So requests never go both ways at a time. Without readings
    of both pools nothing is spilled from that moment on.
    """

    def __init__(self, rules: SpilloverRules) -> None:
        """Nothing is spilled yet."""
        self.rules = rules
        self._spill = Spill()
        self._last_s: float | None = None

    def step(self, now_s: float, short: Load | None, long: Load | None, *, short_holds_more: bool) -> Spill:
        """What to do until the next step.

        Args:
            now_s: of any clock that does not run backwards.
            short: the short pool; None without a fresh reading.
            long: the long pool, likewise.
            short_holds_more: whether the short pool can hold budgets that go long for the threshold's sake.
        """
        elapsed_s = 0.0 if self._last_s is None else min(max(0.0, now_s - self._last_s), _LONGEST_STEP_S)
        self._last_s = now_s
        if short is None or long is None:
            self._spill = Spill()
            return self._spill
        loads = {Pool.SHORT: short, Pool.LONG: long}
        spill_from = self._spill.spill_from or _pressed(loads)
        if spill_from is None or (spill_from is Pool.LONG and not short_holds_more):
            self._spill = Spill()
            return self._spill
        own, other = loads[spill_from], loads[_other(spill_from)]
        share = self._spill.share + elapsed_s * self._change_per_s(own, other)
        share = min(max(0.0, share), self.rules.share_max)
        self._spill = Spill(spill_from, share) if share > 0.0 else Spill()
        return self._spill

    def _change_per_s(self, own: Load, other: Load) -> float:
        """Of the share."""
        if own.pressure <= EASED or other.pressure >= EASED:
            return -self.rules.down_per_s
        if own.pressure >= FULL and other.pressure <= CALM:
            return self.rules.up_per_s * min(1.0, other.instances / max(1, own.instances))
        return 0.0


def _pressed(loads: dict[Pool, Load]) -> Pool | None:
    """The pool that needs relief where the other one has room."""
    for pool, load in loads.items():
        if load.pressure >= FULL and loads[_other(pool)].pressure <= CALM:
            return pool
    return None


def _other(pool: Pool) -> Pool:
    return Pool.LONG if pool is Pool.SHORT else Pool.SHORT
