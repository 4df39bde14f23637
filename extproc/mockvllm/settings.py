"""Everything that can be chosen about one mock instance; knows vLLM's option names and nothing of HTTP or the engine.

A field is named as vLLM names its option. Fields that vLLM has no option for are the mock's own and say so.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from extproc.errors import ConfigurationError
from extproc.mockvllm.faults import NO_FAULTS, Faults

BLOCK_TOKENS = 16
"""Tokens in one KV block: vLLM's default block_size."""

DEFAULT_NUM_GPU_BLOCKS = 28_000
"""KV blocks of an 8B model with 8 KV heads in bf16 on one 80 GB GPU: 0.92 of 79 GiB, less 15 GiB of weights and about
2.3 GiB of overhead, over 128 KiB a token and 16 tokens a block."""

Version = tuple[int, int]
"""Major and minor release of vLLM."""

_SINCE = {
    "max_num_queued_reqs": (0, 29),
    "max_num_queued_tokens": (0, 29),
    "sse_keep_alive_interval_s": (0, 30),
    "enable_force_include_usage": (0, 9),
}
"""The first release that has an option; setting it on an older version is an error, as it is there."""


class TokenizerName(StrEnum):
    """Vocabularies to count with; each brings its own chat template."""

    LLAMA3 = "llama3"
    QWEN3 = "qwen3"


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """One mock instance. Raises ConfigurationError where the values cannot go together."""

    name: str = "mock"
    """The mock's own: sent as `x-mock-instance` with every response."""
    vllm_version: str = "0.33.0"
    """The mock's own: whose overflow rules, error bodies and metric names to show."""
    served_model_name: str | None = None
    """The one model served; others get 404. None, unlike vLLM, takes every name."""
    max_model_len: int = 131_072
    max_num_seqs: int = 1024
    """vLLM's default on a GPU of 70 GiB and more."""
    max_num_batched_tokens: int = 8192
    """vLLM's API server default on a GPU of 70 GiB and more."""
    num_gpu_blocks_override: int | None = None
    """KV blocks of 16 tokens; None takes those of an 8B model on one 80 GB GPU, or enough for `max_model_len`."""
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    enable_force_include_usage: bool = False
    enable_request_id_headers: bool = False
    enable_server_load_tracking: bool = False
    sse_keep_alive_interval_s: float | None = None
    stream_interval: int = 1
    """Tokens in one streamed chunk."""
    api_key: str | None = field(default=None, repr=False)
    tokenizer: TokenizerName = TokenizerName.LLAMA3
    speed: float = 1.0
    """The mock's own: model seconds in one real second; 0 means instant, no sleeping at all."""
    seed: int = 0
    """The mock's own: decides the length and the text of every answer."""
    mean_output_tokens: int = 128
    """The mock's own: mean length of an answer that nothing cuts short."""
    faults: Faults = NO_FAULTS
    """The mock's own: faults of every request that names none itself."""

    def __post_init__(self) -> None:
        """Refuse what vLLM would refuse at start."""
        self._check_positive()
        self._check_version()
        if self.kv_capacity_tokens < self.max_model_len:
            raise ConfigurationError(
                f"num_gpu_blocks_override holds {self.kv_capacity_tokens} tokens, less than one request of "
                f"max_model_len={self.max_model_len}: raise it, or lower max_model_len."
            )

    @property
    def version(self) -> Version:
        """Major and minor release, for comparing."""
        found = re.match(r"v?(\d+)\.(\d+)", self.vllm_version)
        if found is None:
            raise ConfigurationError("vllm_version must look like 0.33.0.")
        return int(found[1]), int(found[2])

    @property
    def model(self) -> str:
        """The name that /v1/models and the metrics show."""
        return self.served_model_name or "mock-model"

    @property
    def num_gpu_blocks(self) -> int:
        """KV blocks of the pool, of which vLLM keeps one as the null block."""
        if self.num_gpu_blocks_override is not None:
            return self.num_gpu_blocks_override
        return max(DEFAULT_NUM_GPU_BLOCKS, -(-self.max_model_len // BLOCK_TOKENS) + 1)

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens the KV pool can hold."""
        return (self.num_gpu_blocks - 1) * BLOCK_TOKENS

    def _check_positive(self) -> None:
        names = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "stream_interval", "mean_output_tokens")
        for name in names:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1.")
        if self.speed < 0:
            raise ConfigurationError("speed must be 0 (instant) or a positive factor.")
        if self.sse_keep_alive_interval_s is not None and self.sse_keep_alive_interval_s <= 0:
            raise ConfigurationError("sse_keep_alive_interval must be positive.")

    def _check_version(self) -> None:
        version = self.version
        for name, since in _SINCE.items():
            if getattr(self, name) and version < since:
                raise ConfigurationError(
                    f"{name} exists since vLLM {since[0]}.{since[1]}; choose a newer vllm_version."
                )
