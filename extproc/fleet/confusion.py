"""How a router errs: what share of requests it sends long, by how far their true budget lies from the threshold.

Learned by driving the service's router over a workload, answers coming back some requests later; then as cheap as a
table, for the many simulations that size a fleet. The final ones drive the router itself. Knows no instance.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from extproc.fleet.dispatch import LONG, SHORT, Routed, budgets, position, usage_of
from extproc.fleet.simulation import Traffic
from extproc.fleet.values import Batch, Floats, Ints
from extproc.routing.values import Decision

_BINS_PER_OCTAVE, _OCTAVES = 16, 4
_EDGES = np.arange(-_OCTAVES * _BINS_PER_OCTAVE, _OCTAVES * _BINS_PER_OCTAVE + 1) / _BINS_PER_OCTAVE
"""Of the logarithm to base 2 of budget over threshold."""
_IN_FLIGHT = 64
"""Requests after which an answer comes back."""
_WARM_UP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Confusion:
    """The errors of one router at one threshold, after its first answers."""

    threshold_tokens: int
    long_share: Floats
    """By bin of log₂(budget / threshold)."""


@dataclass(slots=True)
class Confused:
    """Sends requests as such a router would."""

    confusion: Confusion
    seed: int
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng((self.seed, 2))

    def pools_of(self, batch: Batch) -> Ints:
        """By a draw for each."""
        shares = self.confusion.long_share[_bins(batch, self.confusion.threshold_tokens)]
        return np.where(self._random.random(len(shares)) < shares, LONG, SHORT)


def confusion_of(routed: Routed, traffic: Traffic, *, requests: int, seed: int) -> Confusion:
    """What a router makes of so many requests; it learns from them."""
    answers, threshold_tokens = deque[tuple[Decision, int, int, int]](), routed.settings.threshold_tokens
    bins: list[Ints] = []
    pools: list[int] = []
    for batch in traffic.batches(seed=seed, requests=requests):
        bins.append(_bins(batch, threshold_tokens))
        pools += _route_all(routed, batch, answers, len(pools))
    while answers:
        _answer(routed, *answers.popleft())
    return _table(np.concatenate(bins), np.array(pools), threshold_tokens)


def _route_all(routed: Routed, batch: Batch, answers: deque[tuple[Decision, int, int, int]], first: int) -> list[int]:
    pools = []
    columns = (batch.prompt_tokens, batch.output_tokens, batch.declared_tokens)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for decision, (prompt, output, declared) in zip(routed.decide(batch, first), rows, strict=True):
        pools.append(position(decision.pool))
        answers.append((decision, prompt, output, declared))
        if len(answers) > _IN_FLIGHT:
            _answer(routed, *answers.popleft())
    return pools


def _answer(routed: Routed, decision: Decision, prompt: int, output: int, declared: int) -> None:
    routed.complete(decision, usage_of(prompt, output, cut=output == declared) if decision.observe else None)


def _table(bins: Ints, pools: Ints, threshold_tokens: int) -> Confusion:
    """Shares by bin; one without requests is taken for what belongs there."""
    begin = int(_WARM_UP_SHARE * len(bins))
    counts = np.bincount(bins[begin:], minlength=len(_EDGES) + 1)
    long = np.bincount(bins[begin:], weights=pools[begin:] == LONG, minlength=len(_EDGES) + 1)
    right = np.append(_EDGES > 0, True)
    shares = np.where(counts > 0, long / np.maximum(1, counts), right)
    return Confusion(threshold_tokens, shares)


def _bins(batch: Batch, threshold_tokens: int) -> Ints:
    return np.searchsorted(_EDGES, np.log2(budgets(batch) / threshold_tokens)).astype(np.int64)
