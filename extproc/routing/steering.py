"""The nouns of steering: how a pool stands under load, and what is to be done about it. They know no rule.

Readings come from outside, are judged by `readings`, and end as one `PoolState` for each pool or none; the rules of
`spillover` and `adaptive` make one `Steering` of them, which the router follows until the next.
"""

import msgspec

from extproc.routing.values import Pool


class PoolState(msgspec.Struct, frozen=True, gc=False):
    """A pool as its instances describe it, of readings that are fresh and plausible: means over those instances."""

    instances: int
    """Whose readings it is made of."""
    running: float
    """Sequences in the engine's batch, an instance."""
    waiting: float
    """Sequences in the engine's queue, an instance."""
    kv_usage: float
    """Share of KV blocks in use, 0 to 1."""
    preemptions_per_s: float = 0.0
    """Sequences thrown out of a batch for want of KV blocks, an instance."""
    rejections_per_s: float = 0.0
    """Requests refused with 503, an instance."""


class Steering(msgspec.Struct, frozen=True, gc=False):
    """What the router is told: which budgets go short, and whose requests may go to the other pool meanwhile."""

    threshold_tokens: int
    """The largest budget that goes short."""
    spill_from: Pool | None = None
    """The pool under pressure, where the other one has room."""
    spill_share: float = 0.0
    """Of its requests, how many go to the other pool, if that can hold them; 0 to 1."""
