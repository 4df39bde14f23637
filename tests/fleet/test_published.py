import pytest

from extproc.fleet.comparison import Row
from extproc.fleet.published import short_fraction_for, tables


def rows(title: str) -> dict[str, Row]:
    """Rows by name, of the table whose title begins so."""
    return {row.what: row for table in tables() if table.title.startswith(title) for row in table.rows}


def test_homogeneous_fleet_is_reproduced() -> None:
    """358 instances are ⌈1000 / 2.8⌉ on both traces."""
    found = rows("Fleet sizes")
    assert [found[f"{name}: homogeneous instances"].ours for name in ("Azure", "LMSYS")] == [358, 358]


def test_fleets_of_two_pools_are_not_reproduced() -> None:
    """With the public short fraction the stated rates give 91 instances, not 208 and 246."""
    found = rows("Fleet sizes")
    for name, needed in (("Azure", "0.559"), ("LMSYS", "0.417")):
        row = found[f"{name}: two pools"]
        assert (row.ours, row.reproduced) == (91, False)
        assert needed in row.why


def test_short_fraction_inverts_the_closed_form() -> None:
    """A saving of 41.9 % at a ratio of 4 needs a short fraction of 0.559."""
    assert short_fraction_for(0.419, 4.0) == pytest.approx(0.559, abs=0.001)


def test_mi300x_arithmetic_is_reproduced() -> None:
    """GPUs, dollars and saving follow from the node counts, which themselves cannot be computed."""
    found = rows("Fleet of Qwen3")
    assert {what for what, row in found.items() if not row.reproduced} == {"homogeneous nodes", "nodes of two pools"}
    assert found["saving per year"].ours == pytest.approx(15.43, abs=0.01)


def test_planner_fleets_are_reproduced() -> None:
    """All fleets of the published planner come out within the noise of its draws, but LMSYS's homogeneous ones."""
    missed = {what for what, row in rows("Fleets of the published planner").items() if not row.reproduced}
    assert missed == {f"lmsys, {gpu}, 1,000 req/s: homogeneous" for gpu in ("A100", "H100")}


def test_azure_sweep_is_reproduced() -> None:
    """Every threshold's saving on Azure agrees within 2.2 points."""
    found = [row for what, row in rows("Savings of the published").items() if what.startswith("azure")]
    assert len(found) == 10
    assert all(row.reproduced and abs(row.ours - row.published) < 2.2 for row in found)


def test_the_saving_is_stable_over_rates_but_higher() -> None:
    """At 100 and at 2,000 requests per second the stated rates save 72 to 75 %, on either trace."""
    found = [row for what, row in rows("The saving at other").items() if "req/s" in what]
    assert len(found) == 4
    assert all(72 < row.ours < 75 and not row.reproduced for row in found)


def test_four_fifths_of_the_best_saving_are_not_kept_everywhere() -> None:
    """At 4,096 tokens LMSYS keeps over 80 % of its best saving in the published planner's sweep, Azure does not."""
    found = rows("The saving at other")
    assert found["lmsys: share of the best saving kept at 4,096"].reproduced
    assert not found["azure: share of the best saving kept at 4,096"].reproduced


def test_a_noisy_sweep_says_what_its_own_baseline_gives() -> None:
    """Where the homogeneous fleet of LMSYS was drawn too large, the saving against that very fleet is printed too."""
    assert "with its own 139 GPUs 46.0 %" in rows("Savings of the published")["lmsys, 2,048 tokens"].why


def test_every_row_explains_itself() -> None:
    """No row is without a reason, and no name appears twice in a table."""
    for table in tables():
        assert all(row.why for row in table.rows)
        assert len({row.what for row in table.rows}) == len(table.rows)
