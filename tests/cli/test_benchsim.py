import json

from typer.testing import CliRunner

from extproc.cli import app
from extproc.fleet.report.tables import Table
from extproc.fleet.speed import INSTANCES, Case, Long, Speed
from extproc.fleet.speedreport import as_json, tables

FOUND = [
    Speed(Case(router, size, 100), 20_500.0, 20_000.0, 21_000.0, 1.05, 0.995)
    for router in ("anytime", "oracle")
    for size in (10, INSTANCES)
]
RUNS = [Long("oracle", 6_000_000, 3580, 31.0, 30.0, 412.0)]


def test_help_teaches() -> None:
    """What is measured, on what fleet."""
    shown = CliRunner().invoke(app, ["bench-sim", "--help"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "358 instances of llama-3-70b on 8 × A100" in " ".join(shown.stdout.split())


def cells(table: Table) -> list[tuple[str, ...]]:
    """Of all rows."""
    return [row.cells for row in table.rows]


def test_tables_have_what_the_figures_are_held_to() -> None:
    """A floor at 358 instances, a ceiling of the relative cost at the others."""
    speeds, long = tables(FOUND, RUNS)
    assert cells(speeds)[1][:6] == ("the service's router", "358", "1,000", "20,500", "20,000 to 21,000", "20,000")
    assert "100,000" in cells(speeds)[3]
    assert cells(speeds)[0][-3:] == ("1.05", "1.20", "99.50%")
    assert cells(long) == [("the truth", "3,580", "6,000,000", "31", "300", "30", "412")]


def test_json_has_the_same() -> None:
    """By name."""
    found = json.loads(as_json(FOUND, RUNS))
    assert found["speeds"][1]["held_to"] == 20_000.0
    assert found["speeds"][0]["held_to"] is None
    assert found["long"][0]["held_to_s"] == 300.0
