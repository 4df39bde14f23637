"""What a recorded run's meta.json says of its engine; knows the names of fields, and neither GPUs nor requests.

A field counts wherever it stands: the resolved configuration says more than the arguments that were given, and either
may be missing. What is absent, null or not known here is no mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.values import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class Engine:
    """What meta.json says of the engine; None where it says nothing."""

    model: str | None = None
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
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    prefix_caching: bool = True
    async_scheduling: bool | None = None
    reserve_full_sequence: bool | None = None
    watermark: float = 0.0
    speculative: bool = False
    memory_bytes: float | None = None
    """Of one GPU, as the driver reports it."""


def engine_of(meta: Mapping[str, Any], where: str) -> Engine:
    """What a meta.json says: the resolved configuration first, then the arguments that were given.

    Raises:
        ConfigurationError: a figure is not one.
    """
    found = _Meta(meta, where)
    parallel = max(1, found.whole("data_parallel_size") or 1)
    return Engine(
        model=found.text("model"),
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
        quantization=found.text("quantization"),
        kv_cache_dtype=found.text("kv_cache_dtype") or found.text("cache_dtype"),
        prefix_caching=found.flag("enable_prefix_caching") is not False,
        async_scheduling=found.flag("async_scheduling"),
        reserve_full_sequence=found.flag("scheduler_reserve_full_isl"),
        watermark=found.number("watermark") or 0.0,
        speculative=bool(found.first("speculative_config")),
        memory_bytes=found.number("device_total_memory_bytes"),
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


def _section(meta: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = meta.get(name)
    return found if isinstance(found, Mapping) else {}
