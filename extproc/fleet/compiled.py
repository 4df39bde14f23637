"""Compiles functions to machine code when they are first called; the one place that knows the compiler.

The result is kept on disk beside the module, or in the user's cache where that cannot be written to, so that only the
first run on a machine waits for it (half a minute, docs/results/speed.md).
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")
SOURCES = ("backlog.py", "engine.py", "events.py", "prefixcache.py", "readings.py", "state.py", "values.py")
"""Modules whose functions are compiled, and those whose constants they take in."""


def _digest() -> bytes:
    digest = sha256()
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.digest()


_DIGEST = _digest()


def compiled(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
    """The same function, compiled. It may use numbers, arrays, tuples of them, and other compiled functions."""
    try:
        dispatcher: Any = numba.njit(cache=True)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation of a user without a home
        return cast("Callable[_Arguments, _Value]", numba.njit(function))
    # The compiler takes kept code for current as long as the function's own module is the same, although the functions
    # that it calls in others are part of that code.
    kept = dispatcher._cache._cache_file  # noqa: SLF001 - there is no public way to say so
    kept._source_stamp = (kept._source_stamp, _DIGEST)  # noqa: SLF001 - likewise
    return cast("Callable[_Arguments, _Value]", dispatcher)


def is_kept(function: Callable[..., object]) -> bool:
    """Whether a compiled function was called before on this machine, as it is now, and its code is on disk."""
    kept: Any = getattr(getattr(function, "_cache", None), "_cache_file", None)
    return kept is not None and bool(kept._load_index())  # noqa: SLF001 - as above
