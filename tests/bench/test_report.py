"""The table shows each run, and the ratios are of the figures shown."""

import pytest

from extproc.bench.measure import BODY_SIZES, Run
from extproc.bench.report import ratios, table


def runs() -> list[Run]:
    """One run for each side and size; the floor costs 100 µs, the service 125 µs."""
    cpu = {"envoy alone": 0.0, "floor": 100.0, "dualpool": 125.0}
    return [Run(side, size, 1000.0, 1.0, 2.0, 50.0, cpu[side], 0) for size in BODY_SIZES for side in cpu]


def test_the_table_has_a_row_for_each_run() -> None:
    """Two lines of heading and a row each; the factor stands in the service's rows alone."""
    lines = table(runs()).splitlines()
    assert len(lines) == 2 + 15
    assert lines[4] == "| 1 KiB | dualpool | 1000 | 1.00 | 2.00 | 50 | 125 | 1.25 |"
    assert lines[3].endswith("| 100 |  |")


def test_ratios_are_taken_within_one_run() -> None:
    """Over the floor at the small sizes, over itself at the large one."""
    assert ratios(runs()) == pytest.approx(
        {"cpu_over_floor_1KiB": 1.25, "cpu_over_floor_16KiB": 1.25, "cpu_1MiB_over_1KiB": 1.0}
    )
