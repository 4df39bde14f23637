"""Constants of the step-time model, each with its source; knows no formula.

`tools/fit_steps.py` prints what the layer profiles alone would make of the first four, and what error those in use
leave on these and on H100 decode, between which they stand (docs/hardware.md).
"""

from typing import NamedTuple


class Constants(NamedTuple):
    """What data sheets do not say."""

    gddr_efficiency: float = 0.95
    """Share of the data sheet's bandwidth that weights and KV are read at; RTX 4090 profile."""
    hbm_efficiency: float = 0.84
    """Likewise; between the A100 profile (0.74 to 0.80, an older stack) and H100 decode at TP 4."""
    product_share: float = 0.95
    """Rate of a layer's products over the best product measured on that GPU; RTX 4090 and A100 profiles."""
    knee: float = 3.0
    """How sharply reading weights turns into computing: (read^knee + compute^knee)^(1/knee); both profiles."""
    rows_slowdown: float = 0.10
    """Weights are read slower by this for many tokens, by half of it at 16: products of more rows use wider tiles. RTX
    4090 profile 0.11 at 64 tokens, A100 0.05 to 0.09."""
    kernel_s: float = 2.2e-6
    """The least that a small kernel inside a CUDA graph takes; RTX 4090 profile (norm 1.9, gate 2.6 µs)."""
    cache_gain: float = 2.0
    """Speed of small kernels over that of memory: what they read was written just before and is mostly in the L2 cache.
    RTX 4090 profile: gate 1.0 to 1.8, norm 2.4 to 3.7."""
    attention_s: float = 8e-6
    """The least that a layer's attention takes; RTX 4090 profile."""
    sequence_tokens: float = 45.0
    """Tokens of KV that a decoding sequence costs beyond its own: last blocks are read whole; RTX 4090 profile."""
    mixed_kv_share: float = 1.9
    """By how much reading KV of decoding sequences takes longer where a prefill is in the step, in the time it takes
    alone; RTX 4090 profile, taken for GPUs without HBM. H100 decode beside prefill shows none of it."""
    attention_share: float = 0.75
    """Rate of prefill attention over the best product measured; RTX 4090 profile 0.78, FlashAttention papers 0.7."""
    earlier_token_s: float = 2.0e-8
    """Per layer and token before a chunk: few query rows do not fill the GPU; RTX 4090 profile."""
    expert_bandwidth_share: float = 0.75
    """Reading experts against reading dense weights. Assumed: grouped products of few rows each; no public profile."""
    expert_product_share: float = 0.6
    """Computing in experts against dense products. Assumed likewise."""
    unmeasured_share: float = 0.80
    """Best product over the data sheet's rate where no measurement is known; median of those in the catalogue."""
    step_s: float = 2.0e-4
    """What a step costs the CPU and is not hidden behind the GPU; H100 decode points, BLIS has 126 µs."""
    sequence_s: float = 4.4e-6
    """What a sequence in a step costs the CPU; BLIS (inference-sim)."""


class AllReduce(NamedTuple):
    """One all-reduce of b bytes over g GPUs takes latency_s + hop_s·(g − 1) + 2(g − 1)/g · b / (efficiency · link)."""

    latency_s: float
    hop_s: float
    efficiency: float


CONSTANTS = Constants()
ALL_REDUCE = {
    # vLLM's own kernels in a CUDA graph, as H100 at TP 4 shows by what prefill adds to ITL. NCCL in vidur's A100
    # profile takes 10 to 60 µs at least and moves 0.55 of the link's bytes.
    "nvlink": AllReduce(6e-6, 0.5e-6, 0.85),
    # NCCL through host memory; assumed, no public profile.
    "pcie": AllReduce(20e-6, 5e-6, 0.5),
}
