"""Access logs of our own, in which only some requests say how long they were, as a trace in which all do.

The service reads a share of the answers, and of streams without usage none. So most lines have a time, a decision and
an estimated budget, but no length. Leaving them out would thin the traffic; taking the others as they stand would make
requests in doubt too frequent, since those are read more often. Instead

- every request keeps its time and its declared output;
- one whose answer was read keeps its lengths;
- each other one gets the lengths of one that was read and looks like it, drawn from those of the same pool, reason,
  estimated size and declared output (both to the power of two), or from the next wider group with enough of them.

A line that was read with weight w stands for itself and w − 1 others, so it is drawn with a chance in proportion to
w − 1 (a hot deck with weights; Andridge and Little, International Statistical Review 78, 2010). What is assumed is that
inside a group answers that were not read are as long as those that were. Of groups that are never read (media, bodies
whose size alone is too much) nothing is known, and lengths of the pool's others stand in.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from extproc.routing.values import Reason
from extproc.traces.columns import ABSENT, CATEGORIES, Columns, Floats, Ints, Record, Trace, checked_time_s
from extproc.traces.lines import LogLine, log_line

_ENOUGH = 5
"""Requests that were read, from which a group is drawn from."""
_NO_LOAD = frozenset({Reason.NOT_INFERENCE.value, Reason.UNREADABLE.value})
"""Reasons of requests that no model answers."""
_Group = tuple[str | None, str | None, int, int]
_PARTS = 4


class _Arrays(NamedTuple):
    prompt: Ints
    output: Ints
    declared: Ints
    group: Ints
    weight: Floats


class LogColumns:
    """Access logs while they are read: about 50 bytes a request."""

    def __init__(self) -> None:
        self.read = 0
        """Requests that say how long they were."""
        self.unread = 0
        self.cut = 0
        """Lines without an end that were passed over."""
        self._prompt, self._output, self._declared = array("q"), array("q"), array("q")
        self._time_s, self._category, self._weight = array("d"), array("b"), array("d")
        self._group = array("q")
        self._groups: dict[_Group, int] = {}

    def add(self, text: str) -> bool:
        """Take in a line; False for one without an end, which is passed over.

        Raises:
            ValueError: it does not fit; likewise msgspec.MsgspecError.
        """
        if not text.rstrip().endswith("}") and text.lstrip().startswith("{"):
            self.cut += 1
            return False
        line = log_line(text)
        if line.prompt_tokens is None:
            if line.pool is None or line.reason in _NO_LOAD:
                return True
            self.unread += 1
        elif line.prompt_tokens:
            self.read += 1
        self._append(line)
        return True

    def trace(self, *, seed: int) -> Trace:
        """All requests, those that nobody read with lengths that were drawn; at least one was read."""
        columns = Columns()
        lengths = _filled(self._arrays(), list(self._groups), np.random.default_rng(seed))
        prompts, outputs, origin = (column.tolist() for column in lengths)
        for at, time_s in enumerate(self._time_s):
            declared, category = self._declared[at], self._category[origin[at]]
            columns.add(
                Record(
                    prompts[at],
                    _known(outputs[at]),
                    None if np.isnan(time_s) else time_s,
                    _known(declared),
                    None if category == ABSENT else CATEGORIES[category],
                )
            )
        return columns.trace()._replace(drawn=self.unread, cut=self.cut)

    def _append(self, line: LogLine) -> None:
        self._time_s.append(checked_time_s(line.time_s))
        self._prompt.append(_or_absent(line.prompt_tokens))
        self._output.append(_or_absent(line.completion_tokens))
        self._declared.append(_or_absent(line.max_tokens))
        self._category.append(ABSENT if line.category is None else CATEGORIES.index(line.category))
        self._weight.append(1.0 if line.weight is None else line.weight)
        self._group.append(self._groups.setdefault(_group_of(line), len(self._groups)))

    def _arrays(self) -> _Arrays:
        columns = (self._prompt, self._output, self._declared, self._group)
        prompt, output, declared, group = (np.array(column, np.int64) for column in columns)
        return _Arrays(prompt, output, declared, group, np.array(self._weight, np.float64))


def _group_of(line: LogLine) -> _Group:
    size = None if line.budget_tokens is None else line.budget_tokens - (line.max_tokens or 0)
    return line.pool, line.reason, _power(size), _power(line.max_tokens)


def _power(tokens: int | None) -> int:
    return ABSENT if tokens is None else max(0, tokens).bit_length()


def _or_absent(value: int | None) -> int:
    return ABSENT if value is None else value


def _known(value: int) -> int | None:
    return None if value == ABSENT else value


def _filled(found: _Arrays, groups: Sequence[_Group], rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Prompts, outputs, and whose they are: each request's own, or those drawn for it."""
    origin = np.arange(len(found.prompt))
    donors, pending = (np.flatnonzero(mask) for mask in (found.prompt > 0, found.prompt == ABSENT))
    for parts in range(_PARTS, -1, -1):
        coarse = _coarser(groups, parts)[found.group]
        for group in np.unique(coarse[pending]).tolist():
            like = donors[coarse[donors] == group]
            if len(like) >= (_ENOUGH if parts else 1):
                asking = pending[coarse[pending] == group]
                origin[asking] = _draw(like, found.weight[like], len(asking), rng)
        pending = pending[origin[pending] == pending]
    drawn = origin != np.arange(len(origin))
    outputs = found.output[origin]
    limited = drawn & (found.declared != ABSENT)
    outputs[limited] = np.minimum(outputs[limited], found.declared[limited])
    return found.prompt[origin], outputs, origin


def _coarser(groups: Sequence[_Group], parts: int) -> Ints:
    """For each group the number of the wider one that only looks at so many of its parts."""
    wider: dict[tuple[object, ...], int] = {}
    return np.array([wider.setdefault(group[:parts], len(wider)) for group in groups], np.int64)


def _draw(like: Ints, weight: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Each in proportion to the others it stands for; all alike where each stands for itself alone."""
    others = np.maximum(0.0, weight - 1.0)
    total = others.sum()
    return rng.choice(like, size=count, p=others / total if total > 0 else None)
