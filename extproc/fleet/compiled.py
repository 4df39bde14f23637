"""Compiles functions to machine code when they are first called; the one place that knows the compiler.

The result is kept on disk beside the module, or in the user's cache where that cannot be written to, so that only the
first run on a machine waits for it (about 20 s in all).
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def compiled(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
    """The same function, compiled. It may use numbers, arrays, tuples of them, and other compiled functions."""
    try:
        return cast("Callable[_Arguments, _Value]", numba.njit(cache=True)(function))
    except RuntimeError:  # nowhere to keep it: a read-only installation of a user without a home
        return cast("Callable[_Arguments, _Value]", numba.njit(function))
