"""How hard a pool is pressed, as one number made of its readings; knows no pool by name and does nothing about it."""

from dataclasses import dataclass

from extproc.routing.steering import PoolState

FULL = 1.0
"""The pressure from which a pool needs relief."""
EASED = 0.5
"""The pressure down to which it still needs it once it did, and from which another one has none to give."""
CALM = 0.25
"""The pressure up to which a pool has room."""


@dataclass(frozen=True, slots=True)
class PressureRules:
    """The readings that count as full pressure, each by itself."""

    waiting: float = 4.0
    """Waiting requests an instance."""
    kv_usage: float = 0.95
    """Share of KV blocks in use."""
    kv_span: float = 0.2
    """So far below `kv_usage` KV blocks press no more: 0.2 makes 0.80 calm and 0.85 eased where 0.95 is full."""
    preemptions_per_s: float = 0.5
    """An instance. Each one computes a whole sequence anew."""


def pressure_of(state: PoolState, rules: PressureRules) -> float:
    """How hard a pool is pressed: 0 not at all, 1 (`FULL`) or more means that it needs relief.

    The largest of

        waiting / rule,   1 − (rule − kv_usage) / span,   preemptions per second / rule,   1 if anybody gets 503

    A maximum and not a sum, because each resource alone makes users wait: requests queue in front of an empty KV cache
    where prompts are long, and a full cache preempts while nobody waits.
    """
    refused = FULL if state.rejections_per_s > 0.0 else 0.0
    return max(
        refused,
        state.waiting / rules.waiting,
        FULL - (rules.kv_usage - state.kv_usage) / rules.kv_span,
        state.preemptions_per_s / rules.preemptions_per_s,
    )
