import re
from dataclasses import replace

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.answers import Baseline, Plan, RouterKind, Verdict
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.jobs import Jobs, jobs
from extproc.fleet.options import PlanOptions
from extproc.fleet.planner import Planner
from extproc.fleet.workload import Options, synthetic

CATALOG = builtin()
WORKLOAD = synthetic(Options(rate_per_s=4.0), prompt_tokens=600, prompt_deviation=0.6, output_tokens=40)
TOY = PlanOptions(
    WORKLOAD,
    CATALOG.model("llama-3-8b"),
    (CATALOG.gpu("a100-80gb"),),
    8192,
    tensor_parallel=(1,),
    thresholds=(1024,),
    seeds=2,
    requests=200,
)


def planned(options: PlanOptions, there: Jobs | None = None, *, confirm: bool = True) -> Plan:
    """The whole way; progress never goes back within a stage."""
    planner, done = Planner(options, there or Jobs(None), confirm=confirm), dict[str, int]()
    for progress in planner.steps():
        assert done.get(progress.what, 0) <= progress.done <= progress.of
        done[progress.what] = progress.done
    assert planner.plan is not None
    return planner.plan


@pytest.fixture(scope="module")
def toy() -> Plan:
    """The answer to a toy question."""
    return planned(TOY)


def test_the_same_question_has_the_same_answer(toy: Plan) -> None:
    """To the last bit, but for the time it took."""
    assert repr(replace(planned(TOY), seconds=0.0)) == repr(replace(toy, seconds=0.0))


def test_processes_do_not_change_the_answer(toy: Plan) -> None:
    """But for the last bits of the closed form, whose sums depend on the threads of the linear algebra."""
    with jobs(2) as two:
        again = planned(TOY, two)
    assert rounded(again) == rounded(toy)


def rounded(plan: Plan) -> str:
    """Everything that a plan says, numbers to eight digits."""
    text = repr(replace(plan, seconds=0.0))
    return re.sub(r"\d+\.\d+(e-?\d+)?", lambda found: f"{float(found[0]):.8g}", text)


def test_every_fleet_is_weighed(toy: Plan) -> None:
    """Three baselines, and two pools with each router that are as they would be."""
    assert [fleet.baseline for fleet in toy.fleets[:3]] == [Baseline.B0, Baseline.B1, Baseline.B2]
    assert [fleet.router for fleet in toy.fleets[3:7]] == [
        RouterKind.ANYTIME, RouterKind.EMA, RouterKind.FIXED, RouterKind.ORACLE,
    ]  # fmt: skip
    for fleet in toy.fleets:
        assert (fleet.confirmed is None) is (fleet.infeasible is not None)
        assert fleet.confirmed is None or len(fleet.confirmed.pools) == len(fleet.pools)
        for pool in fleet.pools:
            assert pool.instances >= 1
            assert f"--max-model-len {pool.max_model_len}" in pool.command


def test_a_tiny_fleet_is_not_split(toy: Plan) -> None:
    """One instance does for all: two pools take two, which the answer says."""
    assert toy.verdict is Verdict.NO_DIFFERENCE
    assert toy.recommended is not None
    assert toy.fleets[toy.recommended].gpus == 1
    assert "cost" in toy.sentence
    assert [row.threshold_tokens for row in toy.sweep] == [1024]


def test_without_confirmation_there_is_the_closed_form() -> None:
    """Sizes, a verdict, no intervals."""
    plan = planned(TOY, confirm=False)
    assert all(fleet.confirmed is None and fleet.gpu_range is None for fleet in plan.fleets)
    assert all(pool.instances == pool.instances_closed_form for fleet in plan.fleets for pool in fleet.pools)
    assert plan.recommended is not None


def test_an_objective_out_of_reach_is_infeasible() -> None:
    """A first token within a tenth of a millisecond: every fleet says why, and none is recommended."""
    plan = planned(replace(TOY, slo=replace(TOY.slo, ttft_s=1e-4, ttft_s_per_token=1e-9), seeds=1, requests=20))
    assert (plan.verdict, plan.recommended, plan.savings) == (Verdict.INFEASIBLE, None, ())
    assert all(fleet.infeasible for fleet in plan.fleets)


def test_a_question_that_cannot_be_asked_is_refused_at_once() -> None:
    """Before anything is computed."""
    with pytest.raises(ConfigurationError):
        Planner(replace(TOY, model=CATALOG.model("llama-3-70b")), Jobs(None))
