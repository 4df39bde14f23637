import json
import math

import pytest

from extproc.fleet.answers import PLANNER, Plan
from extproc.fleet.report.asjson import as_json


def refuse(name: str) -> float:
    """NaN and Infinity are not JSON."""
    raise AssertionError(name)


def test_json_is_strict_and_versioned(plan: Plan) -> None:
    """Any parser reads it, whatever the verdict."""
    found = json.loads(as_json(plan), parse_constant=refuse)
    assert next(iter(found)) == "schema"
    assert (found["schema"], found["planner"]) == (1, PLANNER)
    assert found["verdict"] == plan.verdict.value
    assert len(found["fleets"]) == len(plan.fleets)


def test_fleets_carry_their_sums(saved: Plan) -> None:
    """What a script would add up is there, and intervals have names."""
    found = json.loads(as_json(saved))
    fleet = found["fleets"][found["recommended"]]
    chosen = saved.fleets[saved.recommended or 0]
    assert fleet["gpus"] == chosen.gpus == 268
    assert fleet["usd_per_year"] == pytest.approx(8760 * 268 * 2.21)
    assert fleet["gpu_range"] == {"mean": 268, "low": 262, "high": 276}
    assert fleet["confirmed"]["stages"]["bounds"] == pytest.approx(0.71)
    assert fleet["router"] == "anytime"


def test_what_is_no_number_is_null(saved: Plan) -> None:
    """A fleet of two pools has no KV share; an infeasible threshold has no saving."""
    found = json.loads(as_json(saved))
    assert math.isnan(saved.sweep[-1].saving_b1)
    assert found["sweep"][-1]["saving_b1"] is None
    assert found["fleets"][4]["confirmed"]["fleet"]["kv_mean"] == {"mean": None, "low": None, "high": None}


def test_figures_survive(saved: Plan) -> None:
    """Numbers come back as they went, curves included, each list on a line of its own."""
    text = as_json(saved)
    found = json.loads(text)
    confirmed = saved.fleets[1].confirmed
    assert confirmed is not None
    assert found["fleets"][1]["confirmed"]["fleet"]["ttft_curve"] == [list(each) for each in confirmed.fleet.ttft_curve]
    assert found["ask"]["thresholds"] == list(saved.ask.thresholds)
    assert text.count("\n") < 3000
