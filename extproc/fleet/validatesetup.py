"""The instance that a recorded run describes; knows what meta.json says and the catalogue, no request."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Dtype, Gpu, Model
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.profile import has_profile, steps_from_profile
from extproc.fleet.hardware.versions import LATEST, defaults, parsed
from extproc.fleet.recordedengine import Engine
from extproc.fleet.recording import Recording
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec, StepTimes

_GIB = 2.0**30
_RESERVES_FULL_SEQUENCE = (0, 19)
_ASYNC_SCHEDULING = (0, 14)
"""Releases from which both are vLLM's defaults (0.14's release notes; the other was recorded with 0.19.0)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What was simulated, and what that rests on."""

    instance: InstanceSpec
    instances: int
    gpu: str
    model: str
    vllm: str
    async_scheduling: bool
    profiled: bool
    """Step times from the directory's kernel times, not from data sheets."""
    blocks_recorded: bool


def set_up(recording: Recording, *, gpu: str | None, model: str | None, profile: bool) -> Setup:
    """The instance that meta.json describes; what it leaves out takes the default of that vLLM release.

    Raises:
        ConfigurationError: GPU or model are not named or not known, or the engine is of a kind not modelled.
    """
    engine = recording.engine
    _refuse_unmodelled(engine, recording.directory)
    used_gpu, used_model = _gpu(engine, gpu), _model(engine, model)
    vllm = engine.vllm or LATEST
    by_default = defaults(vllm, used_gpu)
    tokens = engine.max_num_batched_tokens or by_default.max_num_batched_tokens
    profiled = profile and _profiled(engine, used_model, recording.directory)
    limits = _Limits(tokens, min(engine.max_num_seqs or by_default.max_num_seqs, tokens))
    steps = _profiled_steps(recording.directory, used_model, limits) if profiled else None
    instance = instance_of(
        used_model,
        used_gpu,
        engine.tensor_parallel_size,
        max_model_len=_context(engine, used_model),
        max_num_seqs=limits.sequences,
        max_num_batched_tokens=limits.tokens,
        vllm=vllm,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        watermark=engine.watermark,
        prefix_caching=engine.prefix_caching,
        blocks=engine.kv_blocks,
        steps=steps,
    )
    reserves = _by_release(engine.reserve_full_sequence, vllm, _RESERVES_FULL_SEQUENCE)
    return Setup(
        instance=replace(instance, reserve_full_sequence=reserves),
        instances=engine.data_parallel_size,
        gpu=used_gpu.name,
        model=used_model.name,
        vllm=vllm,
        async_scheduling=_by_release(engine.async_scheduling, vllm, _ASYNC_SCHEDULING),
        profiled=profiled,
        blocks_recorded=engine.kv_blocks is not None,
    )


class _Limits(NamedTuple):
    """Of one step."""

    tokens: int
    sequences: int


def _profiled(engine: Engine, model: Model, directory: Path) -> bool:
    """Whether there are kernel times of all that a step does: they hold neither all-reduce nor experts."""
    return engine.tensor_parallel_size == 1 and model.experts is None and has_profile(directory)


def _profiled_steps(directory: Path, model: Model, limits: _Limits) -> StepTimes:
    return steps_from_profile(
        directory, layers=model.layers, max_num_batched_tokens=limits.tokens, max_num_seqs=limits.sequences
    )


def _refuse_unmodelled(engine: Engine, directory: Path) -> None:
    if engine.pipeline_parallel_size > 1:
        raise ConfigurationError(
            f"{directory / 'meta.json'}: pipeline parallelism is not modelled, only tensor and data."
        )
    if engine.speculative:
        raise ConfigurationError(f"{directory / 'meta.json'}: speculative decoding is not modelled.")


def _gpu(engine: Engine, wanted: str | None) -> Gpu:
    """A named one as it is; a recorded one with the memory that its driver reported."""
    name = wanted or engine.device
    if name is None:
        raise ConfigurationError("meta.json names no device_name: give --gpu.")
    found = builtin().gpu(name)
    if wanted is None and engine.memory_bytes:
        return found.model_copy(update={"memory_gib": engine.memory_bytes / _GIB})
    return found


def _model(engine: Engine, wanted: str | None) -> Model:
    """With weights, KV and experts as the engine had them."""
    name = wanted or engine.model
    if name is None:
        raise ConfigurationError("meta.json names no model: give --model.")
    found = builtin().model(name)
    dtype, kv_dtype = _dtype(engine.quantization), _dtype(engine.kv_cache_dtype)
    found = found.model_copy(update={"dtype": dtype or found.dtype, "kv_dtype": kv_dtype or found.kv_dtype})
    return _experts_shared(found, engine.data_parallel_size)


def _experts_shared(model: Model, engines: int) -> Model:
    """As one data-parallel engine sees it: each GPU has its part of all experts, and computes it for all engines.

    A part of every expert for `engines` times the tokens is the same work as parts of that many times more experts for
    each token. vLLM cuts experts over all engines whether by width or, with expert parallelism, by number.
    """
    if model.experts is None or engines == 1:
        return model
    experts = model.experts
    active = min(experts.count, experts.active * engines)
    width = max(1, round(experts.intermediate * experts.active / active))
    return model.model_copy(update={"experts": experts.model_copy(update={"active": active, "intermediate": width})})


def _dtype(spelt: str | None) -> Dtype | None:
    """A format that vLLM names, as the catalogue has it; None for those that change nothing."""
    word = (spelt or "").lower()
    for part, dtype in _DTYPES.items():
        if part in word:
            return dtype
    return None


_DTYPES: dict[str, Dtype] = {"mxfp4": "mxfp4", "fp8": "fp8", "awq": "int4", "gptq": "int4"}


def _context(engine: Engine, model: Model) -> int:
    """Never more than the recorded blocks hold, for such an engine would not have started."""
    wanted = engine.max_model_len or model.max_context
    return min(wanted, engine.kv_blocks * BLOCK_TOKENS) if engine.kv_blocks else wanted


def _by_release(recorded: bool | None, vllm: str, since: tuple[int, int]) -> bool:  # noqa: FBT001 - three states
    return parsed(vllm) >= since if recorded is None else recorded
