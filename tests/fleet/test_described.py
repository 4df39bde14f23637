from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.asked import CatalogFlags
from extproc.fleet.described import FleetFlags
from extproc.routing.values import Pool

KNOWN = CatalogFlags()


def described(**flags: object) -> FleetFlags:
    """Instances of the smallest model on one GPU each."""
    return FleetFlags(known=KNOWN, model="llama-3-8b", tensor_parallel=1, **flags)  # type: ignore[arg-type]


def test_the_short_pool_holds_the_threshold_unless_it_is_said_to_hold_more() -> None:
    """Its context decides what may spill to it, and how far a threshold may rise."""
    flags = {"short": 2, "long": 1, "threshold_tokens": 2048}
    short, long = described(**flags).pools()
    assert (short.pool, short.instances, short.instance.max_model_len) == (Pool.SHORT, 2, 2048)
    assert long.instance.max_model_len == 65_536
    assert described(**flags, short_max_model_len=4096).pools()[0].instance.max_model_len == 4096


def test_one_pool_has_the_longest_context() -> None:
    """Whatever the threshold."""
    (pool,) = described(instances=3, max_model_len=8192).pools()
    assert (pool.pool, pool.instances, pool.instance.max_model_len) == (Pool.LONG, 3, 8192)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"instances": 1, "short": 1}, "--instances is for one pool"),
        ({"short": 1}, "how many instances"),
        ({"short": 1, "long": 1, "max_model_len": 8192}, "must be below the long pool's"),
        ({"short": 1, "long": 1, "short_max_model_len": 4096}, "must hold --threshold 8192"),
        ({"instances": 1, "max_num_seqs": 0}, "--max-num-seqs 0 must be at least 1"),
        ({"instances": 1, "max_num_batched_tokens": 0}, "--max-num-batched-tokens 0 must be at least 1"),
        ({"short": 1, "long": 1, "short_max_num_seqs": 0}, "--short-max-num-seqs 0 must be at least 1"),
        ({"instances": 1, "gpu_memory_utilization": 0.0}, "--gpu-memory-utilization 0 is a share"),
        ({"instances": 1, "max_queued_requests": -1}, "--max-num-queued-reqs -1 must be 0 or more"),
    ],
)
def test_contradictions_are_refused(flags: dict[str, Any], complaint: str) -> None:
    """In the words of the flags."""
    with pytest.raises(ConfigurationError, match=complaint):
        described(**flags).pools()


def test_pools_may_have_gpus_and_settings_of_their_own() -> None:
    """The short one's where given, else those of both; weights and KV in fp8 leave more blocks, and flags say so."""
    short, long = described(short=1, long=1, short_gpu="l40s", max_num_seqs=64, short_max_num_seqs=32).pools()
    assert (short.instance.name, long.instance.name) == ("1x l40s", "1x a100-80gb")
    assert (short.instance.max_num_seqs, long.instance.max_num_seqs) == (32, 64)
    (small,) = described(instances=1, quantization="fp8", kv_cache_dtype="fp8").pools()
    assert small.instance.kv_blocks > 2 * long.instance.kv_blocks
    assert {"--quantization", "--kv-cache-dtype"} <= set(small.instance.flags)
