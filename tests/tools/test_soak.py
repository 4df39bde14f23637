import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "soak.py"
MB = 10**6


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def samples(tool: ModuleType, memory_mb: Sequence[float], **last: float) -> list[Any]:
    """One a minute; `last` is what the last one says beside."""
    clean = {"streams": 0, "observing": 0, "internal_errors": 0, "errors_logged": 0}
    busy = [tool.Sample(60.0 * minute, 0, round(mb * MB), 3, 2, 0, 0) for minute, mb in enumerate(memory_mb[:-1])]
    return [*busy, tool.Sample(60.0 * len(busy), 9, round(memory_mb[-1] * MB), **(clean | last))]


def test_memory_is_measured_from_the_end_of_the_warm_up(tool: ModuleType) -> None:
    """What was before counts for nothing; after it the extremes and the slope are those of the samples."""
    drift = tool.drift_of(samples(tool, [50, 90, 100, 102, 104, 106]), warm_up_s=120.0)
    assert drift.reference_bytes == 100 * MB
    assert (drift.least, drift.most) == pytest.approx((0.0, 0.06))
    assert drift.bytes_per_hour == pytest.approx(120 * MB)


@pytest.mark.parametrize("memory_mb", [[100, 104.9], [100, 95.1, 104.9]])
def test_memory_may_move_by_a_twentieth_either_way(tool: ModuleType, memory_mb: list[float]) -> None:
    """Whatever it was during the warm-up."""
    assert tool.complaints(samples(tool, [10, *memory_mb]), warm_up_s=60.0) == []


@pytest.mark.parametrize("memory_mb", [[100, 105.1], [100, 94.9, 100]])
def test_memory_may_not_move_further(tool: ModuleType, memory_mb: list[float]) -> None:
    """Not even where it has come back since."""
    (complaint,) = tool.complaints(samples(tool, [100, *memory_mb]), warm_up_s=60.0)
    assert complaint.startswith("memory went from")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"streams": 1}, "1 streams and 0 observed answers are open"),
        ({"observing": 2}, "0 streams and 2 observed answers are open"),
        ({"internal_errors": 3}, "3 internal errors"),
        ({"errors_logged": 4}, "4 errors were logged"),
    ],
)
def test_what_is_left_at_the_end_is_complained_of(tool: ModuleType, last: dict[str, float], said: str) -> None:
    """Streams that were open while the load ran are none of it."""
    clean, left = samples(tool, [100, 100, 100]), samples(tool, [100, 100, 100], **last)
    assert tool.complaints(clean, warm_up_s=60.0) == []
    (complaint,) = tool.complaints(left, warm_up_s=60.0)
    assert said in complaint


def test_a_soak_no_longer_than_its_warm_up_says_nothing(tool: ModuleType) -> None:
    """It is refused rather than found flat."""
    with pytest.raises(ValueError, match="longer than its warm-up"):
        tool.complaints(samples(tool, [100, 100]), warm_up_s=60.0)


def test_the_table_shows_every_so_many_samples_and_the_last(tool: ModuleType) -> None:
    """A row a minute, and what was left."""
    rows = tool.table(samples(tool, [100, 101, 102, 103, 104]), every=2).splitlines()[2:]
    assert [row.split("|")[3].strip() for row in rows] == ["100.0", "102.0", "104.0"]
