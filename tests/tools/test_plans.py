import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.fleet.answers import PLANNER

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """One of the tools as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interval(mean: float, width: float = 0.0) -> dict[str, float]:
    """As JSON has it."""
    return {"mean": mean, "low": mean - width, "high": mean + width}


def fleet(baseline: str, router: str, gpus: int, **more: Any) -> dict[str, Any]:
    """One fleet of a plan, as far as the tables read it: eight GPUs an instance, a dollar each."""
    measured = {
        "ttft_p99_s": interval(1.5),
        "tpot_p99_s": interval(0.06),
        "preemptions_per_mille": interval(0.0),
        "rejected": interval(0.0002),
        "truncated": interval(0.0),
        "running_mean": interval(3.0 * min(400, gpus // 8)),
        "kv_mean": interval(0.02),
    }
    pool = {
        "pool": "long",
        "instance": "8x a100-80gb",
        "instances": gpus // 8,
        "max_num_batched_tokens": 512,
        "long_prefill_token_threshold": 0,
        "max_num_seqs": 256,
        "rate_per_s": 100.0,
        "limit": "compute",
    }
    found = {
        "name": baseline,
        "baseline": baseline,
        "router": router,
        "threshold_tokens": None,
        "gpus": gpus,
        "gpus_closed_form": gpus,
        "gpu_range": interval(gpus - 8, 8),
        "saving_b1": None if baseline == "B1" else interval(1.0 - gpus / 6_400, 0.01),
        "saving_b2": None if baseline == "B2" else interval(1.0 - gpus / 3_200, 0.02),
        "usd_per_year": 8_760.0 * gpus,
        "infeasible": None,
        "pools": [pool],
        "confirmed": {"fleet": measured, "pools": [measured]},
    }
    return found | more


def plan() -> dict[str, Any]:
    """Two pools that take half of what a tuned pool takes."""
    fleets = [
        fleet("B1", "none", 6_400),
        fleet("B2", "none", 3_200),
        fleet("split", "anytime", 1_600, name="two pools, anytime", threshold_tokens=4_096),
        fleet("split", "oracle", 800, threshold_tokens=4_096),
        fleet("split", "fixed", 800, infeasible="no number of instances keeps the objective"),
    ]
    row = {
        "threshold_tokens": 4_096,
        "short_share": 0.9,
        "saving_published": 0.7,
        "saving_b1": 0.6,
        "saving_b2": 0.3,
        "confirmed_b1": interval(0.75),
        "confirmed_b2": None,
        "infeasible": None,
    }
    empty = row | {"threshold_tokens": 65_536, "infeasible": "the long pool would be empty"}
    return {
        "planner": PLANNER,
        "verdict": "split",
        "sentence": "Two pools help.",
        "fleets": fleets,
        "sweep": [row, empty],
    }


@pytest.mark.parametrize("name", ["plans", "estimators_cost"])
def test_every_flag_of_the_commands_exists(name: str) -> None:
    """What the documents tell a reader to type is what `dualpool` takes."""
    tool = script(name)
    lines = tool.commands() if name == "estimators_cost" else [(case.name, tool.command(case)) for case in tool.CASES]
    for _, line in lines:
        words = line.split()
        known = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
        assert words[0] == "dualpool"
        assert [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", known)] == []


def test_savings_are_of_the_other_fleets_cost() -> None:
    """With the plan's own interval, which compares replication by replication, and no other one."""
    tool = script("plans")
    line = tool.summary([(tool.CASES[0], plan())]).splitlines()[-1]
    assert line.endswith("| 75.0 % (74.0 to 76.0 %) | 50.0 % (48.0 to 52.0 %) |")


def test_the_verdict_names_a_cheaper_pool_of_other_hardware() -> None:
    """What two pools save against B2 may be what any pool saves there; a dearer one is not named."""
    tool = script("plans")
    for gpus, named in ((3_000, ", beside B2 tuned, 1x l40s with 3,000 (2,984 to 3,000)"), (3_200, "")):
        other = fleet("B2_hardware", "none", gpus, name="B2 tuned, 1x l40s")
        answer = plan() | {"fleets": [*plan()["fleets"], other]}
        assert f"| split{named} |" in tool.summary([(tool.CASES[0], answer)])


def test_a_case_shows_one_pool_and_what_our_router_parts() -> None:
    """Rows of the oracle and of other routers are for another document; the command stands above the tables."""
    tool = script("plans")
    text = tool.section(tool.CASES[0], plan())
    assert f"    {tool.command(tool.CASES[0])}\n" in text
    assert "| two pools | 4,096 | 1,600 | 1,600 (1,584 to 1,600) | 14.0 | 1.50 s | 60 ms | 0 ‰ | 0.02 % | 0 % |" in text
    assert "oracle" not in text


def test_thresholds_stand_beside_the_published_formula() -> None:
    """A threshold that was not simulated has a dash, one that cannot be built no row."""
    tool = script("plans")
    swept = next(case for case in tool.CASES if case.sweep)
    text = tool.section(swept, plan())
    assert "| 4,096 | 90.0 % | 70.0 % | 60.0 % | 30.0 % | 75.0 % | – |" in text
    assert "65,536 |" not in text
    assert "α" not in tool.section(swept._replace(sweep=False), plan())


def test_answers_of_an_earlier_planner_are_named() -> None:
    """Those of a lower number or of none, whatever their figures look like; of this one, nothing is said."""
    tool = script("plans")
    first, second, third = tool.CASES[:3]
    unnumbered = {key: value for key, value in plan().items() if key != "planner"}
    text = tool.document([(first, plan()), (second, unnumbered), (third, plan() | {"planner": PLANNER - 1})])
    assert f"of that flag either:\n\n* {second.title}\n* {third.title}\n\n| case |" in text
    assert "earlier planner" not in tool.document([(first, plan())])


def test_a_large_fleet_was_simulated_in_part() -> None:
    """3 requests run on each instance whether 200 or 800 of them stand for the pool in the confirmation."""
    tool = script("plans")
    text = tool.section(tool.CASES[0], plan())
    assert text.count("| 3 of 256 |") == 3


def test_an_estimator_that_no_fleet_can_bear_has_no_price() -> None:
    """The table says so, and shows what the others cost and lose."""
    tool = script("estimators_cost")
    lost = {"under": interval(0.001), "over": interval(0.02), "fleet": plan()["fleets"][0]["confirmed"]["fleet"]}
    table = tool.table({router: {"confirmed": lost} for router in tool.ROUTERS}, plan())
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    assert rows["4 bytes a token"].endswith("| none keeps the objective | – |")
    assert rows["ours"] == "| ours | 0.1 % | 2.0 % | 0.02 % | 0 % | 1,600 (1,584 to 1,600) | 14.0 |"
    assert "3,200" in rows["one pool, tuned (B2)"]
