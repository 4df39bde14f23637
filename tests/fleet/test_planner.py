import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.answers import Baseline, Confirmed, Plan, RouterKind, Verdict
from extproc.fleet.drafts import Homogeneous, homogeneous
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.jobs import Done, Jobs, Result, Task, jobs
from extproc.fleet.options import PlanOptions
from extproc.fleet.planner import Planner
from extproc.fleet.sized import Sized
from extproc.fleet.tasks import Confirm, Size
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


class Watched(Jobs):
    """Notes which tasks were performed."""

    def __init__(self) -> None:
        super().__init__(None)
        self.tasks: list[object] = []

    def perform(self, tasks: Sequence[Task[Result]], done: Done[Result]) -> Iterator[None]:
        """As here, and noted."""
        self.tasks += tasks
        return super().perform(tasks, done)


def _held(task: Size) -> bool:
    return task.draft.pools[-1].spec.long_prefill_token_threshold > 0


def test_thresholds_and_baselines_see_the_same_requests() -> None:
    """A saving of the sweep is of fleets that one seed drew the requests of; no seed is one of those that judge."""
    watched = Watched()
    plan = planned(TOY, watched)
    tried = [task for task in watched.tasks if isinstance(task, Size) and task.seed >= TOY.seeds and not _held(task)]
    seeds = {kind: [task.seed for task in tried if task.draft.baseline is kind] for kind in Baseline}
    assert seeds[Baseline.SPLIT] == seeds[Baseline.B1] == seeds[Baseline.B2] == [2, 3]
    assert plan.sweep[0].confirmed_b2 is not None


class Scripted(Jobs):
    """Fleets whose long pool holds prompts back to this many tokens need so many instances; none is simulated."""

    def __init__(self, needed: dict[int, float | None]) -> None:
        super().__init__(None)
        self.needed = needed

    def perform(self, tasks: Sequence[Task[Result]], done: Done[Result]) -> Iterator[None]:
        """By the script."""
        for number, task in enumerate(tasks):
            assert isinstance(task, Size)
            tokens = task.draft.pools[-1].spec.long_prefill_token_threshold
            done.put(number, (self.needed[tokens],) * len(task.draft.pools))
            yield


@pytest.mark.parametrize(
    ("of_half", "of_quarter", "chosen"), [(7.0, 9.0, 1), (12.0, 8.0, 2), (10.0, 11.0, 0), (None, None, 0)]
)
def test_long_prompts_are_held_back_where_that_is_cheaper(
    of_half: float | None, of_quarter: float | None, chosen: int
) -> None:
    """In the tuned pool, by what is cheapest on the same requests; vLLM's defaults stay what they are."""
    planner = Planner(TOY, Scripted({}))
    one_pool = homogeneous(planner._options)
    small = replace(one_pool.b2.pools[0], spec=replace(one_pool.b2.pools[0].spec, max_num_batched_tokens=256))
    fleets = [Sized(one_pool.b1, ((10,),)), Sized(replace(one_pool.b2, pools=(small,)), ((10,),))]
    planner._jobs = Scripted({0: 10.0, 128: of_half, 64: of_quarter})
    list(planner._hold_back(fleets, 5))
    assert [fleet.draft.pools[0].spec.long_prefill_token_threshold for fleet in fleets] == [0, [0, 128, 64][chosen]]


def test_a_fleet_that_grew_is_confirmed_as_it_is() -> None:
    """What is said of it comes from a simulation of its last size, even where that still misses the objective."""
    watched = Watched()
    busy = synthetic(Options(rate_per_s=400.0), prompt_tokens=600, prompt_deviation=0.6, output_tokens=40)
    options = replace(TOY, workload=busy, requests=300)
    planner = Planner(options, watched)
    baselines: Done[Homogeneous] = Done(1)
    list(planner._begin(baselines))
    fleets, found = [Sized(baselines.all[0].b2, ((1,), (1,)))], dict[str, Confirmed]()
    list(planner._confirm_all(fleets, found))
    confirmations = [task for task in watched.tasks if isinstance(task, Confirm)]
    assert [task.instances for task in confirmations] == [(1,), (1,), (2,), (2,), (3,), (3,)]
    assert fleets[0].final == (3,)
    assert found[fleets[0].draft.name].fleet.slo_share.mean < 0.99


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
