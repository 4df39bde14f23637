from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.asked import (
    CatalogFlags,
    PlanFlags,
    TrafficFlags,
    context_notes,
    context_of,
    short_share,
    slo_of,
)
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.workload import Lengths

LENGTHS = Lengths(np.array([100, 1000, 9000]), np.array([10, 10, 10]), np.array([10, 2000, 10]), np.full(3, 1 / 3))


def test_who_asks_for_nothing_gets_an_answer() -> None:
    """The traffic, model and GPU of the published method, at 1,000 requests per second."""
    options = PlanFlags(TrafficFlags(), CatalogFlags()).options()
    assert (options.workload.name, options.model.name, options.gpus[0].name) == (
        "azure-2023", "llama-3-70b", "a100-80gb",
    )  # fmt: skip
    assert options.rate_per_s == 1000.0
    assert options.max_model_len == 65_536


def test_a_trace_has_its_own_rate(tmp_path: Path) -> None:
    """Unless another is wanted."""
    trace = tmp_path / "trace.jsonl"
    rows = [f'{{"timestamp": {500 * at}, "input_length": 100, "output_length": 10}}' for at in range(20)]
    trace.write_text("\n".join(rows))
    assert TrafficFlags(trace=trace).workload().rate_per_s == pytest.approx(2.0, rel=0.05)
    assert TrafficFlags(trace=trace, rate_per_s=7.0).workload().rate_per_s == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("content", "flag", "other"),
    [
        ("[[100, 0.5], [200, 1.0]]", "trace", "cdf"),
        ('{"prompt_tokens": 5, "completion_tokens": 3}', "cdf", "trace"),
        ("ContextTokens,GeneratedTokens\n5,3\n", "cdf", "trace"),
    ],
)
def test_a_file_under_the_wrong_flag_names_the_right_one(content: str, flag: str, other: str, tmp_path: Path) -> None:
    """Requests are not taken for a distribution, whose times are lost, nor the reverse."""
    path = tmp_path / "file"
    path.write_text(content)
    flags = {"trace": TrafficFlags(trace=path, rate_per_s=5.0), "cdf": TrafficFlags(cdf=path, rate_per_s=5.0)}
    with pytest.raises(ConfigurationError, match=f"give it with --{other}"):
        flags[flag].workload()
    assert flags[other].workload().name == "file"


def test_several_logs_are_one_workload(tmp_path: Path) -> None:
    """At the rate of all of them together."""
    logs = tuple(tmp_path / name for name in ("one.jsonl", "two.jsonl"))
    for at, log in enumerate(logs):
        lines = (f'{{"arrival_s": {2 * row + at}, "prompt_tokens": 9, "completion_tokens": 1}}' for row in range(10))
        log.write_text("\n".join(lines))
    workload = TrafficFlags(logs=logs).workload()
    assert (workload.name, workload.rate_per_s) == ("one.jsonl and 1 more", 1.0)


def test_times_are_milliseconds() -> None:
    """In either spelling; what is not given stays."""
    assert slo_of(("ttft:1500",), tpot_ms=40).ttft_s == 1.5
    assert slo_of(("ttft:1500",), tpot_ms=40).tpot_s == 0.04
    assert slo_of(percentile=95).percentile == 95
    assert slo_of(ttft_ms_per_token=0.53).ttft_s_per_token == pytest.approx(0.00053)
    with pytest.raises(ConfigurationError, match="above 0"):
        slo_of(ttft_ms=0)
    with pytest.raises(ConfigurationError, match="--ttft-per-token -1 must be 0 or more"):
        slo_of(ttft_ms_per_token=-1)
    with pytest.raises(ConfigurationError, match="between 0 and 100"):
        slo_of(percentile=100)


def test_the_context_is_the_worst_case_unless_given() -> None:
    """65,536 by default, whatever the model was made for."""
    assert context_of(None) == 65_536
    assert context_of(131_072) == 131_072
    with pytest.raises(ConfigurationError, match="at least 1"):
        context_of(0)


def test_what_does_not_fit_is_said() -> None:
    """A context beyond the model's, and requests beyond the context."""
    model = builtin().model("llama-3-70b")
    assert context_notes(model, 8192, LENGTHS)[0].startswith("33 % of requests do not fit 8,192 tokens")
    notes = context_notes(model, 16_384, LENGTHS)
    assert len(notes) == 1
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in notes[0]


def test_what_is_assumed_of_a_model_is_said() -> None:
    """Beside every answer about it."""
    (note,) = context_notes(builtin().model("gemma-3-27b"), 16_384, LENGTHS)
    assert note.startswith("gemma-3-27b: windows of 1,024 tokens in 52 of 62 layers are counted as if all was kept")
    (note,) = context_notes(builtin().model("qwen3-32b-awq"), 16_384, LENGTHS)
    assert note.endswith("name your own in place of YOUR-CHECKPOINT.")


def test_the_short_share_is_by_true_budget() -> None:
    """What is declared is reserved in full."""
    assert short_share(LENGTHS, 2048) == pytest.approx(1 / 3)
    assert short_share(LENGTHS, 3000) == pytest.approx(2 / 3)


def test_models_are_served_as_flags_say() -> None:
    """Weights and KV as vLLM is told; `auto` and nothing keep the entry's own."""
    known = CatalogFlags()
    plain = known.served("llama-3-8b")
    assert (plain.dtype, plain.kv_dtype) == ("bf16", "bf16")
    assert known.served("llama-3-8b", kv_cache_dtype="auto") == plain
    small = known.served("llama-3-8b", quantization="fp8", kv_cache_dtype="fp8")
    assert (small.dtype, small.kv_dtype, small.quantized_at_start) == ("fp8", "fp8", True)


def test_only_sixteen_bits_are_quantised_at_the_start() -> None:
    """A checkpoint in fp8 needs no flag, and vLLM refuses it beside any other format."""
    known = CatalogFlags()
    assert not known.served("Qwen/Qwen3-32B-FP8", quantization="fp8").quantized_at_start
    for name in ("Qwen/Qwen3-32B-AWQ", "gpt-oss-20b", "nvidia/Llama-3.1-8B-Instruct-FP4"):
        with pytest.raises(ConfigurationError, match=r"--quantization fp8 is for 16-bit weights, and .* has them in"):
            known.served(name, quantization="fp8")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"promise": 0.7}, "--promise 0.7 must be above 0 and at most 0.5"),
        ({"max_num_seqs": 0}, "--max-num-seqs 0 must be at least 1"),
        ({"thresholds": (1024, -5)}, "--threshold -5 must be at least 1"),
        ({"tensor_parallel": (0,)}, "--tensor-parallel-size 0 must be at least 1"),
    ],
)
def test_impossible_numbers_are_refused(flags: dict[str, Any], complaint: str) -> None:
    """In the words of the flag; 0 is not taken for nothing given."""
    with pytest.raises(ConfigurationError, match=complaint):
        PlanFlags(TrafficFlags(), CatalogFlags(), **flags).options()
