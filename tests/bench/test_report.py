"""The table shows each run, and the ratios are of the figures shown."""

import pytest

from extproc.bench.measure import BODY_SIZES, KIB, Run
from extproc.bench.report import ratios, table, telemetry_us


def runs() -> list[Run]:
    """One run for each side and size; the floor costs 100 µs, or 80 tuned, the service 125 µs, all of it 130."""
    cpu = {"envoy alone": 0.0, "floor": 100.0, "tuned floor": 80.0, "dualpool": 125.0, "all on": 130.0}
    return [Run(side, size, 1000.0, 1.0, 2.0, 50.0, cpu[side], 0) for size in BODY_SIZES for side in cpu]


def test_the_table_has_a_row_for_each_run() -> None:
    """Two lines of heading and a row each; the factor stands beside what is compared with the floor."""
    lines = table(runs()).splitlines()
    assert len(lines) == 2 + 25
    assert lines[5] == "| 1 KiB | dualpool | 1000 | 1.00 | 2.00 | 50 | 125 | 1.25 |"
    assert lines[3].endswith("| 100 |  |")


def test_sides_without_a_floor_are_tabled_too() -> None:
    """As those of --telemetry are: nothing to compare with, and no factor."""
    (*_, line) = table([Run("silent", KIB, 1000.0, 1.0, 2.0, 50.0, 125.0, 0)]).splitlines()
    assert line == "| 1 KiB | silent | 1000 | 1.00 | 2.00 | 50 | 125 |  |"


def test_ratios_are_taken_within_one_run() -> None:
    """Over the floor at the small sizes, over itself at the large one; with the defaults, and with all on."""
    found = ratios(runs())
    assert [found[f"cpu_over_floor_{size}{side}"] for side in ("", "_all_on") for size in ("1KiB", "16KiB")] == (
        pytest.approx([1.25, 1.25, 1.3, 1.3])
    )
    assert found["cpu_1MiB_over_1KiB"] == found["cpu_1MiB_over_1KiB_all_on"] == pytest.approx(1.0)
    assert found["cpu_over_tuned_floor_16KiB_all_on"] == pytest.approx(130.0 / 80.0)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ([10.0, 500.0, 20.0], (20.0, 10.0, 500.0)),
        ([float(difference) for difference in range(1, 16)], (8.0, 4.0, 12.0)),
    ],
)
def test_what_telemetry_adds_is_the_median_over_rounds(
    added: list[float], expected: tuple[float, float, float]
) -> None:
    """Of the differences within each round, whatever both sides cost; of 15 rounds the 4th and 12th enclose it."""
    runs = [
        Run(side, KIB, 1000.0, 1.0, 2.0, 50.0, cost, 0)
        for number, difference in enumerate(added)
        for side, cost in (("silent", 100.0 * number), ("telemetry", 100.0 * number + difference))
    ]
    assert telemetry_us(runs) == {"telemetry_us_1KiB": expected}
