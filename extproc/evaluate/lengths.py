"""Prompt lengths as a trace has them, to weigh requests by; knows no format and no request.

A published distribution of total tokens is taken for one of prompts: it does not say which part is which.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from extproc.traces import FORMATS, LengthCdf, read_trace

__all__ = ["FORMATS", "CdfLengths", "Lengths", "TraceLengths", "read_lengths"]


class Lengths(Protocol):
    """A distribution of prompt lengths."""

    def quantile(self, share: float) -> float:
        """The length in tokens that this share, in [0, 1), of all prompts does not exceed."""
        ...


@dataclass(frozen=True, slots=True)
class TraceLengths:
    """Every length of a trace, as often as it occurs."""

    tokens: Sequence[int]
    """In ascending order."""

    def quantile(self, share: float) -> float:
        """A length that the trace has."""
        return self.tokens[int(share * len(self.tokens))]


@dataclass(frozen=True, slots=True)
class CdfLengths:
    """A table of cumulative shares, taken as straight between its points."""

    tokens: Sequence[float]
    cumulative: Sequence[float]
    """In ascending order; the last is 1."""

    def quantile(self, share: float) -> float:
        """Between two points in proportion; below the first between half its length and the whole."""
        at = bisect_left(self.cumulative, share)
        high, low = self.tokens[at], self.tokens[at - 1] if at else self.tokens[0] / 2
        below = self.cumulative[at - 1] if at else 0.0
        width = self.cumulative[at] - below
        return high if width <= 0 else low + (high - low) * (share - below) / width


def read_lengths(path: Path) -> Lengths:
    """The lengths of a trace.

    Raises:
        ConfigurationError: the file cannot be read, or is none of the formats.
    """
    found = read_trace(path)
    if isinstance(found, LengthCdf):
        return CdfLengths(found.tokens, found.cumulative)
    return TraceLengths(sorted(found.prompt_tokens.tolist()))
