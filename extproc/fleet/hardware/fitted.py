"""Constants of the step-time model, each with its source; knows no formula.

`tools/fit_steps.py` prints what the layer profiles alone would make of three of them, and what error those in use leave
on these and on H100 decode (docs/hardware.md).
"""

from typing import NamedTuple


class Constants(NamedTuple):
    """What data sheets do not say.

    AIC below is NVIDIA's AIConfigurator (ai-dynamo/aiconfigurator 0.12, Apache-2.0): kernels of vLLM 0.14 to 0.24 timed
    on H100, H200, A100, L40S and RTX PRO 6000 Server. The RTX 4090 profile is LLMServingSim's.
    """

    gddr_efficiency: float = 0.90
    """Share of the data sheet's bandwidth that weights and KV are read at, where the card's own is not in the
    catalogue: RTX 4090 0.95, RTX PRO 6000 Server 0.93, L40S 0.84 (AIC, one row)."""
    hbm_efficiency: float = 0.84
    """Likewise for weights; between the A100 profile (0.74 to 0.80, an older stack) and AIC (0.75 to 0.89)."""
    hbm_kv_efficiency: float = 0.92
    """Likewise for KV with FlashAttention 3; AIC, H100: 0.90 to 0.93 where it is long, A100 0.77 to 0.82 without."""
    product_share: float = 0.95
    """Rate of a layer's products over the best product measured on that GPU; RTX 4090, A100 profiles, AIC."""
    fp8_share: float = 0.78
    """What of the data sheet's gain of fp8 over bf16 products attain; AIC: H100 0.77, L40S 0.77, B200 0.81."""
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
    attention_s: float = 1.0e-5
    """The least that a layer's attention takes; RTX 4090 profile 8 µs, AIC 9 (L40S, RTX PRO 6000) to 12 (H100)."""
    sequence_head_s: float = 2.5e-8
    """What a decoding sequence costs beyond its KV, for each head of KV on the GPU and layer; RTX 4090 profile 24 ns,
    AIC 22 to 31, whatever the bandwidth."""
    mixed_rows: float = 128.0
    """Where FlashAttention 2 serves a step with both, each head of a decoding sequence is computed as this many query
    rows: a tile of 64 at half the rate of a product. RTX 4090 profile: 12.3 ns for a token's KV in a layer."""
    attention_share: float = 0.75
    """Rate of prefill attention over the best product measured; RTX 4090 profile 0.78, AIC 0.67 to 0.76 when long."""
    earlier_token_s: float = 2.0e-8
    """Per layer and token before a chunk: few query rows do not fill the GPU; RTX 4090 profile."""
    expert_s: float = 2.0e-5
    """What the kernels between router and sum cost at least: sorting tokens by expert, two products, gate, sum. AIC 15
    to 35 µs; vLLM's pull requests of tuned configurations 20 to 30 (H100, B200, A100)."""
    expert_bandwidth_share: float = 1.1
    """Reading experts against reading dense weights; AIC 1.0 to 1.15: one launch reads all of them."""
    expert_product_share: float = 0.55
    """Computing in experts against dense products; AIC 0.45 (RTX PRO 6000) to 0.6 (H200, L40S)."""
    expert_padding_rows: float = 64.0
    """Rows that padding to whole tiles adds for each expert in use; AIC 32 to 64."""
    expert_routing: float = 0.92
    """Tokens that choose experts independently are tokens to this power, as tokens of a batch are alike. AIC's routing
    by a power law; Qwen3-30B-A3B on H100, 10 running, vllm-project/vllm pull request 23151."""
    unmeasured_share: float = 0.85
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
    beyond_two: float = 1.0
    """What is left of the efficiency where more than two GPUs share switches and root complexes."""


CONSTANTS = Constants()
ALL_REDUCE = {
    # vLLM's own kernel inside a CUDA graph, up to NCCL's at megabytes; AIC, H100 and A100, 2 to 8 GPUs.
    "nvlink": AllReduce(4e-6, 0.3e-6, 0.65),
    # Two cards that reach each other's memory use vLLM's kernel, more of them NCCL; AIC, RTX PRO 6000 Server and L40S.
    "pcie": AllReduce(0.5e-6, 4e-6, 0.58, 0.72),
    # NCCL where vLLM's own kernel is switched off; AIC, NCCL 2.27 and 2.29 on H100, H200 and A100, 2 to 8 GPUs.
    "nvlink-nccl": AllReduce(7e-6, 1.8e-6, 0.60),
    # The same on RTX PRO 6000 Server and, for two cards, L40S, with access to each other's memory.
    "pcie-nccl": AllReduce(4e-6, 3.3e-6, 0.55, 0.72),
    # NCCL through host memory; AIC, RTX PRO 6000 Server as vLLM 0.19 was timed on it, without peer access.
    "host": AllReduce(12e-6, 6e-6, 0.24),
}
