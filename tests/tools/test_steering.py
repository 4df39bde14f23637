import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from extproc.fleet.scenarios import SCENARIOS
from extproc.routing.adaptive import AdaptiveRules

ROOT = Path(__file__).parents[2]
FIRST = SCENARIOS[0]


def script(name: str) -> ModuleType:
    """One of the tools as a module, known by its name so that its tasks can be pickled."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def steering() -> Iterator[ModuleType]:
    """The tool."""
    yield script("steering")
    del sys.modules["steering"]


def row(scenario: str, way: str, seed: int, ttft_s: float, **more: float) -> dict[str, Any]:
    """One run, as the tool writes it."""
    figures = {
        "requests": 100,
        "ttft_p99_s": ttft_s,
        "short_ttft_p99_s": ttft_s,
        "long_ttft_p99_s": ttft_s,
        "preemptions_per_mille": 0.0,
        "refused_share": 0.0,
        "lost_share": 0.0,
        "slo_share": 0.99,
    }
    return {"scenario": scenario, "way": way, "seed": seed, "course": None, **figures, **more}


def rows(*, spillover_s: float = 1.0, best_s: float = 0.9) -> list[dict[str, Any]]:
    """Every scenario, two seeds, all alike but for what is asked."""
    times = {"fixed": 2.0, "spillover": spillover_s, "adaptive": 2.0, "both": 1.5}
    course = {"moves": 3, "turns": 1, "least_tokens": 1500, "most_tokens": 2048, "from_short": 0.25, "from_long": 0.0}
    found = []
    for scenario in SCENARIOS:
        for seed in range(2):
            found += [
                row(scenario.name, way, seed, value * (1 + seed), **({} if way == "fixed" else course))
                for way, value in times.items()
            ]
            found += [
                row(scenario.name, str(tokens), seed, best_s * (1 + seed)) for tokens in scenario.fleet.thresholds
            ]
    return found


def test_every_scenario_is_planned_every_way(steering: ModuleType) -> None:
    """Five seeds of each way, three of each other threshold, under rules that the settings make."""
    parts = list(steering.planned(SCENARIOS))
    assert len(parts) == 5 + 3
    first = [each.trial for each in parts[0]]
    assert len(first) == 4 * len(SCENARIOS)
    assert {trial.rules is None for trial in first} == {True, False}
    both = steering.WAYS["both"]
    assert both.spillover.share_max == 0.8
    assert both.adaptive == AdaptiveRules(threshold_min_tokens=1024)
    assert {each.trial.threshold_tokens for part in parts[5:] for each in part} >= set(FIRST.fleet.thresholds)


def test_moves_of_a_threshold_are_counted(steering: ModuleType) -> None:
    """Up, up, down and up again are four moves, two of which go back; standing still is none."""
    assert steering.moves([4, 4, 5, 6, 6, 5, 7]) == {"moves": 4, "turns": 2}
    assert steering.moves([4]) == {"moves": 0, "turns": 0}


def test_changes_are_taken_seed_by_seed(steering: ModuleType) -> None:
    """Of the same requests: here each halves."""
    found = steering.found_in(rows())
    assert steering.changes(found, FIRST.name, "spillover", "ttft_p99_s") == [-0.5, -0.5]


def test_the_document_shows_every_scenario_and_no_other_figure_than_those_run(steering: ModuleType) -> None:
    """The command at the top, a line for each scenario in the summary, a table with every way for each."""
    text = steering.document(steering.found_in(rows()))
    assert text.index("python tools/steering.py run") < text.index("| scenario |")
    assert "No case is worse than the fixed threshold by more than 5 %." in text
    for scenario in SCENARIOS:
        section = text[text.index(f"## {scenario.name.capitalize()}\n") :]
        assert re.search(r"\| adaptive, spillover \| 1,500 to 2,048 \| 3\.0, 1\.0 back \|.*25\.0 % of short", section)
    assert "−50.0 %" in text
    assert f"at {FIRST.fleet.thresholds[0]:,}" in text
    assert "nan" not in text


def test_a_case_that_is_worse_is_named(steering: ModuleType) -> None:
    """By more than five per cent; and a fixed threshold that is best anyway is said to be."""
    text = steering.document(steering.found_in(rows(spillover_s=2.2, best_s=3.0)))
    assert "Worse by more than 5 %:" in text
    assert f"- fixed, spillover: {FIRST.name}, P99 TTFT +10.0 %" in text
    assert "| the planned one |" in text


def test_runs_that_are_not_done_yet_leave_a_document(steering: ModuleType) -> None:
    """Without other thresholds nothing is said of the best one."""
    ways = [each for each in rows() if not each["way"].isdigit()]
    assert "| the planned one |" not in steering.document(steering.found_in(ways))


def test_a_small_run_can_be_tabled(steering: ModuleType) -> None:
    """Simulated for real, through JSON and back."""
    short = replace(FIRST, duration_s=30.0)
    (part,) = [runs for number, runs in enumerate(steering.planned([short], 1)) if number == 0]
    found = json.loads(json.dumps(steering.run(part, 1)))
    assert [each["way"] for each in found] == list(steering.WAYS)
    assert found[1]["most_tokens"] == FIRST.fleet.threshold_tokens
    assert found[0]["ttft_p99_s"] == found[1]["ttft_p99_s"]
    assert "## Steady" in steering.document(steering.found_in(found))
