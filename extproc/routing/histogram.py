"""Lengths in bins of logarithmic width, and the upper quantile that they promise of the next one.

Knows counts, weights and ranks; must not know whose lengths they are or what is done with the quantile.
"""

from array import array
from bisect import bisect_left

BIN_RATIO = 1.06
"""Each bin's upper edge over the one below. The quantile is such an edge, so it is 6 % above what was seen at most."""
LONGEST = 2**20
"""The upper edge of the last bin; above it lies one more, for what is only known to be longer."""


def _edges() -> list[int]:
    edges = [1]
    while edges[-1] < LONGEST:
        edges.append(min(LONGEST, max(edges[-1] + 1, int(edges[-1] * BIN_RATIO))))
    return edges


EDGES = _edges()
LONGER = len(EDGES)
"""The bin above all edges."""

NOT_YET = 2**62
_ROUNDING = 1e-9
_WEIGHT_MAX = 2.0**64


def bin_of(length: int) -> int:
    """The bin whose edge is the first to reach the length."""
    return bisect_left(EDGES, length)


class Histogram:
    """Counts lengths, forgets slowly, and tells what the next one exceeds with a given probability at most.

    With weights for the lengths seen and the newest weight for the one to come, p is kept if the weight above the
    quantile and the newest weight together are at most p times all weight and the newest weight. That is the quantile
    of conformal prediction; for equal weights it is the length of rank ceil((n + 1)(1 − p)). It holds for any
    distribution and any number of lengths, provided that their order tells nothing, and nothing can be said of fewer
    than (1 − p) / p. Weights that halve with every half-life make it hold nearly where the distribution drifts. Source:
    Barber, Candès, Ramdas and Tibshirani, "Conformal prediction beyond exchangeability", Annals of Statistics 51
    (2023).

    To forget, each length is given more weight than the one before, so that nothing old is touched; all are scaled down
    before the numbers grow too large.
    """

    __slots__ = ("_growth", "_miss_probability", "_next_weight", "_total", "_weights", "enough_since", "top", "upper")

    def __init__(self, *, miss_probability: float, half_life: float) -> None:
        """Promise a probability of at most 0.5; forget by half in so many lengths, never if that is infinite."""
        self._miss_probability = miss_probability
        self._growth = 2.0 ** (1.0 / half_life)
        self._next_weight = 1.0
        self._total = 0.0
        self._weights = array("d", bytes(8 * (LONGER + 1)))
        self.top = 0
        """The highest bin seen."""
        self.enough_since = NOT_YET
        """The `now` at which enough had been seen to say anything."""
        self.upper: int | None = None
        """The quantile; None without enough, or where it lies above all edges."""

    @property
    def samples(self) -> float:
        """Lengths seen, those that are partly forgotten counted in part."""
        return self._total / self._next_weight

    def observe(self, index: int, *, now: int) -> None:
        """Take in a length of the given bin; `now` is only remembered."""
        self._weights[index] += self._next_weight
        self._total += self._next_weight
        self._next_weight *= self._growth
        self.top = max(self.top, index)
        if self._next_weight > _WEIGHT_MAX:
            self._scale_down()
        self._judge(now)

    def adopt(self, *, miss_probability: float, half_life: float, now: int) -> None:
        """Promise another probability, and forget at another pace, from now on.

        A larger one has been kept since the smaller was; for a smaller one it is not known since when, so it counts
        from now.
        """
        self._growth = 2.0 ** (1.0 / half_life)
        if miss_probability == self._miss_probability:
            return
        if miss_probability < self._miss_probability:
            self.enough_since, self.upper = NOT_YET, None
        self._miss_probability = miss_probability
        self._judge(now)

    def weights(self) -> tuple[dict[int, float], float]:
        """By upper edge, and above all edges, where the newest length's is 1; those that are next to nothing left out.

        By edges rather than bins, so that they can be read where bins are others.
        """
        unit = self._next_weight / self._growth
        shares = [weight / unit for weight in self._weights]
        return {EDGES[i]: share for i, share in enumerate(shares[:LONGER]) if share > _ROUNDING}, shares[LONGER]

    def add(self, weights: dict[int, float], longer: float, *, now: int) -> None:
        """Add what another one has seen. Edges that are none here are rounded up."""
        unit = self._next_weight / self._growth
        for index, weight in [(bin_of(edge), weight) for edge, weight in weights.items()] + [(LONGER, longer)]:
            if weight > 0.0:
                self._weights[index] += weight * unit
                self._total += weight * unit
                self.top = max(self.top, index)
        self._judge(now)

    def _scale_down(self) -> None:
        scale = self._next_weight
        self._weights = array("d", [weight / scale for weight in self._weights])
        self._total = sum(self._weights)  # anew, so that roundings do not add up
        self._next_weight = 1.0

    def _judge(self, now: int) -> None:
        p, next_weight = self._miss_probability, self._next_weight
        allowed = p * self._total - (1.0 - p) * next_weight + _ROUNDING * next_weight
        if allowed < 0.0:
            return
        self.enough_since = min(self.enough_since, now)
        index = self.top
        above = self._weights[index]
        while above <= allowed:
            index -= 1
            above += self._weights[index]
        self.upper = None if index == LONGER else EDGES[index]
