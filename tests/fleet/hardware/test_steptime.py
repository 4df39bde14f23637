import numpy as np
import pytest

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.steptime import captured, layers_s, step_times
from extproc.fleet.values import StepTimes


def steps(model: str, gpu: str, tp: int = 1, batched: int = 8192, sequences: int = 256) -> StepTimes:
    """Step times of catalogue entries."""
    return step_times(
        builtin().model(model), builtin().gpu(gpu), tp, max_num_batched_tokens=batched, max_num_seqs=sequences
    )


def test_captured_sizes() -> None:
    """Steps are padded as vLLM pads them, up to 512 tokens."""
    padded = captured(np.array([0, 1, 3, 5, 9, 250, 257, 512, 513])).tolist()
    assert padded == [0, 1, 4, 8, 16, 256, 272, 512, 513]


@pytest.mark.parametrize(("tokens", "measured_ms"), [(1, 15.22), (32, 16.88), (64, 17.37), (512, 45.86), (2048, 181.1)])
def test_layers_of_the_rtx_4090(tokens: int, measured_ms: float) -> None:
    """The layers of Llama-3.1-8B come within 5 % of the kernel profile of LLMServingSim, which times no attention."""
    model, at = builtin().model("llama-3.1-8b"), np.array([float(tokens)])
    modelled = layers_s(model, builtin().gpu("rtx-4090"), 1, at)[0] - model.layers * 8e-6
    assert 1e3 * modelled == pytest.approx(measured_ms, rel=0.05)


@pytest.mark.parametrize(
    ("rate", "running", "prompt", "measured_ms"),
    [(2.5, 10.5, 447, 17.1), (6.0, 27.7, 447, 18.8), (5.0, 22.5, 466, 18.3), (10.0, 50.0, 466, 20.4)],
)
def test_inter_token_latency_of_h100(rate: float, running: float, prompt: int, measured_ms: float) -> None:
    """Llama-3.1-70B on four H100 meets the published inter-token latencies of vLLM 0.15.1 (BLIS) within 15 %."""
    times = steps("llama-3.1-70b", "h100", 4)
    batch = round(running)
    decode = times.dense_s[batch] + times.sequences_s[batch] + times.kv_s * running * (prompt + 100 + 124)
    prefill = times.dense_s[batch + prompt] - times.dense_s[batch] + times.pair_s * prompt * (100 + prompt / 2)
    assert 1e3 * decode / (1 - rate * prefill) == pytest.approx(measured_ms, rel=0.15)


def test_one_sequence_on_a_smaller_a100() -> None:
    """Llama-3-8B on an A100-40GB writes about the 75 tokens a second that were published for vLLM 0.23."""
    times = steps("llama-3-8b", "a100-40gb")
    assert 1 / (times.dense_s[1] + times.sequences_s[1]) == pytest.approx(75, rel=0.1)


def test_steps_never_shrink() -> None:
    """More tokens or sequences never make a step shorter, on any GPU of the catalogue."""
    for gpu in builtin().gpus:
        times = steps("qwen3-30b-a3b", gpu)
        assert np.all(np.diff(times.dense_s) >= -1e-12)
        assert np.all(np.diff(times.sequences_s) >= -1e-12)


def test_decode_is_flat_then_bends() -> None:
    """On an A100 a step of 64 tokens costs little more than one of 1, and one of 512 costs several times as much."""
    times = steps("llama-3-70b", "a100-80gb", 4)
    assert times.dense_s[64] < 1.2 * times.dense_s[1]
    assert times.dense_s[512] > 3 * times.dense_s[1]


def test_experts_are_read_as_tokens_need_them() -> None:
    """One token reads its own eight experts, hundreds read nearly all, and compute is that of the active ones."""
    sparse, dense = steps("qwen3-30b-a3b", "h100"), steps("qwen3-32b", "h100")
    assert sparse.dense_s[256] > 4 * sparse.dense_s[1]
    assert sparse.dense_s[8192] < 0.4 * dense.dense_s[8192]


def test_kv_is_shared_by_gpus_up_to_its_heads() -> None:
    """Tensor parallelism halves each GPU's KV until there is one head on each."""
    kv = [steps("qwen3-235b-a22b", "mi300x", tp).kv_s for tp in (2, 4, 8)]
    assert kv[0] == pytest.approx(2 * kv[1])
    assert kv[1] == pytest.approx(kv[2])


def test_corrections_scale() -> None:
    """A user's corrections scale what decodes and what prefills on their own."""
    model, gpu = builtin().model("llama-3-8b"), builtin().gpu("h100")
    corrections = gpu.corrections.model_copy(update={"decode_scale": 1.2, "prefill_scale": 1.5})
    mine = gpu.model_copy(update={"corrections": corrections})
    plain, scaled = (step_times(model, each, 1, max_num_batched_tokens=2048, max_num_seqs=8) for each in (gpu, mine))
    assert scaled.dense_s[8] == pytest.approx(1.2 * plain.dense_s[8])
    assert scaled.dense_s[2048] - scaled.dense_s[256] == pytest.approx(1.5 * (plain.dense_s[2048] - plain.dense_s[256]))
    assert (scaled.kv_s, scaled.pair_s) == pytest.approx((1.2 * plain.kv_s, 1.5 * plain.pair_s))
