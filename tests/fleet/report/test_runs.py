import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from extproc.fleet.answers import Plan
from extproc.fleet.report.runs import Run, run_as_json, show_run, write_run_report
from extproc.fleet.values import InstanceSpec, PoolSpec, Slo, StepTimes
from extproc.routing.values import Pool


def spec(pool: Pool, instances: int, max_model_len: int) -> PoolSpec:
    """Of instances of four A100."""
    steps = StepTimes(np.zeros(8193), np.zeros(257), 0.0, 0.0, 0.0)
    flags = ("meta-llama/Meta-Llama-3-70B-Instruct", "--max-model-len", str(max_model_len))
    instance = InstanceSpec(
        max_model_len, 256, 8192, 30_900, steps, gpus=4, usd_per_hour=8.84, name="A100-80GB TP 4", flags=flags
    )
    return PoolSpec(pool, instances, instance)


@pytest.fixture
def run(saved: Plan) -> Run:
    """Two pools."""
    confirmed = saved.fleets[4].confirmed
    assert confirmed is not None
    return Run(
        "Two pools of A100",
        Slo(),
        (spec(Pool.SHORT, 54, 4096), spec(Pool.LONG, 13, 65_536)),
        confirmed,
        facts=(("Workload", "azure-2023 <at> 1,000 requests/s"),),
        notes=("Warm-up: the first 60 s are left out.",),
    )


@pytest.fixture
def alone(saved: Plan) -> Run:
    """One pool."""
    confirmed = saved.fleets[1].confirmed
    assert confirmed is not None
    return Run("One pool of A100", Slo(), (spec(Pool.LONG, 88, 65_536),), confirmed)


def test_a_run_has_a_page_of_the_same_manner(run: Run, tmp_path: Path) -> None:
    """Pools, times, commands and how it was made; text is text."""
    write_run_report(run, tmp_path / "run.html", command="dualpool simulate")
    text = (tmp_path / "run.html").read_text()
    for part in ("Two pools of A100", "short pool", "long pool", "1.44 s", "30,900", "268", "bounds", "Warm-up:"):
        assert part in text
    assert "azure-2023 &lt;at&gt; 1,000" in text
    assert text.count("<svg") == 2
    assert "vllm serve meta-llama/Meta-Llama-3-70B-Instruct \\\n  --max-model-len 4096" in text


def test_one_pool_has_no_misroutes(alone: Run, tmp_path: Path) -> None:
    """Nobody routes to it, so that neither cards nor stages speak of it."""
    write_run_report(alone, tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    assert "(under)" not in text
    assert "How the router decided" not in text
    assert "One pool: 88 instances" in text


def test_the_terminal_shows_a_run(run: Run) -> None:
    """Its pools, their times, and where the page is."""
    file = io.StringIO()
    show_run(run, Console(file=file, width=160, highlight=False), report=Path("run.html"))
    for part in ("Two pools of A100", "54", "TTFT P99", "1.44 s", "Both together", "size bounds", "run.html"):
        assert part in file.getvalue()


def test_a_run_as_json_is_strict(run: Run) -> None:
    """With its pools and what they came to, without thousands of step times."""
    found = json.loads(run_as_json(run), parse_constant=pytest.fail)
    assert found["schema"] == 1
    assert [pool["gpus"] for pool in found["pools"]] == [216, 52]
    assert "steps" not in found["pools"][0]["instance"]
    assert found["confirmed"]["fleet"]["ttft_p99_s"]["mean"] == pytest.approx(1.44)
