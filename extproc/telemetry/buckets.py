"""A histogram in process memory: one search and two additions a value; knows no metrics library."""

from bisect import bisect_left


class Buckets:
    """Counts of values by fixed upper bounds, inclusive as Prometheus's are. Written by one thread, read by any."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        """Ascending."""
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and one for what is above them all."""
        self.total = 0.0
        """Sum of the values."""

    def add(self, value: float) -> None:
        """Take in one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
