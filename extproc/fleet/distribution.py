"""Times as a histogram of bins that are one percent wide: bounded memory, quantiles to half a percent, exact means."""

from dataclasses import dataclass, field

import numpy as np

from extproc.fleet.values import Floats

_LEAST_S, _MOST_S, _WIDTH = 1e-5, 1e6, 0.01
_BINS = int(np.log(_MOST_S / _LEAST_S) / _WIDTH) + 2


def _counts() -> Floats:
    return np.zeros(_BINS)


@dataclass(slots=True)
class Distribution:
    """Of a time in seconds. Grows by `add`, and by `+` into a new one."""

    counts: Floats = field(default_factory=_counts)
    sum_s: float = 0.0

    def add(self, times_s: Floats) -> None:
        """Take in times."""
        bins = np.log(np.maximum(times_s, _LEAST_S) / _LEAST_S) / _WIDTH
        self.counts += np.bincount(np.minimum(bins, _BINS - 1).astype(np.int64), minlength=_BINS)
        self.sum_s += float(times_s.sum())

    def __add__(self, other: "Distribution") -> "Distribution":
        """Both together."""
        return Distribution(self.counts + other.counts, self.sum_s + other.sum_s)

    @property
    def count(self) -> int:
        """How many times there are."""
        return int(self.counts.sum())

    @property
    def mean_s(self) -> float:
        """NaN where there are none."""
        return self.sum_s / self.count if self.count else float("nan")

    def quantile_s(self, share: float) -> float:
        """The time that a share in (0, 1] of all do not exceed: the middle of its bin; NaN where there are none."""
        if not self.count:
            return float("nan")
        at = int(np.searchsorted(self.counts.cumsum(), share * self.count))
        return float(_LEAST_S * np.exp(_WIDTH * (min(at, _BINS - 1) + 0.5)))

    def curve(self) -> tuple[list[float], list[float]]:
        """Times, and the share of all that do not exceed each: points for a plot, only where the share rises."""
        rises = np.flatnonzero(self.counts)
        edges = _LEAST_S * np.exp(_WIDTH * (rises + 1.0))
        return edges.tolist(), (self.counts.cumsum()[rises] / max(1, self.count)).tolist()
