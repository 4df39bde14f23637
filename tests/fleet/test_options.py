from dataclasses import replace

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.answers import RouterKind
from extproc.fleet.arrivals import Recorded, own_rate_per_s
from extproc.fleet.declared import AsRecorded
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.options import PlanOptions, alone_s, completed
from extproc.fleet.samples import Rows
from extproc.fleet.values import Slo, StepTimes
from extproc.fleet.workload import Options, synthetic

CATALOG = builtin()
OPTIONS = PlanOptions(
    synthetic(Options(rate_per_s=3.0), prompt_deviation=0.5),
    CATALOG.model("llama-3-8b"),
    (CATALOG.gpu("a100-80gb"),),
    8192,
)


def test_a_prompt_alone_by_hand() -> None:
    """Ten tokens in steps of four: two full ones and one of two, all pairs of tokens once, and what stood before."""
    steps = StepTimes(np.array([9.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.5]), 0.0, pair_s=0.01, earlier_s=0.1)
    by_hand = (4.0 + 4.0 + 2.0) + 3 * 0.5 + 0.01 * 10**2 / 2 + 0.1 * (0 + 4 + 8)
    assert alone_s(steps, 4, np.array([10, 8])).tolist() == pytest.approx([by_hand, 8.0 + 1.0 + 0.32 + 0.4])


def test_chunks_add_up_to_the_formula_of_a_step() -> None:
    """Summed chunk by chunk as `StepTimes` says, for a real GPU."""
    spec = instance_of(CATALOG.model("llama-3-8b"), CATALOG.gpu("a100-80gb"), 1, max_model_len=8192)
    steps, chunk, total = spec.steps, spec.max_num_batched_tokens, 0.0
    for begin in range(0, 7000, chunk):
        new = min(chunk, 7000 - begin)
        total += float(steps.dense_s[new] + steps.sequences_s[1])
        total += steps.pair_s * new * (begin + new / 2) + steps.earlier_s * begin
    assert alone_s(steps, chunk, np.array([7000]))[0] == pytest.approx(total)


def test_long_prompts_are_allowed_twice_what_they_take_alone() -> None:
    """On the fastest number of GPUs that holds the longest context."""
    slo = completed(replace(OPTIONS, tensor_parallel=(1,))).slo
    spec = instance_of(CATALOG.model("llama-3-8b"), CATALOG.gpu("a100-80gb"), 1, max_model_len=8192)
    alone = alone_s(spec.steps, spec.max_num_batched_tokens, np.array([8191]))[0]
    assert slo.ttft_s_per_token * 8192 == pytest.approx(2 * alone)
    assert completed(OPTIONS).slo.ttft_s_per_token < slo.ttft_s_per_token
    given = replace(OPTIONS, slo=Slo(ttft_s_per_token=0.5))
    assert completed(given) == given


def test_a_fleet_settles_as_slowly_as_long_answers_end() -> None:
    """Answers of 100 and 300 tokens, met under way in proportion to their length: 125 tokens are left in the mean."""
    rows = Rows(np.array([10, 10]), np.array([100, 300]), np.zeros(2, np.int8))
    of_two = replace(OPTIONS, workload=replace(OPTIONS.workload, rows=rows), slo=Slo(tpot_s=0.1))
    assert of_two.settling_s() == pytest.approx(12.5)
    cut = replace(of_two, workload=replace(of_two.workload, rows=rows._replace(declared_tokens=np.array([100, 100])),
                                           declared=AsRecorded()))  # fmt: skip
    assert cut.settling_s() == pytest.approx(5.0)


def test_the_busiest_part_of_a_long_trace_is_planned_for() -> None:
    """All fleets are held to it; a trace that is short enough is played whole."""
    times = np.concatenate([np.arange(10.0), 10.0 + np.arange(300_000) / 10.0])
    rows = Rows(np.full(len(times), 100), np.full(len(times), 10), np.zeros(len(times), np.int8))
    workload = replace(OPTIONS.workload, rows=rows, arrivals=Recorded(times, own_rate_per_s(times)), in_order=True)
    planned = completed(replace(OPTIONS, workload=workload)).workload
    assert len(planned.rows.prompt_tokens) == 200_000
    assert planned.rate_per_s == pytest.approx(10.0)


def test_a_question_without_an_answer_is_refused() -> None:
    """A model that does not fit, named with its GPU, whatever is allowed; no threshold below the context."""
    large = replace(OPTIONS, model=CATALOG.model("llama-3-70b"), tensor_parallel=(1,))
    with pytest.raises(ConfigurationError, match="a100-80gb"):
        completed(large)
    with pytest.raises(ConfigurationError, match="a100-80gb"):
        completed(replace(large, slo=Slo(ttft_s_per_token=0.5)))
    with pytest.raises(ConfigurationError, match="threshold"):
        completed(replace(OPTIONS, thresholds=(8192, 9000)))


def test_requests_beyond_the_context_are_refused() -> None:
    """More of them than may fail: no number of GPUs helps, and the message says what would."""
    with pytest.raises(ConfigurationError, match=r"% of requests .* max_model_len 1200"):
        completed(replace(OPTIONS, max_model_len=1200, thresholds=(512,)))


def test_thresholds_are_below_the_context() -> None:
    """In ascending order."""
    assert replace(OPTIONS, thresholds=(4096, 512, 8192)).tried_thresholds() == (512, 4096)
    assert max(OPTIONS.tried_thresholds()) < 8192


def test_the_first_gpu_is_the_fleets() -> None:
    """Others are for other hardware only."""
    both = replace(OPTIONS, gpus=(*OPTIONS.gpus, CATALOG.gpu("h100-80gb")))
    assert [gpu.name for gpu in both.choice().gpus] == ["a100-80gb"]
    assert len(both.choice(hardware=True).gpus) == 2
    assert both.ask().gpus == ("a100-80gb", "h100-80gb")


@pytest.mark.parametrize("router", [RouterKind.ANYTIME, RouterKind.EMA, RouterKind.FIXED])
def test_routers_are_the_services(router: RouterKind) -> None:
    """Each kind is an estimator of the service, at that threshold and promise."""
    settings = OPTIONS.settings(router, 2048)
    assert (settings.estimator, settings.threshold_tokens, settings.promise) == (router.value, 2048, 0.001)
