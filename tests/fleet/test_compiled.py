from pathlib import Path
from typing import Any

import numba
import numpy as np

from extproc.fleet import compiled as module
from extproc.fleet import engine, events, prefixcache
from extproc.fleet.compiled import SOURCES, compiled

FOLDER = Path(module.__file__).parent


@compiled
def added(one: int, other: int) -> int:
    """A function to compile."""
    return one + other


def test_compiled_functions_do_what_they_say() -> None:
    """With numbers of any kind."""
    assert added(2, 3) == 5
    assert [added(*pair) for pair in np.arange(6).reshape(3, 2)] == [1, 5, 9]


def test_they_are_compiled() -> None:
    """Each of them, and kept on disk."""
    for function in (added, events.advance, events.submit, events.feed, engine.schedule, prefixcache.found):
        assert isinstance(function, numba.core.registry.CPUDispatcher)
        assert function.stats.cache_path


def test_kept_code_belongs_to_all_sources() -> None:
    """What is kept is marked by every module that compiles functions: an old engine never runs in a new clock."""
    compiling = {path.name for path in FOLDER.glob("*.py") if "\n@compiled\n" in path.read_text(encoding="utf-8")}
    assert compiling <= set(SOURCES)
    functions: list[Any] = [added, events.advance, engine.schedule]
    marks = {function._cache._cache_file._source_stamp[1] for function in functions}
    assert marks == {module.DIGEST}


def test_constants_come_from_marked_sources() -> None:
    """Compiled code takes constants in when it is compiled: the modules that hold them are marked too."""
    for name in ("engine.py", "events.py", "handle.py", "prefixcache.py"):
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
        imported = {line.split()[1] for line in lines if line.startswith("from extproc.fleet.")}
        names = {f"{module_name.rsplit('.', 1)[1]}.py" for module_name in imported} - {"compiled.py"}
        assert names <= set(SOURCES)
