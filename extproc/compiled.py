"""Compiles functions to machine code; the one place that knows how functions are compiled.

The result is kept on disk: in NUMBA_CACHE_DIR where that is set, else beside the module, else in the user's cache, so
that only the first run on a machine waits for it. Where none of these can be written to, every process compiles for
itself. Where the system lets no process make machine code, functions of numbers and arrays stay as they are, and do
the same far more slowly; records of arrays have fields in compiled code alone.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def _compiler() -> Any:
    """What compiles a function; None where the system, or the operator by NUMBA_DISABLE_JIT, lets nothing do so."""
    try:
        numba: Any = import_module("numba")
    except OSError as error:  # no memory may hold code that was made: SELinux without execmem, MemoryDenyWriteExecute
        if error.errno is None:  # a library cannot be loaded: a broken installation
            raise
        return None
    return None if numba.config.DISABLE_JIT else numba.njit


_COMPILER = _compiler()
CAN_COMPILE = _COMPILER is not None
"""Whether functions become machine code here."""


def compiled_for(signature: str) -> Callable[[Callable[_Arguments, _Value]], Callable[_Arguments, _Value]]:
    """The same function, compiled at once and for these types alone: no call ever waits for the compiler.

    Args:
        signature: as numba writes it, like `"f8(f8[::1], i8)"`, with `bytes` for bytes. Arrays of other types, of
            another order, or read-only ones are refused with a TypeError; numbers are converted.
    """
    types = signature.replace("bytes", "Bytes(u1, 1, 'C')")

    def compiling(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
        dispatcher: Any = compiled(function)
        if _COMPILER is not None:
            dispatcher.compile(types)
            dispatcher.disable_compile()
        return cast("Callable[_Arguments, _Value]", dispatcher)

    return compiling


def compiled(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
    """The same function, compiled when it is first called, for the types that it is called with.

    It may use numbers, arrays, tuples of them, handles of those, and other compiled functions.
    """
    if _COMPILER is None:
        return function
    try:
        dispatcher = _COMPILER(cache=True)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation of a user without a home
        return cast("Callable[_Arguments, _Value]", _COMPILER(function))
    dispatcher._cache = _Kept(dispatcher._cache)  # noqa: SLF001 - there is no public way to forgive
    return cast("Callable[_Arguments, _Value]", dispatcher)


class _Kept:
    """The compiler's own place for the code of one function, but no fault there keeps the function from being compiled.

    Its methods are those that the compiler calls.
    """

    def __init__(self, place: Any) -> None:
        self._place = place

    @property
    def cache_path(self) -> str | None:
        """The folder; None where nothing is kept any more."""
        path: str | None = self._place.cache_path
        return path

    @property
    def _cache_file(self) -> Any:
        """What says whether kept code is current."""
        return getattr(self._place, "_cache_file", None)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The code for some types; None where it is not there, or damaged, and then to be replaced."""
        try:
            return self._place.load_overload(signature, target)
        except Exception:  # noqa: BLE001 - whatever the damage
            self.flush()
            return None

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keep it, unless the disk is full.

        The compiler lists code before it writes it. What has that name until then must not be an older version's, and
        nothing is listed that could not be written.
        """
        try:
            self._remove_outdated()
            self._place.save_overload(signature, code)
        except Exception:  # noqa: BLE001 - whatever the fault, the code is there to be used
            self.flush()

    def _remove_outdated(self) -> None:
        kept = self._cache_file
        if kept is not None and not kept._load_index():  # noqa: SLF001 - there is no public way to ask
            for path in Path(self._place.cache_path).glob(f"{Path(kept._index_name).stem}.*.nbc"):  # noqa: SLF001
                path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Empty what is kept; where that cannot be done, keep nothing from now on."""
        try:
            self._place.flush()
        except OSError:
            self._place = import_module("numba.core.caching").NullCache()


def marked(function: Callable[_Arguments, _Value], mark: bytes) -> Callable[_Arguments, _Value]:
    """The compiled function, whose kept code is out of date where it bears another mark.

    The compiler takes kept code for current as long as the function's own module is the same, although what it takes in
    from other modules, their compiled functions and their constants, is part of that code.
    """
    kept: Any = getattr(getattr(function, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = (kept._source_stamp, mark)  # noqa: SLF001 - there is no public way to say so
    return function


def digest_of(sources: Iterable[Path]) -> bytes:
    """What is in these files, in short."""
    digest = sha256()
    for path in sources:
        digest.update(path.read_bytes())
    return digest.digest()


def is_kept(function: Callable[..., object]) -> bool:
    """Whether a compiled function was called before on this machine, as it is now, and its code is on disk."""
    kept: Any = getattr(getattr(function, "_cache", None), "_cache_file", None)
    try:
        return kept is not None and bool(kept._load_index())  # noqa: SLF001 - likewise
    except Exception:  # noqa: BLE001 - whatever the damage
        return False
