"""What a recorded run's meta.json says of its engine; knows the names of fields, and neither GPUs nor requests.

A field counts wherever it stands: the resolved configuration says more than the arguments that were given, and either
may be missing. What is absent, null or not known here is no mistake.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.values import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class Engine:
    """What meta.json says of the engine; None where it says nothing."""

    model: str | None = None
    served_model: str | None = None
    """What clients called it."""
    device: str | None = None
    """As the driver calls it."""
    vllm: str | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_blocks: int | None = None
    """Of 16 tokens, of one engine."""
    kv_cache_bytes: float | None = None
    """Of one GPU, where it was given in place of a share of memory."""
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    prefix_caching: bool = True
    async_scheduling: bool | None = None
    reserve_full_sequence: bool | None = None
    watermark: float = 0.0
    long_prefill_token_threshold: int = 0
    speculative: bool = False
    memory_bytes: float | None = None
    """Of one GPU, as the driver reports it."""
    capability: float | None = None
    """CUDA compute capability."""
    custom_all_reduce: bool = True
    """Whether GPUs add up by vLLM's own kernel, not by NCCL."""
    tick_s: float | None = None
    """Distance of a time series' rows."""
    not_simulated: tuple[str, ...] = ()
    """What was set that changes how it ran, and that the simulation knows nothing of."""


def engine_of(meta: Mapping[str, Any], where: str) -> Engine:
    """What a meta.json says: the resolved configuration first, then the arguments that were given.

    Raises:
        ConfigurationError: a figure is not one.
    """
    found = _Meta(meta, where)
    parallel = max(1, found.whole("data_parallel_size") or 1)
    return Engine(
        model=found.text("model"),
        served_model=found.text("served_model_name"),
        device=found.text("device_name"),
        vllm=found.text("vllm_version"),
        tensor_parallel_size=found.whole("tensor_parallel_size") or 1,
        data_parallel_size=parallel,
        pipeline_parallel_size=found.whole("pipeline_parallel_size") or 1,
        max_model_len=found.whole("max_model_len"),
        max_num_seqs=found.whole("max_num_seqs"),
        max_num_batched_tokens=found.whole("max_num_batched_tokens"),
        gpu_memory_utilization=found.number("gpu_memory_utilization"),
        kv_blocks=_blocks(found, parallel),
        kv_cache_bytes=found.whole("kv_cache_memory_bytes"),
        quantization=found.text("quantization"),
        kv_cache_dtype=found.settled("cache_dtype") or found.settled("kv_cache_dtype"),
        prefix_caching=found.flag("enable_prefix_caching") is not False,
        async_scheduling=found.flag("async_scheduling"),
        reserve_full_sequence=found.flag("scheduler_reserve_full_isl"),
        watermark=found.number("watermark") or 0.0,
        long_prefill_token_threshold=found.whole("long_prefill_token_threshold") or 0,
        speculative=bool(found.first("speculative_config")),
        memory_bytes=found.number("device_total_memory_bytes"),
        capability=_capability(found.first("device_capability")),
        custom_all_reduce=found.flag("disable_custom_all_reduce") is not True,
        tick_s=found.number("tick_seconds"),
        not_simulated=tuple(_not_simulated(found)),
    )


class _Meta:
    """Looks a name up in the sections of a meta.json, wherever it stands."""

    def __init__(self, meta: Mapping[str, Any], where: str) -> None:
        resolved = _section(meta, "resolved_config")
        nested = [value for value in resolved.values() if isinstance(value, Mapping)]
        names = ("kv_cache", "engine_kwargs", "hardware")
        self._sections = [
            _section(meta, "kv_cache"),
            *nested,
            resolved,
            *(_section(meta, name) for name in names),
            meta,
        ]
        self._where = where

    def first(self, name: str) -> Any:
        """The first that is neither absent nor null."""
        return next((found for section in self._sections if (found := section.get(name)) is not None), None)

    def text(self, name: str) -> str | None:
        return next(
            (found for section in self._sections if isinstance(found := section.get(name), str) and found), None
        )

    def settled(self, name: str) -> str | None:
        """The first that is not left to vLLM."""
        texts = (found for section in self._sections if isinstance(found := section.get(name), str) and found)
        return next((text for text in texts if text.lower() != "auto"), None)

    def flag(self, name: str) -> bool | None:
        found = self.first(name)
        return found if isinstance(found, bool) else None

    def number(self, name: str) -> float | None:
        found = self.first(name)
        if found is None or found == "auto":
            return None
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self._where}: {name} is {found!r}; expected a number.") from error

    def whole(self, name: str) -> int | None:
        """A positive whole number; vLLM's −1 stands for what it settles itself."""
        found = self.number(name)
        return int(found) if found is not None and found > 0 else None


def _blocks(found: _Meta, parallel: int) -> int | None:
    """Blocks of one engine: vLLM's front end adds up those of all data-parallel ones (`v1/engine/utils.py`)."""
    blocks, block_tokens = found.whole("num_gpu_blocks"), found.whole("block_size") or BLOCK_TOKENS
    tokens = blocks * block_tokens if blocks else found.whole("num_kv_tokens")
    return tokens // parallel // BLOCK_TOKENS if tokens else None


def _capability(found: Any) -> float | None:
    """As `8.9`, or as a pair."""
    parts = [str(part) for part in found] if isinstance(found, (list, tuple)) else [str(found)]
    try:
        return float(".".join(parts))
    except ValueError:
        return None


def _not_simulated(found: _Meta) -> Iterator[str]:
    if found.flag("enforce_eager"):
        yield "enforce_eager"
    if found.flag("enable_chunked_prefill") is False:
        yield "enable_chunked_prefill false"
    if (policy := found.settled("policy") or found.settled("scheduling_policy")) not in {None, "fcfs"}:
        yield f"scheduling policy {policy}"
    for name in ("lora_config", "kv_transfer_config", "kv_offloading_size", "enable_dbo"):
        if found.first(name):
            yield name
    if (ranks := found.whole("decode_context_parallel_size") or 1) > 1:
        yield f"decode_context_parallel_size {ranks}"


def _section(meta: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = meta.get(name)
    return found if isinstance(found, Mapping) else {}
