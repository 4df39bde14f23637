from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recordedengine import Engine
from extproc.fleet.recording import Recording, Requests
from extproc.fleet.validatesetup import Setup, set_up

H100 = Engine(model="Qwen/Qwen3-32B", device="NVIDIA H100 80GB HBM3", vllm="0.19.0", tensor_parallel_size=2)
MIXTURE = replace(H100, model="Qwen/Qwen3-30B-A3B", tensor_parallel_size=1)


def setup(
    engine: Engine,
    *,
    gpu: str | None = None,
    model: str | None = None,
    directory: Path = Path("run"),
    profile: bool = True,
) -> Setup:
    """Of a run with such an engine and no requests."""
    nothing = Requests(*(np.zeros(0) for _ in Requests._fields))  # type: ignore[arg-type]  # none of either kind
    return set_up(Recording(directory, engine, nothing, None, 0), gpu=gpu, model=model, profile=profile)


def test_what_is_not_recorded_takes_the_releases_default() -> None:
    """On an H100: 8,192 tokens and 1,024 sequences in a step, blocks by the account of its memory."""
    found = setup(H100)
    assert (found.gpu, found.model, found.instance.gpus) == ("h100-80gb", "qwen3-32b", 2)
    assert (found.instance.max_num_batched_tokens, found.instance.max_num_seqs) == (8192, 1024)
    assert found.instance.max_model_len == 40_960
    assert not found.blocks_recorded
    assert found.instance.kv_blocks > 10_000
    assert found.async_scheduling
    assert found.instance.reserve_full_sequence
    assert not found.profiled


def test_what_is_recorded_counts() -> None:
    """Limits, blocks, watermark and switches."""
    recorded = replace(
        H100,
        max_model_len=4096,
        max_num_seqs=32,
        max_num_batched_tokens=2048,
        kv_blocks=1234,
        watermark=0.01,
        async_scheduling=False,
        reserve_full_sequence=False,
        prefix_caching=False,
    )
    found = setup(recorded)
    instance = found.instance
    assert (instance.max_model_len, instance.max_num_seqs, instance.max_num_batched_tokens) == (4096, 32, 2048)
    assert (instance.kv_blocks, instance.watermark, instance.prefix_caching) == (1234, 0.01, False)
    assert (found.async_scheduling, instance.reserve_full_sequence, found.blocks_recorded) == (False, False, True)


def test_older_releases_schedule_otherwise() -> None:
    """0.13 does neither by default."""
    found = setup(replace(H100, vllm="0.13.0"))
    assert (found.async_scheduling, found.instance.reserve_full_sequence) == (False, False)


def test_memory_is_what_the_driver_reported() -> None:
    """Two gibibytes more are more blocks; a GPU that was named by the caller keeps its own."""
    more = replace(H100, memory_bytes=81.2 * 2**30)
    assert setup(more).instance.kv_blocks > setup(H100).instance.kv_blocks
    assert setup(more, gpu="h100").instance.kv_blocks == setup(H100).instance.kv_blocks


def test_fewer_bits_are_more_blocks() -> None:
    """Of weights, and again of KV."""
    plain, weights, both = (
        setup(replace(H100, quantization=quantization, kv_cache_dtype=kv)).instance.kv_blocks
        for quantization, kv in ((None, "auto"), ("fp8", "auto"), ("fp8", "fp8_e4m3"))
    )
    assert plain < weights < both


def test_data_parallel_engines_share_their_experts() -> None:
    """Half the experts' weights on each GPU leave room for KV; a step of one token reads no more than before."""
    alone, pair = setup(MIXTURE), setup(replace(MIXTURE, data_parallel_size=2))
    assert pair.instances == 2
    assert pair.instance.kv_blocks > 1.4 * alone.instance.kv_blocks
    assert pair.instance.steps.dense_s[1] == pytest.approx(alone.instance.steps.dense_s[1], rel=0.1)
    assert pair.instance.steps.dense_s[256] < 0.8 * alone.instance.steps.dense_s[256]


def test_dense_models_are_not_shared() -> None:
    """Each engine has all of its own."""
    one, two = (setup(replace(H100, data_parallel_size=count)).instance for count in (1, 2))
    assert one.kv_blocks == two.kv_blocks


def test_files_describe_what_the_catalogue_does_not_know(tmp_path: Path) -> None:
    """A GPU and a model of a user's own, for a run that names neither."""
    gpu, model = tmp_path / "gpu.yaml", tmp_path / "model.yaml"
    gpu.write_text("name: big\nmemory_gib: 141\nbandwidth_tb_s: 4.8\nbf16_tflops: 989\n")
    model.write_text("name: tiny\nlayers: 2\nhidden: 512\nheads: 8\nkv_heads: 8\nintermediate: 1024\nvocab: 32000\n")
    found = setup(Engine(), gpu=str(gpu), model=str(model))
    assert (found.gpu, found.model) == ("big", "tiny")


def test_a_context_beyond_the_recorded_blocks_is_cut() -> None:
    """Such an engine would not have started: what meta.json leaves out was less."""
    assert setup(replace(H100, kv_blocks=100)).instance.max_model_len == 1600


@pytest.mark.parametrize(
    ("engine", "complaint"),
    [
        (replace(H100, device=None), "names no device_name: give --gpu"),
        (replace(H100, model=None), "names no model: give --model"),
        (replace(H100, device="Abacus 9"), "--gpu also takes a YAML file"),
        (replace(H100, model="acme/oracle-1"), "--model also takes a YAML file"),
        (replace(H100, pipeline_parallel_size=2), "pipeline parallelism is not modelled"),
        (replace(H100, speculative=True), "speculative decoding is not modelled"),
        (replace(H100, tensor_parallel_size=1, max_model_len=40_960, model="llama-3-70b"), "does not fit"),
    ],
)
def test_what_cannot_be_simulated_is_refused(engine: Engine, complaint: str) -> None:
    """With what would do."""
    with pytest.raises(ConfigurationError, match=complaint):
        setup(engine)


def test_a_release_that_is_not_told_is_the_latest() -> None:
    """And it is said."""
    found = setup(replace(H100, vllm="main"))
    assert found.vllm == "0.33"
    assert "recorded release main: taken as the latest known, 0.33" in found.remarks
    assert setup(H100).remarks == ()


def test_what_ran_did_fit() -> None:
    """Without a recorded count the context ends at the computed blocks, which hold the longest request that ended."""
    tight = replace(H100, model="llama-3.1-8b", device="NVIDIA GeForce RTX 4090", tensor_parallel_size=1)
    found = setup(replace(tight, max_model_len=131_072)).instance
    assert found.max_model_len == 16 * found.kv_blocks < 131_072
    one = np.ones(1)
    long = Requests(one, np.array([50_000]), np.array([1000]), one, one, one, one)
    held = set_up(Recording(Path("run"), tight, long, None, 0), gpu=None, model=None, profile=True).instance
    assert held.kv_blocks == 51_008 // 16


def test_bytes_of_kv_that_were_given() -> None:
    """64 layers of 4 heads of 128 in bf16 on each of two GPUs are 131,072 bytes a token."""
    assert setup(replace(H100, kv_cache_bytes=131_072 * 16 * 1000.0)).instance.kv_blocks == 1000


def test_nccl_where_vllms_own_all_reduce_is_off() -> None:
    """Steps of few tokens are longer by what NCCL takes to begin, 128 times."""
    own, nccl = (setup(replace(H100, custom_all_reduce=each)).instance.steps.dense_s[1] for each in (True, False))
    assert 128 * 3e-6 < nccl - own < 128 * 10e-6


def test_long_prompts_are_held_back_as_recorded() -> None:
    """By the tokens of a step that the engine gave one of them."""
    assert setup(replace(H100, long_prefill_token_threshold=512)).instance.long_prefill_token_threshold == 512


def test_what_is_not_simulated_is_said() -> None:
    """What the engine was told to do, and prompts that it found in its cache."""
    engine = replace(H100, not_simulated=("enforce_eager",))
    nothing = Requests(*(np.zeros(0) for _ in Requests._fields))  # type: ignore[arg-type]  # none of either kind
    recording = Recording(Path("run"), engine, nothing, None, 0, prefix_hits=True)
    remarks = set_up(recording, gpu=None, model=None, profile=True).remarks
    assert remarks == ("recorded enforce_eager: not simulated", "recorded prefix hits between requests: not simulated")


def kernel_times(directory: Path) -> None:
    """Of a model whose every operator takes 1 µs a token and 10 more."""
    points = (1, 64, 2048)
    dense = [f"qkv_proj,{tokens},{tokens + 10}" for tokens in points]
    ends = [f"lm_head,{count},{100 + count}" for count in (1, 64)]
    decode = [f"0,0,{count},{kv},{5 + 0.001 * count * kv}" for count in (1, 8, 64) for kv in (16, 256, 4096)]
    prefill = [f"{chunk},{kv},0,0,{5 + 1e-5 * chunk * (kv + chunk / 2)}" for chunk in (16, 512) for kv in (0, 4096)]
    for name, header, rows in (
        ("dense", "layer,tokens,time_us", dense),
        ("per_sequence", "layer,sequences,time_us", ends),
        ("attention", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", decode + prefill),
    ):
        (directory / f"profile_{name}.csv").write_text("\n".join([header, *rows]) + "\n")


def test_kernel_times_take_the_place_of_data_sheets(tmp_path: Path) -> None:
    """Unless they are not wanted; 32 layers of one operator at 2,048 tokens are 32 × 2,058 µs and attention's least."""
    kernel_times(tmp_path)
    single = replace(H100, model="llama-3.1-8b", tensor_parallel_size=1, max_num_batched_tokens=2048)
    measured, modelled = (setup(single, directory=tmp_path, profile=wanted) for wanted in (True, False))
    assert (measured.profiled, modelled.profiled) == (True, False)
    assert measured.instance.steps.dense_s[2048] == pytest.approx(32 * 2058e-6, rel=0.02)
    assert modelled.instance.steps.dense_s[2048] == pytest.approx(setup(single).instance.steps.dense_s[2048])


@pytest.mark.parametrize("engine", [H100, MIXTURE])
def test_kernel_times_must_hold_all_that_a_step_does(engine: Engine, tmp_path: Path) -> None:
    """There is no all-reduce in them, and no experts."""
    kernel_times(tmp_path)
    assert not setup(engine, directory=tmp_path).profiled


def test_kernel_times_are_of_what_was_recorded(tmp_path: Path) -> None:
    """Named again they count; for another card, another model or a description they do not, and it is said."""
    kernel_times(tmp_path)
    single = replace(H100, model="llama-3.1-8b", tensor_parallel_size=1, max_num_batched_tokens=2048)
    card = tmp_path / "card.yaml"
    card.write_text("name: h100-80gb\nbandwidth_tb_s: 3.3\n")
    assert setup(single, directory=tmp_path, gpu="h100", model="meta-llama/Llama-3.1-8B").profiled
    for given in ({"gpu": "h200"}, {"model": "qwen3-8b"}, {"gpu": str(card)}):
        found = setup(single, directory=tmp_path, **given)  # type: ignore[arg-type]
        assert not found.profiled
        assert any("kernel times of this directory: not used" in remark for remark in found.remarks)


def test_kernel_times_that_are_not_there(tmp_path: Path) -> None:
    """An empty file is remarked, and the data sheet counts."""
    kernel_times(tmp_path)
    (tmp_path / "profile_dense.csv").write_text("")
    single = replace(H100, model="llama-3.1-8b", tensor_parallel_size=1)
    found = setup(single, directory=tmp_path)
    assert not found.profiled
    assert "a file is missing or empty" in found.remarks[0]
