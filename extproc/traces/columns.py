"""The columns of a trace, and how they are gathered line by line; knows no format."""

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.routing.values import Category

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CATEGORIES = tuple(Category)
ABSENT = -1
"""In a column: this request does not say."""
_COUNT_MAX = 2**31 - 1


class Trace(NamedTuple):
    """Requests that were seen, as columns of one length n, in the order of their arrival."""

    prompt_tokens: Ints
    """At least 1: records without a prompt are left out."""
    output_tokens: Ints | None = None
    """At least 0; None where a record does not say."""
    arrival_s: Floats | None = None
    """Ascending, the first is 0; None where a record has no time."""
    declared_tokens: Ints | None = None
    """`max_tokens`, or −1 where a request declares none; None where no record speaks of it."""
    categories: npt.NDArray[np.int8] | None = None
    """Positions in `CATEGORIES`, or −1 where a record does not say; None where none does."""
    prefix_from: Ints | None = None
    """n + 1 positions in `prefixes`: where the prefix blocks of each request begin; None where none are named."""
    prefixes: Ints | None = None
    """Names of blocks of 512 prompt tokens; equal names mean equal text up to the end of the block."""
    drawn: int = 0
    """Requests whose lengths nobody read, so that they are those of another one like it."""
    cut: int = 0
    """Lines that had no end, as where a process was killed while it wrote, and were passed over."""

    @property
    def requests(self) -> int:
        """How many."""
        return len(self.prompt_tokens)


class Record(NamedTuple):
    """One line of a trace."""

    prompt_tokens: int
    output_tokens: int | None = None
    time_s: float | None = None
    declared_tokens: int | None = None
    category: Category | None = None
    prefixes: Sequence[int] = ()


class Columns:
    """A trace while it is read: 8 bytes for each number."""

    def __init__(self) -> None:
        self._prompt, self._output, self._declared = array("q"), array("q"), array("q")
        self._time_s, self._category = array("d"), array("b")
        self._prefix_from, self._prefixes = array("q", [0]), array("q")

    def add(self, record: Record) -> None:
        """Take in a record.

        Raises:
            ValueError: a count or the time is none.
        """
        if record.prompt_tokens == 0:
            return
        self._prompt.append(_count(record.prompt_tokens))
        self._output.append(_count(record.output_tokens))
        self._declared.append(_count(record.declared_tokens))
        self._time_s.append(checked_time_s(record.time_s))
        self._category.append(ABSENT if record.category is None else CATEGORIES.index(record.category))
        self._prefixes.extend(record.prefixes)
        self._prefix_from.append(len(self._prefixes))

    def trace(self, *, tick_s: float = 0.0, seed: int = 0) -> Trace:
        """The columns, sorted by time.

        Args:
            tick_s: what times are rounded down to; they are spread evenly at random within it. 0 for exact times.
            seed: of the spread.
        """
        arrival_s, order = self._arrivals(tick_s, seed)
        prompt_tokens = np.array(self._prompt, np.int64)[order]
        output, declared = (np.array(column, np.int64)[order] for column in (self._output, self._declared))
        category = np.array(self._category, np.int8)[order]
        return Trace(
            prompt_tokens,
            None if (output < 0).any() else output,
            arrival_s,
            None if (declared < 0).all() else declared,
            None if (category < 0).all() else category,
            *self._in_order(order),
        )

    def _arrivals(self, tick_s: float, seed: int) -> tuple[Floats | None, Ints]:
        """Times from the first on, and the order that sorts the records: those of one tick stay as they stand."""
        time_s = np.array(self._time_s, np.float64)
        if not len(time_s) or np.isnan(time_s).any():
            return None, np.arange(len(time_s))
        order = np.argsort(time_s, kind="stable")
        arrival_s = time_s[order]
        if tick_s:
            arrival_s = np.sort(arrival_s + tick_s * np.random.default_rng(seed).random(len(arrival_s)))
        return arrival_s - arrival_s[0], order

    def _in_order(self, order: Ints) -> tuple[Ints | None, Ints | None]:
        if not self._prefixes:
            return None, None
        starts, names = np.array(self._prefix_from, np.int64), np.array(self._prefixes, np.int64)
        counts = np.diff(starts)[order]
        prefix_from = np.concatenate([[0], np.cumsum(counts)])
        return prefix_from, names[np.repeat(starts[:-1][order] - prefix_from[:-1], counts) + np.arange(prefix_from[-1])]


def _count(value: int | None) -> int:
    if value is None:
        return ABSENT
    if not 0 <= value <= _COUNT_MAX:
        raise ValueError(f"{value} is no count of tokens")
    return value


def checked_time_s(value: float | None) -> float:
    """A time, or NaN for none.

    Raises:
        ValueError: it has no end.
    """
    if value is None:
        return math.nan
    if not math.isfinite(value):
        raise ValueError(f"{value} is no time")
    return value
