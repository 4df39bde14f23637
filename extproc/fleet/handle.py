"""A fleet and what comes to it under one name, for compiled code that is called once for each request.

Each call that takes the arrays themselves first finds out the type of all of them, which takes longer than what most
calls are for; a handle has one type. Knows how the compiler is told of it, and no rule of any scheduler.
"""

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from extproc.fleet.compiled import compiled
from extproc.fleet.state import State
from extproc.fleet.values import Batch, Floats, Ints

_StructRef: Any = import_module("numba.core.types").StructRef
_structref: Any = import_module("numba.experimental.structref")
_NOTHING: Ints = np.zeros(0, np.int64)


class Arrivals(NamedTuple):
    """Requests in the order of their arrival, as `Batch` has them, but for what compiled code has no use for."""

    first: int
    """Number of the first request in its workload."""
    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    declared_tokens: Ints
    prefix_from: Ints
    """Where the prefix blocks of each begin in `prefixes`, and behind the last one; empty where none are named."""
    prefixes: Ints


def arrivals_of(batch: Batch, first: int) -> Arrivals:
    """The requests of a batch, of which the first has this number."""
    if batch.prefix_from is None or batch.prefixes is None:
        return Arrivals(first, *batch[:4], _NOTHING, _NOTHING)
    return Arrivals(first, *batch[:4], batch.prefix_from, batch.prefixes)


@_structref.register
class _HandleType(_StructRef):  # type: ignore[misc]
    """What the compiler takes a handle for."""


class Handle(_structref.StructRefProxy):  # type: ignore[misc]
    """A fleet's `state` and its `arrivals`, as compiled code calls them; of use until either is replaced."""


_structref.define_proxy(Handle, _HandleType, ["state", "arrivals"])


@compiled
def handle_of(state: State, arrivals: Arrivals) -> Handle:
    """Both under one name."""
    return Handle(state, arrivals)
