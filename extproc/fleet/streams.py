"""Requests that were drawn before, whole or in part, as traffic for a simulation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extproc.fleet.dispatch import Dispatch
from extproc.fleet.simulation import Traffic
from extproc.fleet.values import Batch


@dataclass(frozen=True, slots=True)
class Drawn:
    """Requests in the order of their arrival."""

    batch: Batch

    def __len__(self) -> int:
        return len(self.batch.arrival_s)

    @property
    def rate_per_s(self) -> float:
        """Mean over all of them."""
        return len(self) / max(1e-9, float(self.batch.arrival_s[-1])) if len(self) else 0.0

    def batches(self, *, seed: int, requests: int) -> Iterator[Batch]:  # noqa: ARG002 - drawn already
        """The first so many."""
        yield _chosen(self.batch, np.arange(min(requests, len(self))))

    def in_pieces(self, size: int) -> "Pieces":
        """The same, a few at a time."""
        return Pieces(self.batch, size)

    def thinned(self, share: float, *, most: int, seed: int) -> "Drawn":
        """Each request with this probability, and of those the first so many: what a part of the fleet sees."""
        kept = np.random.default_rng((seed, 3)).random(len(self)) < share
        return Drawn(_chosen(self.batch, np.flatnonzero(kept)[:most]))

    def parted(self, dispatch: Dispatch, pools: int) -> "list[Drawn]":
        """What a dispatch, asked once, sends to each of so many pools: every request to one of them."""
        chosen = dispatch.pools_of(self.batch)
        return [Drawn(_chosen(self.batch, np.flatnonzero(chosen == pool))) for pool in range(pools)]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Requests in the order of their arrival, in batches of a size."""

    batch: Batch
    size: int

    def batches(self, *, seed: int, requests: int) -> Iterator[Batch]:  # noqa: ARG002 - drawn already
        """The first so many."""
        most = min(requests, len(self.batch.arrival_s))
        for begin in range(0, most, self.size):
            yield _chosen(self.batch, np.arange(begin, min(begin + self.size, most)))


def draw(traffic: Traffic, *, seed: int, requests: int) -> Drawn:
    """Draw so many requests of a workload, without the names of their prefixes."""
    parts = [batch[:5] for batch in traffic.batches(seed=seed, requests=requests)]
    arrival_s, prompts, outputs, declared, categories = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Drawn(Batch(arrival_s, prompts, outputs, declared, categories))


def _chosen(batch: Batch, rows: npt.NDArray[np.intp]) -> Batch:
    return Batch(
        batch.arrival_s[rows],
        batch.prompt_tokens[rows],
        batch.output_tokens[rows],
        batch.declared_tokens[rows],
        batch.categories[rows],
    )
