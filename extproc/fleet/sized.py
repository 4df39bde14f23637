"""A fleet and how large it must be, replication by replication; knows neither how that was found nor what follows."""

import math
import statistics
from typing import NamedTuple

from extproc.fleet.drafts import Draft

_GROWTH = 1.04
"""By how much a fleet grows that misses the objective when it is simulated whole."""


class Sized(NamedTuple):
    """A fleet with its size in each replication."""

    draft: Draft
    instances: tuple[tuple[int, ...], ...]
    """[seed][pool]; empty where no number keeps the objective."""

    @property
    def final(self) -> tuple[int, ...]:
        """For each pool: enough in every replication."""
        return tuple(max(column) for column in zip(*self.instances, strict=True))

    @property
    def means(self) -> tuple[float, ...]:
        """For each pool over replications."""
        return tuple(statistics.fmean(column) for column in zip(*self.instances, strict=True))

    def grown(self) -> "Sized":
        """A little larger, in every replication."""
        larger = tuple(tuple(math.ceil(_GROWTH * count) for count in counts) for counts in self.instances)
        return self._replace(instances=larger)

    def usd_per_hour(self) -> list[float]:
        """By replication."""
        prices = [pool.spec.usd_per_hour for pool in self.draft.pools]
        return [sum(n * usd for n, usd in zip(counts, prices, strict=True)) for counts in self.instances]

    def gpus(self) -> list[float]:
        """By replication."""
        each = [pool.spec.gpus for pool in self.draft.pools]
        return [float(sum(n * gpus for n, gpus in zip(counts, each, strict=True))) for counts in self.instances]
