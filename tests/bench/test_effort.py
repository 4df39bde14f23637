"""Each stage is timed alone, as often as asked, and shown with its median."""

import json
from itertools import count

from typer.testing import CliRunner

from extproc.bench.effort import efforts_us, table
from extproc.cli import app


def test_every_stage_is_timed_by_the_clock_that_is_given() -> None:
    """A clock that goes on by 2 µs at each reading makes each of them cost 2 µs, read twice for each repeat."""
    ticks = count(0, 2000)
    found = efforts_us(lambda: next(ticks), repeats=3)
    telemetry = ("telemetry, answer not read", "telemetry, answer read", "a span")
    assert found == dict.fromkeys(("read", "bounds", "size", "sample", "text", *telemetry), 2.0)
    assert next(ticks) == 2000 * 2 * 3 * len(found)


def test_a_table_shows_each_cost() -> None:
    """One row each below the body's size."""
    assert table({"size": 8.04, "text": 120.0}).splitlines() == [
        "| 43 KiB | µs |",
        "|---|---:|",
        "| size | 8.0 |",
        "| text | 120.0 |",
    ]


def test_the_command_shows_them_without_envoy() -> None:
    """As a table, or as JSON with the same names."""
    shown = CliRunner().invoke(app, ["bench", "--stages"], catch_exceptions=False)
    found = json.loads(CliRunner().invoke(app, ["bench", "--stages", "--json"], catch_exceptions=False).stdout)
    assert all(f"| {name} | " in shown.stdout for name in found)
    assert min(found.values()) > 0.0
