"""What a vLLM release does by default where the planner must know it; knows GPUs only by memory and name.

Releases are those whose source was read; a change is dated to the first release known to have it. Source of all:
vllm-project/vllm, `engine/arg_utils.py`, `config/cache.py` and `v1/worker/gpu_worker.py` of 0.17.1 to 0.33.0.
"""

import re
from typing import NamedTuple

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Gpu
from extproc.fleet.values import Overflow

LATEST = "0.33"
_FIRST = (0, 6)
"""The oldest whose rules were read; builds without a tag call themselves older."""
_RESERVES_FULL_SEQUENCE = (0, 19)
"""First recorded with 0.19.0; 0.17.1 has no such gate."""
_UTILIZATION_092 = (0, 20)
_CUDA_GRAPHS_RESERVED = (0, 21)
_LARGE_TIER = (0, 25)
_CLAMPS = (0, 32)
_LARGE_GIB = 160.0
_DATACENTRE_GIB = 70.0


class Defaults(NamedTuple):
    """What an operator gets who sets nothing."""

    max_num_batched_tokens: int
    max_num_seqs: int
    gpu_memory_utilization: float
    reserves_cuda_graphs: bool
    """Whether memory for CUDA graphs is estimated and kept before the KV cache is sized."""
    overflow: Overflow
    reserve_full_sequence: bool
    """Whether a request is admitted only if all of its tokens fit (scheduler_reserve_full_isl)."""


def defaults(version: str, gpu: Gpu) -> Defaults:
    """Of `vllm serve` of this release on this GPU.

    Raises:
        ConfigurationError: the version cannot be read.
    """
    release = parsed(version)
    tokens, sequences = _batch(release, gpu)
    return Defaults(
        max_num_batched_tokens=tokens,
        max_num_seqs=sequences,
        gpu_memory_utilization=0.92 if release >= _UTILIZATION_092 else 0.90,
        reserves_cuda_graphs=release >= _CUDA_GRAPHS_RESERVED,
        overflow=Overflow.CLAMP if release >= _CLAMPS else Overflow.REJECT,
        reserve_full_sequence=release >= _RESERVES_FULL_SEQUENCE,
    )


def parsed(version: str) -> tuple[int, int]:
    """Major and minor of a release such as `0.33`, `v0.19.0` or `0.19.1rc2`.

    Raises:
        ConfigurationError: it is no such thing.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\D|$)", version.strip())
    if match is None:
        raise ConfigurationError(f"vLLM version {version!r} cannot be read: expected one such as 0.33 or 0.19.0.")
    return int(match[1]), int(match[2])


def settled(recorded: str | None) -> str:
    """The release that a record stands for: one that names none (`unknown`, `main`, `0.1.dev1+g…`) is of the latest."""
    try:
        return recorded if recorded is not None and parsed(recorded) >= _FIRST else LATEST
    except ConfigurationError:
        return LATEST


def _batch(release: tuple[int, int], gpu: Gpu) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs of the API server by the memory class of the GPU."""
    if release >= _LARGE_TIER and gpu.memory_gib >= _LARGE_GIB:
        return 16_384, 1024
    if gpu.memory_gib >= _DATACENTRE_GIB and "a100" not in gpu.name:
        return 8192, 1024
    return 2048, 256
