from typing import Any

from extproc.accessreport import tables
from extproc.routing.values import Pool


def test_rows_hold_as_many_cells_as_there_are_columns(tell: Any, answered: Any, unread: Any) -> None:
    """In every table."""
    found = tell([answered(), unread(), unread(pool=Pool.LONG, reason="media", model=None)])
    make = (tables.overview, tables.reasons, tables.stages, tables.misroutes, tables.errors, tables.thresholds)
    for each in (table(found) for table in make):
        assert each.rows
        assert {len(row.cells) for row in each.rows} == {len(each.columns)}


def test_shares_stand_with_their_intervals(tell: Any, answered: Any) -> None:
    """For all models and for each; what is not known is a dash."""
    found = tables.misroutes(tell([answered(misroute="under")] * 10 + [answered()] * 10))
    assert [row.cells[0] for row in found.rows] == ["all", "llama"]
    assert found.rows[0].cells[6] == "50.0 % (29.9 to 70.1 %)"


def test_the_logs_own_threshold_is_marked(tell: Any, answered: Any) -> None:
    """It decided."""
    marked = [row.cells[0] for row in tables.thresholds(tell([answered()])).rows if row.mark == "chosen"]
    assert marked == ["8,192"]


def test_what_shadow_cannot_know_is_left_out(tell: Any, answered: Any) -> None:
    """Truncations and escalations."""
    assert not any("Cut by" in row.cells[0] for row in tables.overview(tell([answered()])).rows)
    live = tables.overview(tell([answered(shadow=False, refusal="busy")]))
    assert any("Cut by" in row.cells[0] for row in live.rows)
    assert ("Refused by the short pool: busy", "1") in [row.cells for row in live.rows]
