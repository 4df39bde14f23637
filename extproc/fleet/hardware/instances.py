"""Puts a model, a GPU and vLLM's defaults together as an instance, and names the flags that start it."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.checkpoints import checkpoint
from extproc.fleet.hardware.entries import Dtype, Gpu, Model
from extproc.fleet.hardware.memory import Placement, check_context, kv_blocks
from extproc.fleet.hardware.steptime import step_times
from extproc.fleet.hardware.versions import LATEST, defaults
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec, Overflow, StepTimes

_API_S = 0.0156
"""From arrival to the scheduler (BLIS, inference-sim, 15 runs of vLLM 0.15 on H100)."""


LONG_PREFILL_FLAG = "--long-prefill-token-threshold"


def instance_of(
    model: Model,
    gpu: Gpu,
    tp: int,
    *,
    max_model_len: int,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    vllm: str = LATEST,
    gpu_memory_utilization: float | None = None,
    kv_cache_dtype: Dtype | None = None,
    watermark: float = 0.0,
    long_prefill_token_threshold: int = 0,
    overflow: Overflow | None = None,
    max_queued_requests: int | None = None,
    prefix_caching: bool = False,
    api_s: float = _API_S,
    blocks: int | None = None,
    steps: StepTimes | None = None,
    custom_all_reduce: bool = True,
) -> InstanceSpec:
    """One instance as vLLM of this release sets it up; what is None takes vLLM's own default.

    Args:
        model: what it serves.
        gpu: what it runs on.
        tp: GPUs, by tensor parallelism.
        max_model_len: the longest context, tokens.
        max_num_seqs: sequences in a step.
        max_num_batched_tokens: tokens in a step.
        vllm: release, such as `0.33`.
        gpu_memory_utilization: share of memory that vLLM may use.
        kv_cache_dtype: `fp8` halves the KV; None keeps the model's.
        watermark: share of blocks kept free at admission.
        long_prefill_token_threshold: most tokens of a step for one prompt while others are there; 0 for no bound.
        overflow: what becomes of too long requests; by release where None.
        max_queued_requests: above which a request gets 503.
        prefix_caching: whether KV of equal prefixes is reused.
        api_s: from a request's arrival to the scheduler.
        blocks: of KV, where vLLM reported them; computed where None.
        steps: measured step times; modelled where None.
        custom_all_reduce: whether GPUs add up by vLLM's own kernel; by NCCL where not.

    Raises:
        ConfigurationError: vLLM would refuse to start so.
    """
    model = model.model_copy(update={"kv_dtype": kv_cache_dtype}) if kv_cache_dtype else model
    by_default = defaults(vllm, gpu)
    batched = max_num_batched_tokens or by_default.max_num_batched_tokens
    sequences = min(max_num_seqs or by_default.max_num_seqs, batched)
    utilization = gpu_memory_utilization or by_default.gpu_memory_utilization
    _check(max_model_len, batched, sequences, utilization, watermark)
    place = Placement(model, gpu, tp, utilization, batched, sequences, by_default.reserves_cuda_graphs)
    fitting = kv_blocks(place) if blocks is None else blocks
    check_context(place, max_model_len, fitting)
    return InstanceSpec(
        max_model_len=max_model_len,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        kv_blocks=fitting,
        steps=steps
        or step_times(
            model,
            gpu,
            tp,
            max_num_batched_tokens=batched,
            max_num_seqs=sequences,
            custom_all_reduce=custom_all_reduce,
        ),
        gpus=tp,
        usd_per_hour=tp * gpu.usd_per_hour,
        watermark=watermark,
        long_prefill_token_threshold=long_prefill_token_threshold,
        overflow=overflow or by_default.overflow,
        reserve_full_sequence=by_default.reserve_full_sequence,
        max_queued_requests=max_queued_requests,
        prefix_caching=prefix_caching,
        api_s=api_s,
        name=f"{tp}x {gpu.name}",
        flags=_flags(place, max_model_len, watermark, long_prefill_token_threshold, max_queued_requests),
    )


@dataclass(frozen=True, slots=True)
class Published:
    """Constants of the published planner for one profile: an iteration of n sequences takes W + H · (mean/8192) · n.

    Source: vllm-project/semantic-router, fleet-sim, its hand-set profiles (arXiv 2604.08075 uses the A100's slots).
    """

    name: str
    weights_s: float
    """W."""
    sequence_s: float
    """H, for a sequence of 8,192 tokens."""
    chunk_tokens: int
    """Prompt tokens that each sequence prefills in one iteration."""
    kv_blocks: int
    slots_at_8k: int
    usd_per_hour: float

    def slots(self, max_model_len: int) -> int:
        """Sequences of an instance: KV over the longest context, and never more than the profile's own cap."""
        by_kv = self.kv_blocks // ceil(max_model_len / BLOCK_TOKENS)
        return min(self.slots_at_8k * 8192 // max_model_len, by_kv)

    def iteration_s(self, mean_tokens: float, sequences: float) -> float:
        """One iteration of this many sequences of this mean length (prompt and output)."""
        return self.weights_s + self.sequence_s * mean_tokens / 8192 * sequences

    def service_s(self, prompt_tokens: float, output_tokens: float, mean_tokens: float, sequences: float) -> float:
        """All iterations of one request, ⌈prompt/chunk⌉ + output of them, beside a full instance."""
        iterations = ceil(prompt_tokens / self.chunk_tokens) + output_tokens
        return iterations * self.iteration_s(mean_tokens, sequences)


PUBLISHED = {
    published.name: published
    for published in (
        Published("a100-80gb", 8.0e-3, 0.65e-3, 512, 65_536, 128, 2.21),
        Published("h100-80gb", 4.0e-3, 0.32e-3, 1024, 65_536, 128, 4.02),
        Published("a10g", 12.0e-3, 0.90e-3, 256, 32_768, 64, 1.01),
    )
}


def published_instance(max_model_len: int, profile: str = "a100-80gb") -> InstanceSpec:
    """The published planner's instance: slots for the longest context and its own step time, priced as one GPU.

    Every sequence may prefill a chunk in the same step, so the token budget is the slots' chunks together; a lone
    prompt is therefore read faster here than in `Published.service_s`, which the published tables follow.

    Raises:
        ConfigurationError: no constants of this profile were published.
    """
    if profile not in PUBLISHED:
        raise ConfigurationError(f"No constants of {profile} were published; there are {', '.join(PUBLISHED)}.")
    published = PUBLISHED[profile]
    slots = published.slots(max_model_len)
    budget = slots * published.chunk_tokens
    steps = StepTimes(
        dense_s=np.full(budget + 1, published.weights_s),
        sequences_s=np.zeros(slots + 1),
        kv_s=published.sequence_s / 8192,
        pair_s=0.0,
        earlier_s=published.sequence_s / 8192,
    )
    return InstanceSpec(
        max_model_len=max_model_len,
        max_num_seqs=slots,
        max_num_batched_tokens=budget,
        kv_blocks=published.kv_blocks,
        steps=steps,
        usd_per_hour=published.usd_per_hour,
        name=f"{profile} as published",
    )


def _check(max_model_len: int, batched: int, sequences: int, utilization: float, watermark: float) -> None:
    if min(max_model_len, batched, sequences) < 1:
        raise ConfigurationError("--max-model-len, --max-num-batched-tokens and --max-num-seqs must be at least 1.")
    if not 0.0 < utilization <= 1.0:
        raise ConfigurationError(f"--gpu-memory-utilization {utilization} must be above 0 and at most 1.")
    if not 0.0 <= watermark < 1.0:
        raise ConfigurationError(f"--watermark {watermark} must be at least 0 and below 1.")


def _flags(
    place: Placement, max_model_len: int, watermark: float, long_prefill_tokens: int, max_queued_requests: int | None
) -> tuple[str, ...]:
    flags = [checkpoint(place.model)]
    flags += ["--tensor-parallel-size", str(place.tp), "--max-model-len", str(max_model_len)]
    flags += ["--max-num-seqs", str(place.max_num_seqs)]
    flags += ["--max-num-batched-tokens", str(place.max_num_batched_tokens)]
    flags += ["--gpu-memory-utilization", f"{place.gpu_memory_utilization:g}"]
    if place.model.kv_dtype == "fp8":
        flags += ["--kv-cache-dtype", "fp8"]
    if place.model.quantized_at_start:
        flags += ["--quantization", place.model.dtype]
    if watermark:
        flags += ["--watermark", f"{watermark:g}"]
    if long_prefill_tokens:
        flags += [LONG_PREFILL_FLAG, str(long_prefill_tokens)]
    if max_queued_requests is not None:
        flags += ["--max-num-queued-reqs", str(max_queued_requests)]
    return tuple(flags)
