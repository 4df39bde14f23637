"""What a validation assumes where neither the recording nor a file says it, in sentences; knows no request.

What a GPU's file leaves out is taken from the catalogue's entry of the recorded device, if the file can be of that.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin, is_file, unknown
from extproc.fleet.hardware.entries import Dtype, Gpu, Model
from extproc.fleet.hardware.quantization import kv_of, weights_of
from extproc.fleet.hardware.shapes import assumptions
from extproc.fleet.recordedengine import Engine

_GIB = 2.0**30
_OF_WEIGHTS_ALONE: set[Dtype] = {"int4", "w8a16"}
"""Formats of one and the same method, such as gptq_marlin, which is recorded without its bits."""
_MEMORY_LIKENESS, _BANDWIDTH_LIKENESS, _RATE_LIKENESS = 0.12, 0.15, 0.3
"""How far figures of one and the same card lie apart: ECC, editions, boost clocks, rates of another accumulation."""
_FILLED = (
    "fp8_tflops",
    "interconnect",
    "interconnect_gb_s",
    "memory",
    "measured_tflops",
    "bandwidth_efficiency",
    "usd_per_hour",
)


class Assumed(NamedTuple):
    """A GPU, and what was assumed of it."""

    gpu: Gpu
    remarks: tuple[str, ...]


def gpu_of(engine: Engine, wanted: str | Gpu | None) -> Assumed:
    """The GPU that was asked for, or recorded.

    Raises:
        ConfigurationError: neither names one, it is not known, or what was recorded is only a part of it.
    """
    recorded = builtin().find_gpu(engine.device) if engine.device else None
    if wanted is None:
        return _recorded(engine, recorded)
    found = builtin().gpu(wanted) if isinstance(wanted, str) else wanted
    remarks = list(found.remarks)
    named = isinstance(wanted, str) and not is_file(wanted)
    if recorded is not None and not named and _alike(found, recorded):
        left_out = [key for key in _FILLED if key not in found.model_fields_set and getattr(recorded, key) is not None]
        if left_out:
            found = found.model_copy(update={key: getattr(recorded, key) for key in left_out})
            said = ", ".join(key for key in left_out if key != "usd_per_hour")
            remarks += [f"{said}: left out in the file, taken from the catalogue's {recorded.name}"] if said else []
    elif recorded is not None and not named and _alike(found, recorded, but="rate"):
        remarks.append(
            f"bf16_tflops {found.bf16_tflops:g}: the catalogue's {recorded.name} has {recorded.bf16_tflops:g}, dense"
        )
    if not named and (recorded is None or _alike(found, recorded)):
        found = _with_capability(engine, found)
    return Assumed(found, tuple(remarks))


def remarks_of(gpu: Gpu, model: Model, engine: Engine) -> Iterator[str]:
    """What a speed rests on that nobody said."""
    if gpu.interconnect is None and engine.tensor_parallel_size > 1:
        yield f"link between GPUs: {gpu.link} at {gpu.link_gb_s:g} GB/s assumed, since the file names none"
    if gpu.memory is None:
        yield f"kind of memory: {'HBM' if gpu.has_hbm else 'GDDR'} assumed by its bandwidth"
    if "fp8" in {model.dtype, model.experts and model.experts.dtype} and gpu.fp8_tflops is None:
        yield "8-bit rate: none is given, weights are widened to bf16"
    if gpu.measured_tflops is None:
        yield "best 16-bit product: 0.85 of the data sheet's rate assumed"
    if gpu.capability is None and not gpu.source:
        kernels = "FlashAttention 3 or newer" if gpu.packs_heads else "FlashAttention 2"
        yield f"attention kernels: {kernels} assumed, since no compute capability is recorded"
    yield from assumptions(model)


def model_of(engine: Engine, wanted: str | None) -> Model:
    """The model, with weights and KV as the engine had them.

    Raises:
        ConfigurationError: none is named or known, or its format is not.
    """
    names = [name for name in (engine.model, engine.served_model) if name]
    if wanted is None and not names:
        raise ConfigurationError("meta.json names no model: give --model.")
    found = builtin().model(wanted) if wanted else builtin().recorded_model(*names)
    if found is None:
        raise unknown(names[0], builtin().models, Model)
    kv_dtype = kv_of(engine.kv_cache_dtype) or found.kv_dtype
    return found.model_copy(update={"dtype": _weights(engine, found, wanted, names), "kv_dtype": kv_dtype})


def _weights(engine: Engine, model: Model, wanted: str | None, names: list[str]) -> Dtype:
    """As recorded; where the record's word leaves it open, as the file says."""
    if not engine.quantization:
        return model.dtype
    try:
        found = weights_of(engine.quantization, names) or model.dtype
    except ConfigurationError:
        if wanted and "dtype" in model.model_fields_set:
            return model.dtype
        raise
    if wanted and {found, model.dtype} == _OF_WEIGHTS_ALONE:
        return model.dtype
    of_experts = model.experts is not None and model.experts.dtype == found
    return model.dtype if of_experts else found


def _recorded(engine: Engine, recorded: Gpu | None) -> Assumed:
    """With the memory that its driver reported."""
    if engine.device is None:
        raise ConfigurationError("meta.json names no device_name: give --gpu.")
    if recorded is None:
        raise unknown(engine.device, builtin().gpus, Gpu)
    if engine.memory_bytes is None:
        return Assumed(_with_capability(engine, recorded), ())
    memory_gib = engine.memory_bytes / _GIB
    if not _near(memory_gib, recorded.memory_gib, _MEMORY_LIKENESS):
        raise ConfigurationError(
            f"{engine.device} reports {memory_gib:.1f} GiB, and the catalogue's {recorded.name} has "
            f"{recorded.memory_gib:g}: it is another card, or a part of one. Describe it with --gpu."
        )
    return Assumed(_with_capability(engine, recorded.model_copy(update={"memory_gib": memory_gib})), ())


def _with_capability(engine: Engine, gpu: Gpu) -> Gpu:
    if engine.capability is None or gpu.capability is not None:
        return gpu
    return gpu.model_copy(update={"capability": engine.capability})


def _alike(gpu: Gpu, recorded: Gpu, *, but: Literal["rate"] | None = None) -> bool:
    """Whether both can be of one card, their rates perhaps aside."""
    memory_alike = _near(gpu.memory_gib, recorded.memory_gib, _MEMORY_LIKENESS)
    bandwidth_alike = _near(gpu.bandwidth_tb_s, recorded.bandwidth_tb_s, _BANDWIDTH_LIKENESS)
    rates_alike = but == "rate" or _near(gpu.bf16_tflops, recorded.bf16_tflops, _RATE_LIKENESS)
    return memory_alike and bandwidth_alike and rates_alike


def _near(one: float, other: float, likeness: float) -> bool:
    return abs(one / other - 1) <= likeness
