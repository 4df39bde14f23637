"""How far indenting pushes JSON that is nested deep; knows brackets and strings, not what a value means.

Some chat templates write tools with a line for each value, four spaces further in at each level. Vocabularies have one
token for the white space of twenty levels, which the certain bound allows each line; beyond, it grows with the depth.
"""

import re

import msgspec
import numpy as np

from extproc.routing.kernels import Counts

LEVELS_FREE = 20
"""Nesting whose indentation is one token a line: 80 spaces, in the vocabularies of models whose templates indent."""
_INDENT_BYTES = 4
"""A level, at most: of Llama's templates; others take two, or write all in one line."""
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _OPENS, _CLOSES = ord('"'), 1, 255
"""A quote stays what it is; an opening bracket is a step of one as a signed byte, a closing one of minus one."""
_Table = tuple[bytes, bytes]


def _table(marks: bytes) -> _Table:
    """For `bytes.translate`: steps in place of marks, commas being none, and all bytes but these and quotes gone."""
    steps = bytearray(256)
    steps[_QUOTE] = _QUOTE
    for opening, closing in (b"[]", b"{}"):
        steps[opening], steps[closing] = _OPENS, _CLOSES
    return bytes(steps), bytes(set(range(256)) - set(marks) - {_QUOTE})


_BRACKETS, _LINES = _table(b"[]{}"), _table(b"[]{},")


def may_be_deep(json: bytes | msgspec.Raw) -> bool:
    """Whether there are brackets enough, be they in strings."""
    return bytes(json).translate(*_BRACKETS).count(_OPENS) > LEVELS_FREE


def indent_bytes(compact: bytes) -> int:
    """White space beyond the twentieth level, were each value on a line of its own; 0 for nearly all JSON there is.

    Args:
        compact: one JSON value.
    """
    if not may_be_deep(compact):
        return 0
    if b"\\" in compact:
        compact = _ESCAPE.sub(b"", compact)
    if int(_depths(compact, _BRACKETS).max(initial=0)) <= LEVELS_FREE:
        return 0
    # Every bracket and every comma ends a line, and the next one is indented as deep as it leaves us.
    return _INDENT_BYTES * int(np.maximum(_depths(compact, _LINES) - LEVELS_FREE, 0).sum())


def _depths(compact: bytes, table: _Table) -> Counts:
    """The depth after each mark outside strings, where no quote is escaped.

    A mark is in a string where an odd number of quotes stands before it. Two quotes side by side change that for none
    and go first: mostly no others are left.
    """
    steps = compact.translate(*table).replace(b'""', b"")
    if b'"' in steps:
        steps = b"".join(steps.split(b'"')[::2])
    return np.frombuffer(steps, np.int8).cumsum(dtype=np.int64)
