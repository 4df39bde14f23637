"""Shares of values, as `256:.3,512:.7` writes them, to draw from; knows not what the values are."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from extproc.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Mix:
    """Values with the share of each."""

    values: tuple[int, ...]
    cumulative: tuple[float, ...]
    """Ascending to 1."""

    def at(self, share: float) -> int:
        """The value for a number drawn uniformly from [0, 1)."""
        return self.values[min(bisect_right(self.cumulative, share), len(self.values) - 1)]


def parse_mix(text: str) -> Mix:
    """Read VALUE:SHARE,…; shares are scaled to sum to 1.

    Raises:
        ConfigurationError: it is no such list.
    """
    try:
        parts = [part.split(":") for part in text.split(",")]
        values, shares = [int(value) for value, _ in parts], [float(share) for _, share in parts]
    except ValueError:
        values, shares = [], []
    total = sum(shares)
    if not values or min(values) < 1 or min(shares) < 0 or not 0 < total < float("inf"):
        raise ConfigurationError(f"{text!r} is no mix: expected TOKENS:SHARE,… for example 256:.3,512:.2,1024:.5")
    return Mix(tuple(values), tuple(share / total for share in accumulate(shares)))
