from dataclasses import replace

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.capacity import Capacities, capacity
from extproc.fleet.configurations import (
    Choice,
    _with_sequences,
    cheapest,
    default_instance,
    slots_instance,
    tuned_instance,
)
from extproc.fleet.cost import rate_within_slo
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.versions import defaults
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec, Slo
from extproc.fleet.workload import Lengths

CATALOG = builtin()
A100 = CATALOG.gpu("a100-80gb")
CHOICE = Choice(CATALOG.model("llama-3-8b"), (A100,), (1, 2), "0.33")
LENGTHS = Lengths(
    np.array([200, 900, 3000]), np.array([60, 120, 30]), np.array([60, 120, 30]), np.array([0.5, 0.4, 0.1])
)
SLO = Slo(ttft_s=2.0, tpot_s=0.08)
KNOWN = Capacities(LENGTHS, SLO)
LONGEST = 8192


def usd_per_request(spec: InstanceSpec) -> float:
    """By the closed form, within the objective."""
    return spec.usd_per_hour / rate_within_slo(capacity(spec, LENGTHS, SLO))


def test_the_default_is_vllms() -> None:
    """Tokens and sequences of its own release and GPU, and no watermark: nothing is tuned but the number of GPUs."""
    spec = default_instance(CHOICE, KNOWN, LONGEST)
    assert spec is not None
    by_default = defaults("0.33", A100)
    assert spec.max_num_batched_tokens == by_default.max_num_batched_tokens
    assert spec.max_num_seqs == by_default.max_num_seqs
    assert (spec.watermark, "--watermark" in spec.flags) == (0.0, False)


def test_tuning_pays_by_the_closed_form() -> None:
    """A tuned instance, or the default where that is best, never costs more per request."""
    default, tuned = (make(CHOICE, KNOWN, LONGEST) for make in (default_instance, tuned_instance))
    assert default is not None
    assert tuned is not None
    best = cheapest([tuned, default], KNOWN)
    assert best is not None
    assert usd_per_request(best) <= min(usd_per_request(tuned), usd_per_request(default))


@pytest.mark.parametrize(("vllm", "has"), [("0.33", True), ("0.24", True), ("0.23", False), ("0.17", False)])
def test_flags_are_of_the_release(vllm: str, has: bool) -> None:  # noqa: FBT001 - a parameter
    """A release without --watermark is neither given nor credited one."""
    spec = tuned_instance(replace(CHOICE, vllm=vllm, tensor_parallel=(1,)), KNOWN, LONGEST)
    assert spec is not None
    assert ("--watermark" in spec.flags) is has
    assert (spec.watermark > 0.0) is has


def test_slots_are_whole_contexts() -> None:
    """KV over the longest context, never more than before, at least one; the flag says so once."""
    default = default_instance(CHOICE, KNOWN, LONGEST)
    assert default is not None
    slots = slots_instance(default)
    assert slots.max_num_seqs == default.kv_blocks * BLOCK_TOKENS // LONGEST
    assert slots.flags[slots.flags.index("--max-num-seqs") + 1] == str(slots.max_num_seqs)
    assert slots.flags.count("--max-num-seqs") == 1
    assert slots_instance(replace(default, max_model_len=10**9)).max_num_seqs == 1
    assert slots_instance(replace(default, max_model_len=16)).max_num_seqs == default.max_num_seqs
    assert slots_instance(replace(default, flags=())).flags == ("--max-num-seqs", str(slots.max_num_seqs))


def test_none_starts_where_nothing_fits() -> None:
    """A 70B model on one small GPU."""
    small = Choice(CATALOG.model("llama-3-70b"), (CATALOG.gpu("rtx4090"),), (1,), "0.33")
    assert default_instance(small, KNOWN, LONGEST) is None
    assert tuned_instance(small, KNOWN, LONGEST) is None


def test_the_cheapest_of_those_that_keep_the_objective() -> None:
    """A free instance that cannot keep it loses to a dear one that can; where none can, saturated rates decide."""
    good = default_instance(CHOICE, KNOWN, LONGEST)
    assert good is not None
    slow_steps = replace(good.steps, dense_s=good.steps.dense_s + 1.0)
    slow = replace(good, usd_per_hour=good.usd_per_hour / 1000, steps=slow_steps)
    assert cheapest([slow, good], KNOWN) is good
    assert cheapest([good, replace(good, usd_per_hour=99.0)], Capacities(LENGTHS, replace(SLO, tpot_s=1e-6))) is good
    assert cheapest([], KNOWN) is None


def test_a_version_that_is_none_is_refused() -> None:
    """It is not taken for a GPU that does not fit."""
    with pytest.raises(ConfigurationError, match="version"):
        tuned_instance(replace(CHOICE, vllm="new"), KNOWN, LONGEST)


def test_sequences_are_tuned_on_the_instances_own_gpu() -> None:
    """Where one GPU's name ends in another's: a tuned GH200 is no H200, in whatever order they are given."""
    gpus = tuple(CATALOG.gpu(name) for name in ("h200", "gh200"))
    instances = [instance_of(CHOICE.model, gpu, 1, max_model_len=LONGEST) for gpu in gpus]
    for given in (gpus, gpus[::-1]):
        found = [_with_sequences(instance, replace(CHOICE, gpus=given), 64) for instance in instances]
        assert [(spec.name, spec.max_num_seqs) for spec in found] == [("1x h200", 64), ("1x gh200", 64)]
