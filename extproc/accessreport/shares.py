"""Shares and quantiles of weighted samples; knows no request.

A request that was read with weight w stands for w requests (the estimator of Horvitz and Thompson).
"""

import math
from array import array
from typing import NamedTuple

import numpy as np

Z = 1.959964
"""97.5 % quantile of the standard normal distribution."""


class Share(NamedTuple):
    """A share of requests, with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


class Weight:
    """Requests of one kind: how many were read, for how many they stand."""

    __slots__ = ("count", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, weight: float) -> None:
        """One more."""
        self.count += 1
        self.total += weight
        self.squares += weight * weight


def share_of(hits: Weight, among: Weight) -> Share | None:
    """The share of some requests among those they are some of; None of none.

    p is the ratio of the weights, its variance Σ w² (x − p)² / (Σ w)² with x = 1 for hits and 0 for others. A sample of
    n = p (1 − p) / variance requests without weights would say as much; the interval is Wilson's for it (Dean and
    Pagano, Journal of Survey Statistics and Methodology 3, 2015). Where all or none are hits, n = (Σ w)² / Σ w² (Kish).
    """
    if not among.total:
        return None
    share = min(1.0, hits.total / among.total)
    spread = hits.squares * (1.0 - share) ** 2 + max(0.0, among.squares - hits.squares) * share**2
    told = share * (1.0 - share)
    effective = told * among.total**2 / spread if told and spread else among.total**2 / among.squares
    return _wilson(share, effective)


def _wilson(share: float, count: float) -> Share:
    centre = (share + Z * Z / (2.0 * count)) / (1.0 + Z * Z / count)
    half = Z / (1.0 + Z * Z / count) * math.sqrt(share * (1.0 - share) / count + Z * Z / (4.0 * count * count))
    return Share(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


class Values:
    """Numbers with weights, 16 bytes each."""

    def __init__(self) -> None:
        self._values, self._weights = array("d"), array("d")

    def add(self, value: float, weight: float) -> None:
        """One more."""
        self._values.append(value)
        self._weights.append(weight)

    def __len__(self) -> int:
        return len(self._values)

    def mean(self) -> float:
        """Of one or more."""
        return float(np.average(self._values, weights=self._weights))

    def sizes(self, *shares: float) -> list[float]:
        """Quantiles of |value|: the smallest that at least this share of the weight does not exceed."""
        sizes, weights = np.abs(self._values), np.array(self._weights)
        order = np.argsort(sizes)
        cumulative = np.cumsum(weights[order])
        at = np.searchsorted(cumulative, [share * cumulative[-1] for share in shares])
        return [float(size) for size in sizes[order][np.minimum(at, len(order) - 1)]]
