import importlib.util
import json
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "tools/dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tool: ModuleType) -> dict[str, Any]:
    """The dashboard as made now."""
    dashboard: dict[str, Any] = json.loads(tool.dashboard_json())
    return dashboard


def test_the_dashboard_is_made_of_what_the_file_says(made: dict[str, Any], tool: ModuleType) -> None:
    """Rows and panels stand in its order, each panel with all its queries, and nothing is left to be filled in."""
    rows = yaml.safe_load(tool.SHOWN.read_text())
    titles = [title for row in rows for title in (row["row"], *(panel["title"] for panel in row["panels"]))]
    assert [panel["title"] for panel in made["panels"]] == titles
    wanted = [len(panel["queries"]) for row in rows for panel in row["panels"]]
    assert [len(panel["targets"]) for panel in made["panels"] if panel["type"] != "row"] == wanted
    assert not [target for panel in made["panels"] for target in panel.get("targets", ()) if "<" in target["expr"]]


def test_the_committed_dashboard_is_up_to_date(tool: ModuleType) -> None:
    """`make dashboard` would change nothing."""
    assert (ROOT / "deploy/grafana/dualpool.json").read_text() == tool.dashboard_json()


def test_no_two_panels_lie_on_each_other(made: dict[str, Any]) -> None:
    """Each has its own place on the grid, and its own number."""
    places = [_cells(panel["gridPos"]) for panel in made["panels"]]
    assert not [pair for pair in combinations(places, 2) if pair[0] & pair[1]]
    assert len({panel["id"] for panel in made["panels"]}) == len(places)


def _cells(place: dict[str, int]) -> set[tuple[int, int]]:
    x, y = place["x"], place["y"]
    return {(x + column, y + row) for column in range(place["w"]) for row in range(place["h"])}


def test_each_variable_that_a_query_uses_is_one_of_the_dashboard(made: dict[str, Any]) -> None:
    """Beside Grafana's own, which begin with two underscores."""
    names = {variable["name"] for variable in made["templating"]["list"]}
    queries = "".join(target["expr"] for panel in made["panels"] for target in panel.get("targets", ()))
    assert {name for name in names if f"${name}" in queries} == names - {"source"} == {"job", "instance", "listener"}
