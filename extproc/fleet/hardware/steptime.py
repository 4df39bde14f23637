"""How long an engine step takes on a GPU for a model: a roofline with measured corrections; knows no scheduler.

A step's products read their weights once and compute for each token, whichever takes longer; small kernels, all-reduce
and the CPU add to it; attention reads the KV of what decodes and computes for each pair of what prefills.
"""

import numpy as np

from extproc.fleet.hardware.entries import BYTES, Gpu, Model, latent_products
from extproc.fleet.hardware.fitted import ALL_REDUCE, CONSTANTS, Constants
from extproc.fleet.hardware.memory import kv_bytes_per_token
from extproc.fleet.values import Floats, Ints, StepTimes

_POWERS_UP_TO, _EIGHTS_UP_TO, _CAPTURED_UP_TO = 4, 256, 512
_HALFWAY_TOKENS = 16.0
"""Where products have half their slowdown of many rows, see `Constants.rows_slowdown`."""


def step_times(
    model: Model,
    gpu: Gpu,
    tp: int,
    *,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    constants: Constants = CONSTANTS,
    custom_all_reduce: bool = True,
) -> StepTimes:
    """Seconds of a step of this model on tp of these GPUs; the arrays are indexed by tokens and by sequences.

    All-reduces are of vLLM's own kernel, or of NCCL where that is switched off.
    """
    routed = np.arange(max_num_batched_tokens + 1)
    tokens = captured(routed)
    speed = _Speed(gpu, tp, constants, custom_all_reduce=custom_all_reduce)
    dense = constants.step_s + _layers_s(model, speed, tokens, np.asarray(routed, dtype=np.float64))
    sequences = np.arange(max_num_seqs + 1, dtype=np.float64)
    kv_s = _kv_s(model, speed)
    decode, prefill = gpu.corrections.decode_scale, gpu.corrections.prefill_scale
    return StepTimes(
        dense_s=_corrected(dense, decode, prefill),
        sequences_s=decode * _sequences_s(model, speed, sequences),
        kv_s=decode * kv_s,
        pair_s=prefill * _pair_s(model, speed),
        earlier_s=prefill * constants.earlier_token_s * model.growing_layers,
        mixed_kv_s=0.0 if gpu.packs_heads or model.latent else decode * _mixed_kv_s(model, speed, kv_s),
    )


def layers_s(
    model: Model,
    gpu: Gpu,
    tp: int,
    tokens: Floats,
    *,
    constants: Constants = CONSTANTS,
    all_reduce: bool = True,
    custom_all_reduce: bool = True,
) -> Floats:
    """Seconds of all layers at these counts of tokens, without the KV that attention reads."""
    speed = _Speed(gpu, tp, constants, all_reduce=all_reduce, custom_all_reduce=custom_all_reduce)
    return _layers_s(model, speed, tokens, tokens)


def captured(tokens: Ints) -> Floats:
    """Tokens as vLLM pads them: up to 512 to the next size it captured a CUDA graph for (1, 2, 4, 8 … 256, 272 … 512).

    Source: vllm-project/vllm, `config/vllm.py`, cudagraph_capture_sizes.
    """
    powers = 2.0 ** np.ceil(np.log2(np.maximum(tokens, 1)))
    step = np.where(tokens <= _POWERS_UP_TO, powers, np.where(tokens <= _EIGHTS_UP_TO, 8.0, 16.0))
    padded = np.ceil(tokens / step) * step
    return np.where((tokens == 0) | (tokens > _CAPTURED_UP_TO), tokens, padded).astype(np.float64)


def _layers_s(model: Model, speed: "_Speed", tokens: Floats, routed: Floats) -> Floats:
    """Only tokens that are `routed` need experts of their own: padding goes where others went."""
    mlp = (model.layers - model.expert_layers) * _mlp_s(model, speed, tokens)
    experts = model.expert_layers * _experts_s(model, speed, tokens, routed) if model.expert_layers else 0.0
    return np.asarray(model.layers * _attention_block_s(model, speed, tokens) + mlp + experts)


class _Speed:
    """What one GPU of the instance does in a second."""

    def __init__(
        self, gpu: Gpu, tp: int, constants: Constants, *, all_reduce: bool = True, custom_all_reduce: bool = True
    ) -> None:
        self.tp = tp
        self._reduces = all_reduce and tp > 1
        self.constants = constants
        general = constants.hbm_efficiency if gpu.has_hbm else constants.gddr_efficiency
        general_kv = constants.hbm_kv_efficiency if gpu.packs_heads else general
        self._bandwidth = gpu.bandwidth_tb_s * 1e12 * (gpu.bandwidth_efficiency or general)
        self._kv_bandwidth = gpu.bandwidth_tb_s * 1e12 * (gpu.bandwidth_efficiency or general_kv)
        self._best = 1e12 * (gpu.measured_tflops or constants.unmeasured_share * gpu.bf16_tflops)
        self._fp8_gain = constants.fp8_share * gpu.fp8_tflops / gpu.bf16_tflops if gpu.fp8_tflops else 1.0
        self._link = gpu.link_gb_s * 1e9
        kind = gpu.link if custom_all_reduce or gpu.link == "host" else f"{gpu.link}-nccl"
        self._all_reduce = ALL_REDUCE[kind]

    def product_s(self, moved_bytes: Floats, flop: Floats, tokens: Floats, dtype: str) -> Floats:
        """A product of tokens with weights: the longer of moving bytes and computing, with a smooth knee."""
        rate = self.constants.product_share * self._best * (self._fp8_gain if dtype == "fp8" else 1.0)
        knee, slower = self.constants.knee, self.constants.rows_slowdown * tokens / (tokens + _HALFWAY_TOKENS)
        both = (moved_bytes / self._bandwidth * (1.0 + slower)) ** knee + (flop / rate) ** knee
        return np.asarray(both ** (1.0 / knee) + self.constants.kernel_s)

    def pass_s(self, bytes_per_token: float, tokens: Floats) -> Floats:
        """One small kernel over activations."""
        return self.constants.kernel_s + bytes_per_token * tokens / (self.constants.cache_gain * self._bandwidth)

    def kv_read_s(self, kv_bytes: float) -> float:
        """Reading KV."""
        return kv_bytes / self._kv_bandwidth

    def tile_flop_s(self, flop: float) -> float:
        """Attention of decode where it is computed in tiles; always bf16."""
        return flop / (self._best * self.constants.product_share)

    def attention_flop_s(self, flop: float) -> float:
        """Attention of prefill; always bf16."""
        return flop / (self._best * self.constants.attention_share)

    def all_reduce_s(self, bytes_per_token: float, tokens: Floats) -> Floats:
        """Adding up what the GPUs of the instance computed; nothing on one GPU."""
        if not self._reduces:
            return np.zeros_like(tokens)
        latency_s, hop_s, efficiency, beyond_two = self._all_reduce
        efficiency *= beyond_two if self.tp > 2 else 1.0  # noqa: PLR2004 - two are alone on their way
        share = 2 * (self.tp - 1) / self.tp
        return latency_s + hop_s * (self.tp - 1) + share * bytes_per_token * tokens / (efficiency * self._link)


def _attention_block_s(model: Model, speed: _Speed, tokens: Floats) -> Floats:
    """Norm, query-key-value, rotation, the attention kernel's fixed part, output, all-reduce."""
    if model.latent:
        return _latent_block_s(model, speed, tokens)
    heads = model.heads / speed.tp
    with_kv = (heads + 2 * max(1.0, model.kv_heads / speed.tp)) * model.head_dim
    total = speed.pass_s(4 * 2 * model.hidden, tokens) + _linear_s(model, speed, model.hidden, with_kv, tokens)
    total += speed.pass_s(2 * 2 * with_kv, tokens) + speed.constants.attention_s
    total += _linear_s(model, speed, heads * model.head_dim, model.hidden, tokens)
    return total + speed.all_reduce_s(2 * model.hidden, tokens)


def _latent_block_s(model: Model, speed: _Speed, tokens: Floats) -> Floats:
    """The same with latent attention, whose queries and latent vectors have norms of their own."""
    assert model.latent is not None
    heads = model.heads / speed.tp
    rotated = heads * (model.latent.nope + model.latent.rope) + model.latent.rank + model.latent.rope
    total = speed.pass_s(4 * 2 * model.hidden, tokens) + 2 * speed.pass_s(2 * 2 * rotated, tokens)
    total += speed.constants.attention_s
    for rows, columns in latent_products(model, speed.tp):
        total += _linear_s(model, speed, rows, columns, tokens)
    return total + speed.all_reduce_s(2 * model.hidden, tokens)


def _mlp_s(model: Model, speed: _Speed, tokens: Floats) -> Floats:
    width = model.intermediate / speed.tp
    total = speed.pass_s(4 * 2 * model.hidden, tokens) + _linear_s(model, speed, model.hidden, 2 * width, tokens)
    total += speed.pass_s(3 * 2 * width, tokens) + _linear_s(model, speed, width, model.hidden, tokens)
    return total + speed.all_reduce_s(2 * model.hidden, tokens)


def _linear_s(model: Model, speed: _Speed, rows: float, columns: float, tokens: Floats) -> Floats:
    moved = rows * columns * BYTES[model.dtype] + 2 * (rows + columns) * tokens
    return speed.product_s(moved, 2 * rows * columns * tokens, tokens, model.dtype)


def _experts_s(model: Model, speed: _Speed, tokens: Floats, routed: Floats) -> Floats:
    """Each expert that any token goes to is read once, and rows of each are padded to whole tiles.

    That is count · (1 − (1 − active/count)^n) experts for n tokens that choose independently, fewer than are there.
    The router is a small product before, choosing a small kernel after it.
    """
    experts = model.experts
    assert experts is not None
    constants, dtype = speed.constants, experts.dtype or model.dtype
    of_one = 3 * model.hidden * experts.intermediate / speed.tp
    touched = experts.count * (1.0 - (1.0 - experts.active / experts.count) ** routed**constants.expert_routing)
    rows = experts.active * tokens + constants.expert_padding_rows * touched
    read = of_one * BYTES[dtype] * touched / constants.expert_bandwidth_share
    total = speed.product_s(read, 2 * of_one * rows / constants.expert_product_share, tokens, dtype)
    moved = 2 * experts.active * (2 * model.hidden + 3 * experts.intermediate / speed.tp)
    total += speed.pass_s(4 * 2 * model.hidden, tokens) + speed.pass_s(moved, tokens) + constants.expert_s
    total += _linear_s(model, speed, model.hidden, experts.count, tokens) + constants.kernel_s
    if experts.shared:
        total += _linear_s(model, speed, model.hidden, 3 * experts.shared / speed.tp, tokens)
    return total + speed.all_reduce_s(2 * model.hidden, tokens)


def _sequences_s(model: Model, speed: _Speed, sequences: Floats) -> Floats:
    """The language head, always bf16 and cut over GPUs; passes over the logits; what a sequence costs the CPU."""
    weights = model.vocab * model.hidden / speed.tp
    head = speed.product_s(2 * weights + 0 * sequences, 2 * weights * sequences, sequences, "bf16")
    logits = speed.pass_s(10 * model.vocab, sequences)
    heads = (1 if model.latent else max(1, model.kv_heads // speed.tp)) * model.layers
    each = speed.constants.sequence_head_s * heads + speed.constants.sequence_s
    return np.where(sequences > 0, head + logits + each * sequences, 0.0)


def _kv_s(model: Model, speed: _Speed) -> float:
    """One token of KV that a decoding sequence reads; all heads compute with a latent vector, which may take longer."""
    read_s = speed.kv_read_s(kv_bytes_per_token(model, speed.tp))
    if model.latent is None:
        return read_s
    width = 2 * model.latent.rank + model.latent.rope
    return max(read_s, speed.attention_flop_s(2.0 * model.growing_layers * model.heads / speed.tp * width))


def _pair_s(model: Model, speed: _Speed) -> float:
    """Four FLOP for each number of each head: two products of a multiplication and an addition.

    Latent attention computes prefill with whole keys and values, which differ in width.
    """
    latent = model.latent
    widths = latent.nope + latent.rope + latent.value if latent else 2.0 * model.head_dim
    return speed.attention_flop_s(2.0 * model.growing_layers * model.heads / speed.tp * widths)


def _mixed_kv_s(model: Model, speed: _Speed, kv_s: float) -> float:
    """How much longer a decoding sequence's token of KV takes where a prefill is in the step."""
    rows = speed.constants.mixed_rows * model.growing_layers
    return max(speed.tile_flop_s(4.0 * rows * model.heads / speed.tp * model.head_dim) - kv_s, 0.0)


def _corrected(dense: Floats, decode: float, prefill: float) -> Floats:
    """Steps of few tokens are decode, what more tokens add is prefill: the user's own scale of each."""
    few = dense[min(len(dense) - 1, _EIGHTS_UP_TO)]
    return np.where(dense <= few, decode * dense, decode * few + prefill * (dense - few))
