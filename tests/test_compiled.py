import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import extproc
from extproc import compiled as module
from extproc.compiled import CAN_COMPILE, compiled, compiled_for, digest_of, is_kept, marked

FUNCTIONS = """
import os

from extproc.compiled import compiled, compiled_for, marked


@compiled_for("f8(f8[::1], bytes, i8)")
def weighed(numbers, text, times):
    total = 0.0
    for at in range(len(numbers)):
        total += numbers[at] * text[at]
    return total * times


@compiled
def added(one, other):
    return one + other


added = marked(added, os.environ.get("MARK", "").encode())
"""
"""A module to be imported by a process of its own."""
REPORT = """
import json

import numpy as np

from extproc.compiled import CAN_COMPILE, is_kept
from functions import added, weighed

was_kept = is_kept(added)
print(json.dumps({
    "can_compile": CAN_COMPILE,
    "kinds": [type(function).__name__ for function in (weighed, added)],
    "results": [weighed(np.array((0.5, 2.0)), b"\\x04\\x03", 10), added(2, 3), added(0.5, 0.25)],
    "was_kept": was_kept,
    "is_kept": is_kept(added),
    "folder": getattr(getattr(weighed, "stats", None), "cache_path", None),
    "from_disk": sum(getattr(getattr(added, "stats", None), "cache_hits", {}).values()),
}))
"""
CALLS = "import numpy as np; weighed = f.weighed(np.ones(1), b'a', 2); added = f.added(2, 3)"
RESULTS = [80.0, 5, 0.75]
"""Worked by hand."""
MACHINE_CODE, PYTHON = ["CPUDispatcher"] * 2, ["function"] * 2
ESTIMATOR = """
import json

from extproc.routing import kernels
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.request import read_request
from extproc.routing.state import RouterState, decode, encode
from extproc.routing.values import Usage

estimator = AnytimeEstimator()
for words in (200, 300, 2000):
    content = "The quick brown fox, 12 jumps. " * words
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    request = read_request("/v1/chat/completions", body)
    lesson = estimator.lesson(request, 8000, estimated=True)
    assert estimator.learn(request.facts, lesson, Usage(len(body) // 4))
estimate = estimator.estimate(request, 8000)
state = decode(encode(RouterState(estimator.snapshot())))
print(json.dumps([
    type(kernels.tails).__name__, estimate.mean_tokens, estimate.stage.value, state.estimator.served[-1].samples
]))
"""
"""It learns, estimates, and its state is written and read."""
NO_MACHINE_CODE = """
import ctypes

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    raise SystemExit("the system knows no such thing")
"""
"""No memory of this process ever holds code that it made: as with systemd's MemoryDenyWriteExecute."""
FULL_DISK = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
"""Files can be made, but nothing written to them."""

compiled_here = pytest.mark.skipif(not CAN_COMPILE, reason="nothing is compiled here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that holds the module, and a plain file: there nobody makes a folder, not even root."""
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    (tmp_path / "file").touch()
    return tmp_path


def run(folder: Path, program: str = REPORT, **environment: str) -> Any:
    """What a program prints as JSON, at home in this folder and told of no other; it warns of nothing."""
    passed = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON", "XDG_"))}
    paths = os.pathsep.join((str(folder), str(Path(extproc.__file__).parents[1])))
    own = {"HOME": str(folder / "home"), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=passed | own | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


# Compiling


@compiled_for("f8(f8, i8)")
def power(base: float, exponent: int) -> float:
    """A function of numbers of two kinds."""
    result = 1.0
    for _ in range(exponent):
        result *= base
    return result


@compiled_for("i8(bytes, bytes)")
def length(one: bytes, other: bytes) -> int:
    """A function of bytes, twice."""
    return len(one) + len(other)


@compiled_here
def test_compiled_for_compiles_at_once() -> None:
    """Before any call, for the types that it is told."""

    @compiled_for("f8(f8, f8)")
    def quotient(one: float, other: float) -> float:
        return one / other

    function: Any = quotient
    assert [tuple(map(str, types)) for types in function.signatures] == [("float64", "float64")]
    assert quotient(1.0, 4.0) == 0.25


@compiled_here
def test_compiled_for_knows_bytes() -> None:
    """By that name, as often as it stands in a signature; what is only like bytes is refused."""
    function: Any = length
    assert function(b"", b"\x00\xff") == 2
    for other in ("text", bytearray(b"text"), memoryview(b"text"), np.zeros(4, np.uint8), None):
        with pytest.raises(TypeError, match="No matching definition"):
            function(b"text", other)


@compiled_here
def test_compiled_for_compiles_for_nothing_else() -> None:
    """Whole numbers pass for floats; other types are refused, and the compiler has nothing to do in either case."""
    function: Any = power
    assert isinstance(function(2, 10), float)
    assert function(2, 10) == 1024.0
    for base in ("2", None, 2j, np.ones(1)):
        with pytest.raises(TypeError, match="No matching definition"):
            function(base, 10)
    assert len(function.signatures) == 1


@compiled_here
def test_compiled_compiles_when_it_is_called() -> None:
    """For the types that it is called with, once for each."""

    @compiled
    def difference(one: Any, other: Any) -> Any:
        return one - other

    function: Any = difference
    assert function.signatures == []
    assert [difference(5, 3), difference(6, 3)] == [2, 3]
    assert len(function.signatures) == 1
    assert difference(np.arange(3), 0.5).tolist() == [-0.5, 0.5, 1.5]
    assert len(function.signatures) == 2


def test_functions_are_called_as_before() -> None:
    """By name or position, under their own names and with their documentation, compiled or not."""
    assert power(2.0, 3) == power(exponent=3, base=2.0) == 8.0
    assert (power.__name__, power.__module__) == ("power", __name__)
    assert power.__doc__ == "A function of numbers of two kinds."


# Where it is kept


@compiled_here
@pytest.mark.parametrize(
    ("blocked", "place"),
    [
        ((), "chosen"),
        (("chosen",), "__pycache__"),
        (("chosen", "beside"), "home/.cache/numba"),
        (("chosen", "beside", "home"), None),
    ],
)
def test_functions_work_wherever_their_code_can_be_kept(
    folder: Path, blocked: tuple[str, ...], place: str | None
) -> None:
    """In NUMBA_CACHE_DIR, else beside the module, else in the user's cache; else every process compiles for itself."""
    if "beside" in blocked:
        (folder / "__pycache__").touch()
    chosen, home = (folder / "file" / name if name in blocked else folder / name for name in ("chosen", "home"))
    first, second = (run(folder, NUMBA_CACHE_DIR=str(chosen), HOME=str(home)) for _ in range(2))
    for told in (first, second):
        assert told["can_compile"]
        assert (told["kinds"], told["results"]) == (MACHINE_CODE, RESULTS)
        assert told["is_kept"] == (place is not None)
        assert told["folder"] is None if place is None else Path(told["folder"]).is_relative_to(folder / place)
    assert not first["was_kept"]
    assert second["was_kept"] == (place is not None)
    assert (first["from_disk"], second["from_disk"]) == (0, 2 if place else 0)


@compiled_here
def test_a_full_disk_keeps_nothing_from_being_compiled(folder: Path) -> None:
    """Where a folder takes files but not what is in them, functions are compiled all the same, and none is listed."""
    told = run(folder, FULL_DISK + REPORT)
    assert (told["kinds"], told["results"], told["is_kept"]) == (MACHINE_CODE, RESULTS, False)
    assert [path.suffix for path in (folder / "__pycache__").iterdir() if path.suffix == ".nbc"] == []


@compiled_here
def test_a_disk_that_fills_up_leaves_nothing_listed(folder: Path) -> None:
    """When there was room to list a function and none for its code, the next process has it compiled again."""
    index_only = "import numba.core.caching as c\ndef full(*_): raise OSError(28, 'No space left on device')\n"
    told = run(folder, f"{index_only}c.IndexDataCacheFile._save_data = full\n{REPORT}")
    assert (told["results"], told["is_kept"]) == (RESULTS, False)
    assert not run(folder)["was_kept"]


@compiled_here
@pytest.mark.parametrize("name", ["weighed", "added"])
@pytest.mark.parametrize("ending", [".nbi", "1.nbc"])
@pytest.mark.parametrize("left", [0, 40])
def test_what_is_damaged_is_replaced(folder: Path, name: str, ending: str, left: int) -> None:
    """A file cut short, as a power failure may leave it, is compiled anew once, and read again from then on."""
    program = f"import json; import functions as f; {CALLS}; print(json.dumps(sum(f.{name}.stats.cache_hits.values())))"
    assert run(folder, program) == 0
    (kept,) = (folder / "__pycache__").glob(f"functions.{name}-*{ending}")
    kept.write_bytes(kept.read_bytes()[:left])
    assert [run(folder, program) for _ in range(2)] == [0, 1]


@compiled_here
@pytest.mark.parametrize("name", ["weighed", "added"])
def test_a_place_that_cannot_be_cleared_is_given_up(folder: Path, name: str) -> None:
    """A folder in place of the file that lists what is kept: compiled for this process alone."""
    program = f"import json; import functions as f; {CALLS}; print(json.dumps([weighed, added, f.{name}.stats[0]]))"
    run(folder, program)
    (kept,) = (folder / "__pycache__").glob(f"functions.{name}-*.nbi")
    kept.unlink()
    kept.mkdir()
    assert run(folder, program) == [194.0, 5, None]


@compiled_here
def test_no_older_code_is_there_while_new_code_is_listed(folder: Path) -> None:
    """Between the two a process that comes by finds no code and compiles, rather than run what has been replaced."""
    run(folder, MARK="one")
    looking = (
        "import numba.core.caching as c, pathlib\nsave, there = c.IndexDataCacheFile._save_data, []\n"
        "def look(self, name, data):\n"
        "    there.append(pathlib.Path(self._data_path(name)).exists())\n    save(self, name, data)\n"
        f"c.IndexDataCacheFile._save_data = look\nimport json; import functions as f; {CALLS}; print(json.dumps(there))"
    )
    assert run(folder, looking, MARK="two") == [False]


@compiled_here
def test_a_function_of_no_file_is_compiled() -> None:
    """There is no place beside it, and nothing by which to tell whether kept code is its own."""
    names: dict[str, Any] = {}
    exec("def doubled(number): return 2 * number", names)
    for function in (compiled(names["doubled"]), compiled_for("i8(i8)")(names["doubled"])):
        assert function(21) == 42
        assert not is_kept(function)
        assert marked(function, b"mark") is function


# Where nothing is compiled


@pytest.mark.parametrize(
    ("before", "environment"), [(NO_MACHINE_CODE, {}), ("", {"NUMBA_DISABLE_JIT": "1"})], ids=["system", "operator"]
)
def test_without_machine_code_functions_do_the_same(folder: Path, before: str, environment: dict[str, str]) -> None:
    """Whether the system forbids it or the operator, they stay as they are, here and in the estimator."""
    if subprocess.run([sys.executable, "-c", before], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("this system has no way to forbid a process machine code (PR_SET_MDWE, Linux 6.3)")
    assert run(folder, before + REPORT, **environment) == {
        "can_compile": False,
        "kinds": PYTHON,
        "results": RESULTS,
        "was_kept": False,
        "is_kept": False,
        "folder": None,
        "from_disk": 0,
    }
    assert not (folder / "__pycache__").exists()
    told, expected = run(folder, before + ESTIMATOR, **environment), run(folder, ESTIMATOR)
    assert (told[0], told[1:]) == ("function", expected[1:])
    assert expected[-1] == 3


def test_there_is_no_compiler_where_it_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes code when it is loaded, and the system says no; another fault is not taken for that."""

    def refuse(_name: str) -> None:
        raise PermissionError(errno.EACCES, "cannot allocate executable memory")

    monkeypatch.setattr(module, "import_module", refuse)
    assert module._compiler() is None

    for fault in (ModuleNotFoundError("No module named 'numba'"), OSError("Could not load libllvmlite.so")):

        def lack(_name: str, fault: Exception = fault) -> None:
            raise fault

        monkeypatch.setattr(module, "import_module", lack)
        with pytest.raises(type(fault)):
            module._compiler()


def test_without_a_compiler_functions_are_returned_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said of their types."""

    def joined(one: str, other: str) -> str:
        return one + other

    monkeypatch.setattr(module, "_COMPILER", None)
    assert compiled(joined) is joined
    assert compiled_for("f8(f8, f8)")(joined) is joined
    assert marked(joined, b"mark") is joined
    assert not is_kept(joined)


# Whether it is current


@compiled_here
def test_kept_code_with_another_mark_is_out_of_date(folder: Path) -> None:
    """It is compiled anew, and then belongs to the new mark alone; with the same mark it is read from disk."""
    runs = [run(folder, MARK=mark) for mark in ("one", "one", "two", "one")]
    assert [told["was_kept"] for told in runs] == [False, True, False, False]
    assert [told["from_disk"] for told in runs] == [0, 2, 0, 0]
    assert all(told["is_kept"] and told["results"] == RESULTS for told in runs)


@compiled_here
def test_a_mark_stands_beside_the_modules_own() -> None:
    """Kept code is compared with both."""

    def halved(number: float) -> float:
        return number / 2

    function: Any = compiled(halved)
    own = function._cache._cache_file._source_stamp
    with_mark: Any = marked(function, b"mark")
    assert with_mark is function
    assert with_mark._cache._cache_file._source_stamp == (own, b"mark")


@compiled_here
def test_kept_code_of_another_module_is_out_of_date(folder: Path) -> None:
    """A function is not kept as it is now when its module has changed since."""
    assert not run(folder)["was_kept"]
    (folder / "functions.py").write_text(FUNCTIONS.replace("one + other", "one - other"), encoding="utf-8")
    told = run(folder)
    assert not told["was_kept"]
    assert told["results"] == [80.0, -1, 0.25]


def test_a_plain_function_is_not_kept() -> None:
    """Nor one that has a mark."""
    assert not is_kept(test_a_plain_function_is_not_kept)
    assert not is_kept(marked(test_a_plain_function_is_not_kept, b"mark"))


def test_a_digest_tells_contents_apart(tmp_path: Path) -> None:
    """It changes when any of the files does, or their order, and comes back with what was in them."""
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_bytes(b"LIMIT = 1\n")
    other.write_bytes(b"LIMIT = 2\n")
    before = digest_of((one, other))
    assert digest_of(iter([one, other])) == before
    assert len({before, digest_of((other, one)), digest_of((one,)), digest_of(())}) == 4
    for path in (one, other):
        was = path.read_bytes()
        path.write_bytes(was.replace(b"L", b"M"))
        assert digest_of((one, other)) != before
        path.write_bytes(was)
    assert digest_of((one, other)) == before


def test_a_digest_is_of_files_that_exist(tmp_path: Path) -> None:
    """A source that is misspelt is an error, not an empty file."""
    with pytest.raises(FileNotFoundError):
        digest_of((tmp_path / "missing.py",))
