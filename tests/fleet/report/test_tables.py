from dataclasses import replace

from extproc.fleet.answers import Plan
from extproc.fleet.report import details, tables
from extproc.fleet.report.tables import Column, Row, Table, table


def column(found: Table, *titles: str) -> list[str]:
    """Cells under the first column of that title and hint."""
    at = next(at for at, each in enumerate(found.columns) if titles == (each.title, each.hint)[: len(titles)])
    return [row.cells[at] for row in found.rows]


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    """A dash in every row is not worth a column."""
    found = table((Column("a", numeric=False), Column("b"), Column("c")), (Row(("x", "–", "1")), Row(("y", "–", "–"))))
    assert [each.title for each in found.columns] == ["a", "c"]
    assert found.rows[1].cells == ("y", "–")


def test_costs_name_pools_and_savings(saved: Plan) -> None:
    """By closed form and by simulation; the recommended fleet and the impossible one are marked."""
    found = tables.costs(saved)
    assert column(found, "Pools")[4] == "54 × A100-80GB TP 4 short + 13 × A100-80GB TP 4 long"
    assert column(found, "GPUs", "closed form")[4] == "256"
    assert column(found, "GPUs", "simulated (mean need)")[4] == "268 (262 to 276)"
    assert column(found, "Saving vs B1")[4] == "23.9 % (21.0 to 26.7 %)"
    assert column(found, "Saving vs B2")[4] == "6.9 % (6.1 to 7.8 %)"
    assert column(found, "Saving vs B1")[0] == "costs 4.1 ×"
    assert [row.mark for row in found.rows] == ["", "", "", "", "chosen", "", "", "out"]


def test_only_what_was_simulated_has_service_figures(saved: Plan) -> None:
    """Misroutes stand only where somebody routes."""
    found = tables.services(saved)
    assert len(found.rows) == 6
    assert column(found, "TTFT P99")[4] == "1.44 s (1.31 to 1.57 s)"
    assert column(found, "Under")[4] == "0.08 % (0.06 to 0.1 %)"
    assert column(found, "Under")[1] == "–"


def test_the_gap_is_of_simulation_to_formula(saved: Plan) -> None:
    """Pool by pool; none where nothing was simulated."""
    found = details.gaps(saved)
    rows = [row for row in found.rows if row.cells[0] == "Two pools, our router"]
    assert [row.cells[-1] for row in rows] == ["+3.8 %", "+8.3 %"]
    assert found.rows[-1].cells[-1] == "–"


def test_no_threshold_is_marked_where_no_split_is_recommended(saved: Plan) -> None:
    """The mark is a recommendation, in the sweep as elsewhere."""
    assert [row.mark for row in details.sweep(saved).rows].count("chosen") == 1
    assert "chosen" not in [row.mark for row in details.sweep(replace(saved, recommended=2)).rows]


def test_stages_that_settled_nothing_are_left_out(saved: Plan) -> None:
    """So are routers that were not simulated; all shares stand under their router's name."""
    found = details.stages(saved)
    assert [row.cells[0] for row in found.rows][:2] == ["settled without measuring", "size bounds"]
    assert "exact count" not in [row.cells[0] for row in found.rows]
    assert column(found, "Two pools, our router")[1] == "71.0 %"
