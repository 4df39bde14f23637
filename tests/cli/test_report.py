import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError
from extproc.routing.values import Pool
from extproc.traces.accesslog import AccessLine, encode

PLANNED = ("--model", "llama-3-8b", "--gpu", "a100-80gb", "--tensor-parallel-size", "1", "--jobs", "1", "--no-confirm")


def run(*arguments: str | Path) -> str:
    """The command's output."""
    shown = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Of a hundred requests, half of them read; one line was torn."""
    path = tmp_path / "access.jsonl"
    with path.open("wb") as file:
        for at in range(100):
            line: dict[str, Any] = {
                "time": f"2026-01-01T08:00:{at // 2:02}.{at % 2 * 5}00Z",
                "pool": Pool.SHORT if at % 4 else Pool.LONG,
                "reason": "fits" if at % 4 else "exceeds",
                "threshold_tokens": 8192,
                "shadow": True,
                "budget_tokens": 1500 if at % 4 else 20_000,
                "max_tokens": 500,
            }
            if at % 8 < 4:
                read = {"weight": 2.0, "judged": True, "completion_tokens": 100}
                line |= read | {"prompt_tokens": 900 if at % 4 else 15_000}
            file.write(
                encode(AccessLine(**{**line, "time": None})).replace(b'"time":null', _time(line["time"])) + b"\n"
            )
        file.write(b'{"torn')
    return path


def _time(text: str) -> bytes:
    return b'"time":"%s"' % text.encode()


def test_help_teaches() -> None:
    """What it shows, what it rests on, how it exits."""
    shown = " ".join(run("--help").split())
    assert "whether two pools help at all" in shown
    assert "Exits with 0 whatever the verdict" in shown


def test_tables_for_people(log: Path) -> None:
    """What would have happened, and how to go on."""
    shown = run(log)
    assert "Routing would have sent 75.0 % of 100 requests short" in shown
    assert "add --model and --gpu" in shown
    assert "1 line could not be read" in shown


def test_json_for_scripts(log: Path) -> None:
    """With the thresholds that were asked for, and no others."""
    found = json.loads(run(log, "--json", "--threshold", "4096", "--threshold", "16384", "--promise", "0.01"))
    assert [row["threshold_tokens"] for row in found["thresholds"]] == [4096, 16_384]
    assert (found["promise"], found["malformed"]) == (0.01, 1)


def test_the_planner_takes_the_log_as_its_traffic(log: Path, tmp_path: Path) -> None:
    """At the log's own rate, all requests of all files; the page has both."""
    page = tmp_path / "page.html"
    found = json.loads(run(log, "--json", *PLANNED, "--threshold", "2048", "--report", page))
    ask = found["plan"]["ask"]
    assert ask["rate_per_s"] == pytest.approx(2.0, rel=0.02)
    assert ask["thresholds"] == [2048]
    assert "48% of the answers were not read" in ask["source"]
    assert found["verdict"][2] == found["plan"]["sentence"]
    assert "What pools this traffic takes" in page.read_text()


def test_the_plan_is_shown_beneath(log: Path) -> None:
    """As `dualpool plan` shows it; another rate may be asked for."""
    shown = run(log, *PLANNED, "--threshold", "2048", "--rate", "8")
    assert "What each fleet costs" in shown
    assert "at 8 requests per second" in shown


@pytest.mark.parametrize("flags", [("--model", "llama-3-8b"), ("--gpu", "a100-80gb")])
def test_a_plan_needs_a_model_and_a_gpu(log: Path, flags: tuple[str, str]) -> None:
    """One alone is a mistake, said before anything is read."""
    with pytest.raises(ConfigurationError, match="give --model and --gpu, or neither"):
        run(log, *flags)


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    """And so is a page in a folder that is not there, at once."""
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ConfigurationError, match="it holds nothing"):
        run(empty)
    with pytest.raises(ConfigurationError, match="a folder that exists"):
        run(empty, "--report", tmp_path / "none" / "page.html")
