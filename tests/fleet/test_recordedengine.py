from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recordedengine import Engine, engine_of


def engine(**meta: Any) -> Engine:
    """Of a meta.json with these keys."""
    return engine_of(meta, "meta.json")


def test_nothing_said_is_no_mistake() -> None:
    """An empty meta.json leaves everything to defaults."""
    assert engine() == Engine()


def test_what_was_resolved_counts_more_than_what_was_asked() -> None:
    """An argument may be -1 or differ from what vLLM made of it."""
    found = engine(
        engine_kwargs={"max_model_len": -1, "max_num_seqs": 512, "dtype": "bfloat16"},
        resolved_config={"model_config": {"max_model_len": 8192}, "scheduler_config": {"max_num_seqs": 256}},
    )
    assert (found.max_model_len, found.max_num_seqs) == (8192, 256)


def test_arguments_alone_are_enough() -> None:
    """Without a resolved configuration and null sections the arguments count."""
    found = engine(
        model="Qwen/Qwen3-32B",
        vllm_version="0.19.0",
        engine_kwargs={"tensor_parallel_size": 2, "max_num_batched_tokens": 4096, "kv_cache_dtype": "fp8"},
        resolved_config=None,
        hardware={"device_name": "NVIDIA H100 80GB HBM3", "device_total_memory_bytes": 85_000_000_000},
    )
    assert (found.model, found.vllm, found.device) == ("Qwen/Qwen3-32B", "0.19.0", "NVIDIA H100 80GB HBM3")
    assert (found.tensor_parallel_size, found.max_num_batched_tokens, found.kv_cache_dtype) == (2, 4096, "fp8")
    assert found.memory_bytes == 85e9


@pytest.mark.parametrize(
    ("kv_cache", "parallel", "blocks"),
    [
        ({"num_gpu_blocks": 2588, "block_size": 16}, 1, 2588),
        ({"num_gpu_blocks": 1000, "block_size": 32}, 1, 2000),
        ({"num_gpu_blocks": 5000}, 2, 2500),
        ({"num_gpu_blocks": None, "num_kv_tokens": 41_408}, 1, 2588),
        ({"num_gpu_blocks": None}, 1, None),
    ],
)
def test_blocks_are_of_one_engine_and_of_16_tokens(kv_cache: dict[str, Any], parallel: int, blocks: int | None) -> None:
    """VLLM adds up those of data-parallel engines, and a block may be larger."""
    assert engine(kv_cache=kv_cache, engine_kwargs={"data_parallel_size": parallel}).kv_blocks == blocks


def test_switches_keep_their_third_state() -> None:
    """What is not recorded is left to the release."""
    found = engine(
        resolved_config={"scheduler_config": {"async_scheduling": False, "scheduler_reserve_full_isl": None}}
    )
    assert found.async_scheduling is False
    assert found.reserve_full_sequence is None


def test_speculation_is_seen() -> None:
    """A configuration of it is more than null."""
    assert engine(resolved_config={"speculative_config": {"method": "ngram"}}).speculative
    assert not engine(resolved_config={"speculative_config": None}).speculative


def test_no_number_is_named() -> None:
    """Where a figure should stand."""
    with pytest.raises(ConfigurationError, match="max_num_seqs is 'many'; expected a number"):
        engine(engine_kwargs={"max_num_seqs": "many"})


def test_a_cache_format_that_was_resolved_counts() -> None:
    """`auto` in the arguments says nothing beside it."""
    resolved = {"cache_config": {"cache_dtype": "fp8_e4m3"}}
    assert engine(engine_kwargs={"kv_cache_dtype": "auto"}, resolved_config=resolved).kv_cache_dtype == "fp8_e4m3"
    assert engine(engine_kwargs={"kv_cache_dtype": "auto"}).kv_cache_dtype is None


@pytest.mark.parametrize(("said", "capability"), [("8.9", 8.9), ([9, 0], 9.0), (None, None), ("new", None)])
def test_compute_capability(said: Any, capability: float | None) -> None:
    """As a text or a pair."""
    assert engine(hardware={"device_capability": said}).capability == capability


def test_all_reduce_and_bytes_of_kv() -> None:
    """Both from wherever they stand."""
    found = engine(
        resolved_config={"parallel_config": {"disable_custom_all_reduce": True}},
        kv_cache={"num_gpu_blocks": None, "kv_cache_memory_bytes": 4_000_000_000},
    )
    assert (found.custom_all_reduce, found.kv_cache_bytes) == (False, 4e9)
    assert engine().custom_all_reduce


def test_what_the_simulation_does_not_know() -> None:
    """One word for each; what is off or as usual is none."""
    usual = {"scheduler_config": {"policy": "fcfs", "enable_chunked_prefill": True, "long_prefill_token_threshold": 0}}
    assert engine(resolved_config=usual, engine_kwargs={"enforce_eager": False}).not_simulated == ()
    other = {
        "scheduler_config": {
            "policy": "priority",
            "enable_chunked_prefill": False,
            "long_prefill_token_threshold": 512,
        },
        "lora_config": {"max_loras": 1},
        "parallel_config": {"decode_context_parallel_size": 2},
    }
    assert engine(resolved_config=other).long_prefill_token_threshold == 512
    assert engine(resolved_config=other, engine_kwargs={"enforce_eager": True}).not_simulated == (
        "enforce_eager",
        "enable_chunked_prefill false",
        "scheduling policy priority",
        "lora_config",
        "decode_context_parallel_size 2",
    )
