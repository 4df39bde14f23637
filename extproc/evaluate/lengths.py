"""Prompt lengths as a trace has them, to weigh requests by; knows the traces' formats, no request.

Recognised by what the file holds: CSV with a column `ContextTokens` (Azure's LLM inference traces) or
`num_prefill_tokens`; JSONL with `input_length` (Mooncake's traces); a JSON list of [tokens, cumulative share] (alone or
under `cdf`). A published distribution of total tokens is taken for one of prompts: it does not say which part is which.
"""

import csv
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from extproc.errors import ConfigurationError
from extproc.evaluate.files import read_lines

_COLUMNS = ("ContextTokens", "num_prefill_tokens")
_KEY = "input_length"
FORMATS = (
    f"a CSV with a column {' or '.join(_COLUMNS)}, JSONL with {_KEY}, or a JSON list of [tokens, cumulative share]"
)


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
    lines = [line for _, line in read_lines(path)]
    try:
        found = _lengths(lines)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{path} is no trace ({error}); expected {FORMATS}") from error
    if found is None:
        raise ConfigurationError(f"{path} is no trace; expected {FORMATS}")
    return found


def _lengths(lines: list[str]) -> Lengths | None:
    first = lines[0].lstrip() if lines else ""
    if _KEY in first:
        return _observed([json.loads(line)[_KEY] for line in lines])
    if first[:1] in "[{":
        return _cdf(json.loads("".join(lines))) if first else None
    reader = csv.DictReader(lines)
    column = next((name for name in _COLUMNS if name in (reader.fieldnames or ())), None)
    return _observed([record[column] for record in reader]) if column else None


def _observed(values: list[Any]) -> Lengths | None:
    """Requests without a prompt, which some traces have, are left out: none is like them."""
    tokens = sorted(count for count in map(int, values) if count > 0)
    return TraceLengths(tokens) if tokens else None


def _cdf(document: Any) -> Lengths | None:
    points = sorted((float(tokens), float(share)) for tokens, share in _points(document))
    tokens, cumulative = [point[0] for point in points], [point[1] for point in points]
    rises = cumulative == sorted(cumulative)
    if not points or tokens[0] <= 0 or not rises or cumulative[0] < 0 or abs(cumulative[-1] - 1.0) > _ROUNDING:
        return None
    return CdfLengths(tokens, [*cumulative[:-1], 1.0])


def _points(document: Any) -> Any:
    return document["cdf"] if isinstance(document, dict) else document


_ROUNDING = 1e-3
"""How far from 1 a table's last share may be."""
