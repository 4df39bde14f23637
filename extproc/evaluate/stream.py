"""The stream of requests of one run, drawn from the rows; knows lengths and rows, no router.

A length is drawn from the trace, then a row of about that true length: of the same eighth of an octave, or of the
nearest that has any. A length is thus moved by 9 % at most where the rows lie dense; one beyond every row takes the
longest rows. Without a trace every row is as likely as another.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from extproc.evaluate.lengths import Lengths
from extproc.evaluate.mix import Mix

BINS_PER_OCTAVE = 8


class Arrival(NamedTuple):
    """One request of the stream."""

    row: int
    escaped: bool
    output_tokens: int | None
    """What it declares as its largest output; None leaves what the row says."""
    draw: float
    """What the router is given to choose the answers it reads."""


@dataclass(frozen=True, slots=True)
class StreamRules:
    """What a stream is made of."""

    count: int
    lengths: Lengths | None = None
    output_mix: Mix | None = None
    escaped_share: float = 0.0
    held_back: str | None = None
    """Rows of this category come only later."""
    held_back_until: int = 0
    """The first request that may be one of them."""


class Bins:
    """Rows by their true length, in steps of a constant factor."""

    def __init__(self, tokens: Sequence[int], rows: Iterable[int]) -> None:
        self._rows: dict[int, list[int]] = {}
        for row in rows:
            self._rows.setdefault(_bin(tokens[row]), []).append(row)
        self._bins = sorted(self._rows)

    def near(self, length: float) -> list[int]:
        """Rows of about this length; between two bins equally far the longer."""
        wanted = _bin(length)
        at = bisect_left(self._bins, wanted)
        around = self._bins[max(0, at - 1) : at + 1]
        return self._rows[min(around, key=lambda found: (abs(found - wanted), -found))]


def arrivals(rules: StreamRules, tokens: Sequence[int], categories: Sequence[str], random: Random) -> Iterator[Arrival]:
    """The stream; the same generator state gives the same stream.

    Args:
        rules: what it is made of.
        tokens: each row's true prompt tokens.
        categories: each row's category.
        random: consumed.
    """
    every = range(len(tokens))
    early = [row for row in every if categories[row] != rules.held_back]
    choose_early, choose = (_chooser(rules.lengths, tokens, rows) for rows in (early, every))
    for index in range(rules.count):
        row = (choose_early if index < rules.held_back_until else choose)(random)
        escaped, draw = random.random() < rules.escaped_share, random.random()
        yield Arrival(row, escaped, rules.output_mix.at(random.random()) if rules.output_mix else None, draw)


class _Chooser(NamedTuple):
    lengths: Lengths | None
    bins: Bins
    rows: Sequence[int]

    def __call__(self, random: Random) -> int:
        rows = self.rows if self.lengths is None else self.bins.near(self.lengths.quantile(random.random()))
        return random.choice(rows)


def _chooser(lengths: Lengths | None, tokens: Sequence[int], rows: Sequence[int]) -> _Chooser:
    return _Chooser(lengths, Bins(tokens, rows), rows)


def _bin(length: float) -> int:
    return math.floor(BINS_PER_OCTAVE * math.log2(length))
