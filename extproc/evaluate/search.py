"""Finds the published estimator's margin at which it errs as rarely as another; knows numbers alone."""

from collections.abc import Callable

GAMMA_MAX = 16.0
"""Past it the conservative ratio stands at its physical bound for any text."""
STEPS = 8
"""Halvings: they leave γ known to 1/16."""


def gamma_at(target_under: float, under_at: Callable[[float], float]) -> float:
    """The smallest γ found whose under-routed share is at most `target_under`, or `GAMMA_MAX` if none is.

    Args:
        target_under: share of requests.
        under_at: the share at a γ; falls as γ grows.
    """
    low, high = 0.0, GAMMA_MAX
    if under_at(low) <= target_under:
        return low
    for _ in range(STEPS):
        middle = (low + high) / 2
        if under_at(middle) <= target_under:
            high = middle
        else:
            low = middle
    return high
