"""Instances as an operator describes them to `dualpool simulate`, as pools; knows no traffic and no router."""

from dataclasses import dataclass, replace
from typing import TypeVar

from extproc.errors import ConfigurationError
from extproc.fleet import checks
from extproc.fleet.asked import GPU, MODEL, CatalogFlags, context_notes, context_of
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.versions import LATEST
from extproc.fleet.values import Balancing, Overflow, PoolSpec
from extproc.fleet.workload import Workload
from extproc.routing.values import Pool

_Common = TypeVar("_Common", int, int | None)


@dataclass(frozen=True, slots=True)
class FleetFlags:
    """Instances as an operator configures them; those of the short pool where it differs."""

    known: CatalogFlags
    instances: int | None = None
    """Of one pool; None where there are two."""
    short: int | None = None
    long: int | None = None
    threshold_tokens: int = 8192
    """And the longest context of the short pool, unless that is given."""
    short_max_model_len: int | None = None
    model: str = MODEL
    gpu: str = GPU
    short_gpu: str | None = None
    tensor_parallel: int = 8
    short_tensor_parallel: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    short_max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    short_max_num_batched_tokens: int | None = None
    long_prefill_token_threshold: int = 0
    gpu_memory_utilization: float | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    watermark: float = 0.0
    prefix_caching: bool = False
    max_queued_requests: int | None = None
    overflow: str | None = None
    vllm: str = LATEST
    balancing: str = Balancing.LEAST_REQUEST.value
    deaths_per_hour: float = 0.0

    def pools(self) -> tuple[PoolSpec, ...]:
        """One, or the short and the long one.

        Raises:
            ConfigurationError: they contradict each other, or vLLM would not start such an instance.
        """
        self._check()
        two = self.short is not None or self.long is not None
        if self.instances is not None and two:
            raise ConfigurationError("--instances is for one pool: give it, or --short and --long")
        if self.instances is not None:
            return (self._pool(Pool.LONG, self.instances),)
        if self.short is None or self.long is None:
            raise ConfigurationError("how many instances: give --short and --long, or --instances for one pool")
        if self.context() <= self.threshold_tokens:
            raise ConfigurationError(
                f"--threshold {self.threshold_tokens} must be below the long pool's --max-model-len {self.context()}"
            )
        if self.short_context() < self.threshold_tokens:
            raise ConfigurationError(
                f"--short-max-model-len {self.short_context()} must hold --threshold {self.threshold_tokens}"
            )
        return (self._pool(Pool.SHORT, self.short), self._pool(Pool.LONG, self.long))

    def context(self) -> int:
        """The longest."""
        return context_of(self.max_model_len)

    def short_context(self) -> int:
        """Of the short pool."""
        return _either(self.short_max_model_len, self.threshold_tokens)

    def notes(self, workload: Workload) -> tuple[str, ...]:
        """What to know of it."""
        return context_notes(self.known.catalog().model(self.model), self.context(), workload.lengths())

    def _check(self) -> None:
        given = {
            "--threshold": self.threshold_tokens,
            "--short-max-model-len": self.short_max_model_len,
            "--tensor-parallel-size": self.tensor_parallel,
            "--short-tensor-parallel-size": self.short_tensor_parallel,
            "--max-num-seqs": self.max_num_seqs,
            "--short-max-num-seqs": self.short_max_num_seqs,
            "--max-num-batched-tokens": self.max_num_batched_tokens,
            "--short-max-num-batched-tokens": self.short_max_num_batched_tokens,
        }
        checks.positive(given.items())
        if self.gpu_memory_utilization is not None:
            checks.share("--gpu-memory-utilization", self.gpu_memory_utilization)
        if self.long_prefill_token_threshold < 0:
            raise ConfigurationError(
                f"--long-prefill-token-threshold {self.long_prefill_token_threshold} must be 0, for none, or more"
            )
        if self.max_queued_requests is not None and self.max_queued_requests < 0:
            raise ConfigurationError(f"--max-num-queued-reqs {self.max_queued_requests} must be 0 or more")

    def _pool(self, pool: Pool, instances: int) -> PoolSpec:
        short = pool is Pool.SHORT
        gpu = self.known.chosen((self.gpu,) if self.short_gpu is None else (self.gpu, self.short_gpu))[
            -1 if short else 0
        ]
        spec = instance_of(
            self.known.served(self.model, quantization=self.quantization, kv_cache_dtype=self.kv_cache_dtype),
            gpu,
            _either(self.short_tensor_parallel if short else None, self.tensor_parallel),
            max_model_len=self.short_context() if short else self.context(),
            max_num_seqs=_either(self.short_max_num_seqs if short else None, self.max_num_seqs),
            max_num_batched_tokens=_either(
                self.short_max_num_batched_tokens if short else None, self.max_num_batched_tokens
            ),
            vllm=self.vllm,
            gpu_memory_utilization=self.gpu_memory_utilization,
            watermark=self.watermark,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            overflow=None if self.overflow is None else Overflow(self.overflow),
            max_queued_requests=self.max_queued_requests,
            prefix_caching=self.prefix_caching,
        )
        return PoolSpec(pool, instances, replace(spec, deaths_per_hour=self.deaths_per_hour), Balancing(self.balancing))


def _either(own: int | None, common: _Common) -> int | _Common:
    """The short pool's own value, if it is given."""
    return common if own is None else own
