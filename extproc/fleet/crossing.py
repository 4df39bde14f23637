"""Where a falling function passes 0; knows nothing of what it means."""

from collections.abc import Callable

_CHORDS = 30
"""At most; six are usual."""
_CLOSE = 1e-4
"""Share by which the two ends of a search may differ: functions that rest on a grid jump a little where it changes."""


def crossing(falls: Callable[[float], float], between: tuple[float, float], last: float, *, near: float) -> float:
    """Where a falling function passes 0: by chords, the end that stays being halved (the Illinois rule).

    Args:
        falls: the function.
        between: above 0 at the first of these, else that is the answer; below 0 at the second.
        last: its value there.
        near: values so close to 0 are as good.
    """
    (low, high), first, kept = between, falls(between[0]), 0
    if first <= 0.0:
        return low
    for _ in range(_CHORDS):
        middle = (low * last - high * first) / (last - first)
        value = falls(middle)
        if abs(value) < near or high - low < _CLOSE * high:
            return middle
        if value > 0.0:
            low, first, last, kept = middle, value, last / 2 if kept > 0 else last, 1
        else:
            high, last, first, kept = middle, value, first / 2 if kept < 0 else first, -1
    return low
