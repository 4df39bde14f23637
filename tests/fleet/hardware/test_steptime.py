import numpy as np
import pytest

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.fitted import CONSTANTS
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.memory import kv_bytes_per_token
from extproc.fleet.hardware.steptime import captured, layers_s, step_times
from extproc.fleet.recording import Requests
from extproc.fleet.replay import replay
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
    modelled = layers_s(model, builtin().gpu("rtx-4090"), 1, at)[0] - model.layers * CONSTANTS.attention_s
    assert 1e3 * modelled == pytest.approx(measured_ms, rel=0.05)


@pytest.mark.parametrize(
    ("rate", "prompt", "output", "batched", "texts", "measured_ms"),
    [
        (2.5, 547, 248, 8192, 45, 17.1),
        (6.0, 547, 248, 8192, 45, 18.8),
        (5.0, 566, 247, 2048, 44, 18.3),
        (10.0, 566, 247, 2048, 44, 20.4),
    ],
)
def test_inter_token_latency_of_h100(  # noqa: PLR0917 - columns of a table
    rate: float, prompt: int, output: int, batched: int, texts: int, measured_ms: float
) -> None:
    """Llama-3.1-70B on four H100, simulated, meets the inter-token latencies of vLLM 0.15.1 (BLIS) within 10 %.

    The load came at equal distances and repeated 45 or 44 prompts, which vLLM found in its cache from then on.
    """
    spec = instance_of(
        *(builtin().model("llama-3.1-70b"), builtin().gpu("h100"), 4),
        max_model_len=4096,
        max_num_seqs=128,
        max_num_batched_tokens=batched,
        vllm="0.15.1",
        prefix_caching=True,
    )
    count = round(40 * rate)
    unknown = np.full(count, np.nan)
    whole = (np.full(count, prompt), np.full(count, output))
    load = Requests(np.arange(count) / rate, *whole, unknown, unknown, unknown, unknown)
    found = replay(load, spec, texts=np.arange(count) % texts)
    times = (found.last_token_s - found.first_token_s)[max(texts, count // 3) : -count // 8] / (output - 1)
    assert 1e3 * times.mean() == pytest.approx(measured_ms, rel=0.10)


def test_one_sequence_on_a_smaller_a100() -> None:
    """Llama-3-8B on an A100-40GB writes about the 75 tokens a second that were published for vLLM 0.23."""
    times = steps("llama-3-8b", "a100-40gb")
    assert 1 / (times.dense_s[1] + times.sequences_s[1]) == pytest.approx(75, rel=0.1)


@pytest.mark.parametrize(
    ("gpu", "tokens", "measured_us"),
    [
        ("h100", 64, 444),
        ("h100", 512, 479),
        ("h100", 2048, 679),
        ("l40s", 64, 1536),
        ("l40s", 512, 1954),
        ("rtx-pro-6000-server", 64, 756),
        ("rtx-pro-6000-server", 512, 890),
        ("rtx-pro-6000-server", 2048, 1261),
    ],
)
def test_experts_of_one_layer(gpu: str, tokens: int, measured_us: float) -> None:
    """Qwen3-30B-A3B's experts come within 10 % of AIConfigurator's kernels of vLLM 0.24, routed by a power law."""
    model, at = builtin().model("qwen3-30b-a3b"), np.array([float(tokens)])
    assert model.experts is not None
    one = model.experts.model_copy(update={"count": 1, "active": 1, "intermediate": 1})
    without = model.model_copy(update={"experts": one})
    both = [layers_s(each, builtin().gpu(gpu), 1, at)[0] / model.layers for each in (model, without)]
    assert 1e6 * (both[0] - both[1] + CONSTANTS.expert_s) == pytest.approx(measured_us, rel=0.10)


def test_experts_on_h100() -> None:
    """Ten sequences of Qwen3-30B-A3B on an H100 meet the 13.18 ms a token of vLLM's pull request 23151 within 10 %."""
    times = steps("qwen3-30b-a3b", "h100")
    decode = times.dense_s[10] + times.sequences_s[10] + times.kv_s * 10 * (2048 + 512)
    prefill = times.dense_s[2058] - times.dense_s[10] + times.pair_s * 2048 * 1024
    assert 1e3 * decode / (1 - 0.73 * prefill) == pytest.approx(13.18, rel=0.10)


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "tokens", "measured_us"),
    [
        ("llama-3.1-70b", "h100", 4, 64, 12.6),
        ("llama-3.1-70b", "h100", 4, 2048, 173.7),
        ("llama-3.1-8b", "rtx-pro-6000-server", 2, 64, 17.6),
        ("llama-3.1-8b", "rtx-pro-6000-server", 2, 2048, 474.9),
        ("llama-3.1-8b", "rtx-pro-6000-server", 4, 2048, 886.9),
        ("llama-3.1-8b", "rtx-pro-6000-server", 8, 2048, 1274.5),
        ("llama-3.1-8b", "l40s", 2, 64, 32.1),
        ("llama-3.1-8b", "l40s", 2, 2048, 891.9),
    ],
)
def test_all_reduce(model: str, gpu: str, tp: int, tokens: int, measured_us: float) -> None:
    """One all-reduce comes within 20 % of those that AIConfigurator timed with vLLM's kernel, NVLink or PCIe."""
    chosen, at = builtin().model(model), np.array([float(tokens)])
    with_it, without = (layers_s(chosen, builtin().gpu(gpu), tp, at, all_reduce=each)[0] for each in (True, False))
    assert 1e6 * (with_it - without) / (2 * chosen.layers) == pytest.approx(measured_us, rel=0.20)


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "tokens", "measured_us"),
    [
        ("llama-3.1-70b", "h100", 2, 64, 14.7),
        ("llama-3.1-70b", "h100", 4, 512, 62.8),
        ("llama-3.1-70b", "h100", 4, 2048, 175.7),
        ("llama-3.1-70b", "h100", 8, 2048, 199.8),
        ("llama-3.1-8b", "rtx-pro-6000-server", 2, 256, 72.0),
        ("llama-3.1-8b", "rtx-pro-6000-server", 2, 2048, 473.5),
        ("llama-3.1-8b", "rtx-pro-6000-server", 4, 2048, 1007.7),
        ("llama-3.1-8b", "l40s", 2, 2048, 850.4),
    ],
)
def test_all_reduce_of_nccl(model: str, gpu: str, tp: int, tokens: int, measured_us: float) -> None:
    """With vLLM's own kernel off NCCL's times of AIConfigurator are met within 20 %, those of two H100 within 30."""
    chosen, card, at = builtin().model(model), builtin().gpu(gpu), np.array([float(tokens)])
    with_it, without = (
        layers_s(chosen, card, tp, at, all_reduce=each, custom_all_reduce=False)[0] for each in (True, False)
    )
    assert 1e6 * (with_it - without) / (2 * chosen.layers) == pytest.approx(
        measured_us, rel=0.30 if (gpu, tp) == ("h100", 2) else 0.20
    )


def test_latent_attention_reads_little_and_computes_much() -> None:
    """DeepSeek-V3's KV of a token is 61 layers of 576 numbers, on each of eight GPUs; heads compute with all of it."""
    model, gpu = builtin().model("deepseek-v3"), builtin().gpu("h200")
    assert kv_bytes_per_token(model, 8) == kv_bytes_per_token(model, 1) == 61 * 576 * 2
    whole, cut = steps("deepseek-v3", "h200", 1), steps("deepseek-v3", "h200", 8)
    assert cut.kv_s < whole.kv_s
    assert cut.kv_s >= 61 * 576 * 2 / (gpu.bandwidth_tb_s * 1e12)
    assert cut.mixed_kv_s == 0.0
    assert np.all(np.diff(cut.dense_s) >= -1e-12)


def test_cards_without_access_to_each_other_are_slower() -> None:
    """An all-reduce through host memory costs more than one over PCIe, and that more than NVLink's."""
    model, gpu, at = builtin().model("qwen3-32b"), builtin().gpu("rtx-pro-6000"), np.array([64.0])
    kinds = [gpu.model_copy(update={"interconnect": kind}) for kind in ("nvlink", "pcie", "host")]
    seconds = [layers_s(model, kind, 2, at)[0] for kind in kinds]
    assert seconds == sorted(seconds)


def test_prefill_slows_decode_where_attention_computes_in_tiles() -> None:
    """Beside prefill KV is read slower on a card with FlashAttention 2, as on the RTX 4090, and not on an H100."""
    ada, hopper = steps("llama-3.1-8b", "rtx-4090"), steps("llama-3.1-8b", "h100")
    assert ada.mixed_kv_s / 32 == pytest.approx(8.0e-9, rel=0.1)
    assert hopper.mixed_kv_s == 0.0


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
