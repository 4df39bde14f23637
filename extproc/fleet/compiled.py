"""How the simulator's functions are compiled: each is marked by all modules that any of them takes something from.

Must not know the compiler, nor what the functions do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import extproc.compiled
from extproc.errors import MissingPartError

if not extproc.compiled.CAN_COMPILE:
    raise MissingPartError("simulating needs machine code, and none may be made here (NUMBA_DISABLE_JIT, SELinux)")

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")
_NAMES = ("backlog", "engine", "events", "handle", "prefixcache", "readings", "state", "values")
SOURCES = tuple(f"{name}.py" for name in _NAMES)
"""Modules whose functions are compiled, and those whose constants they take in."""
DIGEST = extproc.compiled.digest_of(Path(__file__).parent / name for name in SOURCES)


def compiled(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
    """The same function, compiled: most of a minute for all of them on the first run (docs/results/speed.md)."""
    return extproc.compiled.marked(extproc.compiled.compiled(function), DIGEST)
