"""The instance that a recorded run describes; knows what meta.json says and the catalogue, no request."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import NamedTuple

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin, is_file
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.memory import Placement, kv_blocks, kv_bytes_per_token
from extproc.fleet.hardware.profile import has_profile, steps_from_profile
from extproc.fleet.hardware.versions import defaults, parsed, settled
from extproc.fleet.recordedengine import Engine
from extproc.fleet.recording import Recording
from extproc.fleet.validateassumed import gpu_of, model_of, remarks_of
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec, StepTimes

_ASYNC_SCHEDULING = (0, 14)
"""The release from which it is vLLM's default (0.14's release notes)."""


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
    remarks: tuple[str, ...] = ()
    """What was assumed, and what was recorded but is not simulated; a sentence each."""


def set_up(recording: Recording, *, gpu: str | Gpu | None, model: str | None, profile: bool) -> Setup:
    """The instance that meta.json describes; what it leaves out takes the default of that vLLM release.

    Raises:
        ConfigurationError: GPU or model are not named or not known, or the engine is of a kind not modelled.
    """
    engine = recording.engine
    _refuse_unmodelled(engine, recording.directory)
    used_gpu, remarks = gpu_of(engine, gpu)
    named_model = model_of(engine, model)
    used_model = _experts_shared(named_model, engine.data_parallel_size)
    vllm = settled(engine.vllm)
    limits = _limits(engine, used_gpu, vllm)
    measured = _Measured(engine, named_model, recording.directory, gpu, model)
    profiled = profile and measured.usable
    blocks = _blocks(recording, used_model, used_gpu, limits, vllm)
    instance = instance_of(
        used_model,
        used_gpu,
        engine.tensor_parallel_size,
        max_model_len=min(engine.max_model_len or used_model.max_context, blocks * BLOCK_TOKENS),
        max_num_seqs=limits.sequences,
        max_num_batched_tokens=limits.tokens,
        vllm=vllm,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        watermark=engine.watermark,
        long_prefill_token_threshold=engine.long_prefill_token_threshold,
        prefix_caching=engine.prefix_caching,
        blocks=blocks,
        steps=_profiled_steps(recording.directory, used_model, limits) if profiled else None,
        custom_all_reduce=engine.custom_all_reduce,
    )
    if engine.reserve_full_sequence is not None:
        instance = replace(instance, reserve_full_sequence=engine.reserve_full_sequence)
    of_speed = () if profiled else (*remarks, *remarks_of(used_gpu, used_model, engine))
    return Setup(
        instance=instance,
        instances=engine.data_parallel_size,
        gpu=used_gpu.name,
        model=used_model.name,
        vllm=vllm,
        async_scheduling=_by_release(engine.async_scheduling, vllm, _ASYNC_SCHEDULING),
        profiled=profiled,
        blocks_recorded=engine.kv_blocks is not None,
        remarks=(
            *of_speed,
            *_of_vllm(engine, vllm),
            *((measured.why_not,) if profile and not profiled and measured.why_not else ()),
            *(f"recorded {what}: not simulated" for what in _unsimulated(recording)),
        ),
    )


class _Limits(NamedTuple):
    """Of one step."""

    tokens: int
    sequences: int


def _limits(engine: Engine, gpu: Gpu, vllm: str) -> _Limits:
    by_default = defaults(vllm, gpu)
    tokens = engine.max_num_batched_tokens or by_default.max_num_batched_tokens
    return _Limits(tokens, min(engine.max_num_seqs or by_default.max_num_seqs, tokens))


class _Measured:
    """The kernel times of a run's directory, and whether they are of what is simulated."""

    def __init__(
        self, engine: Engine, model: Model, directory: Path, gpu: str | Gpu | None, wanted_model: str | None
    ) -> None:
        # They hold neither all-reduce nor experts.
        complete = engine.tensor_parallel_size == 1 and model.experts is None and model.latent is None
        has = has_profile(directory)
        same = _names_recorded(engine, gpu, wanted_model)
        self.usable = complete and has and same
        self.why_not = ""
        if has and not same:
            self.why_not = "kernel times of this directory: not used, since --gpu or --model say what it ran on"
        elif has and not complete:
            self.why_not = "kernel times of this directory: not used, they hold neither all-reduce nor experts"
        elif not has and any(directory.glob("profile_*.csv")):
            self.why_not = "kernel times of this directory: not used, a file is missing or empty"


def _names_recorded(engine: Engine, gpu: str | Gpu | None, model: str | None) -> bool:
    """Whether what was asked for is what was recorded: a name of the same entry, never a file, which has its own."""
    known = builtin()
    recorded_gpu = known.find_gpu(engine.device or "")
    recorded_model = known.recorded_model(engine.model or "", engine.served_model or "")
    named_gpu = known.find_gpu(gpu) if isinstance(gpu, str) and not is_file(gpu) else None
    same_gpu = gpu is None or (named_gpu is not None and named_gpu == recorded_gpu)
    named_model = known.find_model(model) if model is not None and not is_file(model) else None
    return same_gpu and (model is None or (named_model is not None and named_model == recorded_model))


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


def _blocks(recording: Recording, model: Model, gpu: Gpu, limits: _Limits, vllm: str) -> int:
    """Of one engine: as recorded, or of the bytes that were given to it, or computed.

    What was computed is never less than the longest request that came to its end: the engine held it.
    """
    engine = recording.engine
    if engine.kv_blocks:
        return engine.kv_blocks
    if engine.kv_cache_bytes:
        return int(engine.kv_cache_bytes // (kv_bytes_per_token(model, engine.tensor_parallel_size) * BLOCK_TOKENS))
    by_default = defaults(vllm, gpu)
    utilization = engine.gpu_memory_utilization or by_default.gpu_memory_utilization
    graphs = by_default.reserves_cuda_graphs
    place = Placement(model, gpu, engine.tensor_parallel_size, utilization, *limits, reserves_cuda_graphs=graphs)
    return max(kv_blocks(place), ceil(recording.requests.longest_tokens / BLOCK_TOKENS))


def _of_vllm(engine: Engine, vllm: str) -> list[str]:
    """Whether the release was told."""
    if engine.vllm == vllm:
        return []
    recorded = f"recorded release {engine.vllm}" if engine.vllm else "no release recorded"
    return [f"{recorded}: taken as the latest known, {vllm}"]


def _unsimulated(recording: Recording) -> list[str]:
    # What a preempted request finds of its own prompt is simulated.
    hits = ["prefix hits between requests"] if recording.prefix_hits else []
    return [*recording.engine.not_simulated, *hits]


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


def _by_release(recorded: bool | None, vllm: str, since: tuple[int, int]) -> bool:  # noqa: FBT001 - three states
    return parsed(vllm) >= since if recorded is None else recorded
