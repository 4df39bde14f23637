import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from extproc.fleet.comparison import Row, Table
from extproc.fleet.published import tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("published", ROOT / "tools" / "published.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_what_the_tool_prints(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/results/published.md has no figure that the code does not give."""
    tool.main()
    assert capsys.readouterr().out == (ROOT / "docs" / "results" / "published.md").read_text()


def test_every_table_counts_what_came_out(tool: ModuleType) -> None:
    """The summary has one line for each table, with its figures and how many of them are reproduced."""
    summary = tool.summary(tables())
    assert "| Fleet of Qwen3-235B-A22B on MI300X, 10,000 requests/s | 8 | 6 |" in summary
    assert summary.count("\n") == 2 + len(tables())


def test_what_is_missing_is_named_with_both_figures(tool: ModuleType) -> None:
    """A figure that did not come out stands in the list; one that did, or that nobody published, does not."""
    rows = (
        Row("wrong", 2.0, 3.0, "", reproduced=False, why="of something"),
        Row("unknown", 2.0, float("nan"), "", reproduced=False, why="of nothing"),
        Row("right", 2.0, 2.0, "", reproduced=True, why="of itself"),
        Row("unpublished", float("nan"), 2.0, "", reproduced=False, why="of silence"),
    )
    listed = tool.not_reproduced([Table("Some", "a source", rows), Table("None", "a source", rows[2:])])
    assert listed.splitlines()[-1] == "* **Some**: wrong (2 / 3); unknown (2 / –)."
