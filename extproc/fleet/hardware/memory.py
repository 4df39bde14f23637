"""How many KV blocks an instance has, and whether its longest request fits; knows no time.

The account is vLLM's own: memory that may be used, less weights, less what the driver and one dummy step took, divided
by the bytes of a block (vllm-project/vllm, `v1/worker/gpu_worker.py` and `v1/core/kv_cache_utils.py`).
"""

from dataclasses import dataclass

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import BYTES, Experts, Gpu, Model, latent_products
from extproc.fleet.values import BLOCK_TOKENS

GIB = 2.0**30
_BASE_GIB = 0.95
"""Driver, CUDA context and libraries, beside a step's activations. RTX 4090, Llama-3.1-8B, 0.19: 2,588 blocks read."""
_COLLECTIVES_GIB = 0.23
"""More with tensor parallelism: buffers of NCCL and of the all-reduce. H100, TP 4, 70B, 0.15.1: 30,425 blocks read."""
_CUDA_GRAPHS_GIB = 1.0
"""Kept for CUDA graphs by releases that reserve it; 0.5 to 2 GiB were seen."""
_TENSOR_PARALLEL = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Placement:
    """A model on the GPUs of one instance, and what shapes its memory."""

    model: Model
    gpu: Gpu
    tp: int
    gpu_memory_utilization: float
    max_num_batched_tokens: int
    max_num_seqs: int
    reserves_cuda_graphs: bool


def kv_bytes_per_token(model: Model, tp: int) -> float:
    """Bytes of KV that one token takes on each GPU: 2 · layers · max(1, kv_heads // tp) · head_dim · bytes.

    A head of KV is never cut: with more GPUs than KV heads each GPU keeps a copy of one. A latent vector is never cut
    either: layers · (its width + that of the rotated key) · bytes.
    """
    if model.latent:
        return model.growing_layers * (model.latent.rank + model.latent.rope) * BYTES[model.kv_dtype]
    return model.growing_layers * 2 * max(1, model.kv_heads // tp) * model.head_dim * BYTES[model.kv_dtype]


def weight_bytes(model: Model, tp: int) -> float:
    """Bytes of weights on each GPU; embeddings and the language head are cut like all else and stay bf16."""
    embeddings = model.embedding_parameters * (1 if model.tie_embeddings else 2) * BYTES["bf16"]
    mlps = (model.layers - model.expert_layers) * model.mlp_parameters * BYTES[model.dtype]
    attention = _attention_parameters(model, tp) * BYTES[model.dtype]
    return (embeddings + mlps + _expert_bytes(model)) / tp + model.layers * attention


def _attention_parameters(model: Model, tp: int) -> float:
    """Of one layer on each GPU."""
    if model.latent:
        return sum(rows * columns for rows, columns in latent_products(model, tp))
    query_output = 2 * model.hidden * model.heads * model.head_dim / tp
    return query_output + 2 * model.hidden * max(1.0, model.kv_heads / tp) * model.head_dim


def overhead_bytes(placement: Placement) -> float:
    """Bytes on each GPU that are neither weights nor KV."""
    fixed = _BASE_GIB + (_COLLECTIVES_GIB if placement.tp > 1 else 0.0)
    graphs = _CUDA_GRAPHS_GIB if placement.reserves_cuda_graphs else 0.0
    return (fixed + graphs) * GIB + max(_activation_bytes(placement), _sampler_bytes(placement))


def kv_blocks(placement: Placement) -> int:
    """Blocks of 16 tokens that vLLM would report for the instance.

    Raises:
        ConfigurationError: weights and overhead leave nothing for KV, or tp does not divide the heads.
    """
    _check_tp(placement.model, placement.tp)
    free = _free_bytes(placement)
    if free <= 0:
        raise ConfigurationError(
            f"{placement.model.name} does not fit {_gpus(placement)}: weights take "
            f"{weight_bytes(placement.model, placement.tp) / GIB:.1f} GiB of each GPU and "
            f"{overhead_bytes(placement) / GIB:.1f} GiB are kept beside them, but only "
            f"{_usable_bytes(placement) / GIB:.1f} GiB may be used. {_way_out(placement, BLOCK_TOKENS)}"
        )
    return int(free // (kv_bytes_per_token(placement.model, placement.tp) * BLOCK_TOKENS))


def check_context(placement: Placement, max_model_len: int, blocks: int) -> None:
    """Refuse what vLLM refuses at start-up: a KV cache that one request of max_model_len does not fit into.

    Raises:
        ConfigurationError: it says how many tokens fit, and with how many GPUs max_model_len would.
    """
    fit = blocks * BLOCK_TOKENS
    if fit < max_model_len:
        raise ConfigurationError(
            f"One request of max_model_len {max_model_len:,} tokens does not fit the KV cache of "
            f"{placement.model.name} on {_gpus(placement)}: {fit:,} tokens do. {_way_out(placement, max_model_len)}"
        )


def _way_out(placement: Placement, tokens: int) -> str:
    for tp in _TENSOR_PARALLEL:
        if tp > placement.tp and _divides(placement.model, tp):
            wider = Placement(
                placement.model,
                placement.gpu,
                tp,
                placement.gpu_memory_utilization,
                placement.max_num_batched_tokens,
                placement.max_num_seqs,
                placement.reserves_cuda_graphs,
            )
            if _free_bytes(wider) // (kv_bytes_per_token(wider.model, tp) * BLOCK_TOKENS) * BLOCK_TOKENS >= tokens:
                return f"--tensor-parallel-size {tp} would hold it."
    return "No tensor parallelism up to 16 would hold it: take a larger GPU, fp8 weights, or a smaller model."


def _free_bytes(placement: Placement) -> float:
    return _usable_bytes(placement) - weight_bytes(placement.model, placement.tp) - overhead_bytes(placement)


def _usable_bytes(placement: Placement) -> float:
    return placement.gpu.memory_gib * GIB * placement.gpu_memory_utilization


def _activation_bytes(placement: Placement) -> float:
    """The widest moment of one step: gate and up of an MLP beside the residual, two bytes each, for every token.

    On H100, TP 4, 70B this gives 0.26 GiB for four times 2,048 tokens more; 0.21 GiB were read.
    """
    model = placement.model
    width = model.intermediate
    if isinstance(model.experts, Experts):
        width = max(width, model.experts.active * model.experts.intermediate)
    return 2.0 * placement.max_num_batched_tokens * (2 * width / placement.tp + model.hidden)


def _sampler_bytes(placement: Placement) -> float:
    """Logits of all sequences in 32 bits, which are there when the step's activations are gone."""
    return 4.0 * placement.max_num_seqs * placement.model.vocab


def _expert_bytes(model: Model) -> float:
    if model.experts is None:
        return 0.0
    experts = model.experts
    width = experts.count * experts.intermediate * BYTES[experts.dtype or model.dtype]
    return model.expert_layers * 3 * model.hidden * (width + experts.shared * BYTES[model.dtype])


def _check_tp(model: Model, tp: int) -> None:
    if tp < 1 or model.heads % tp:
        raise ConfigurationError(
            f"--tensor-parallel-size {tp} does not divide the {model.heads} attention heads of {model.name}."
        )
    if not _divides(model, tp):
        raise ConfigurationError(
            f"--tensor-parallel-size {tp} neither divides the {model.kv_heads} KV heads of {model.name} nor is a"
            " multiple of them."
        )


def _divides(model: Model, tp: int) -> bool:
    """Whether vLLM can part the heads: those of KV evenly too, or each copied equally often, as it asserts."""
    evenly = model.latent is not None or model.kv_heads % tp == 0 or tp % model.kv_heads == 0
    return model.heads % tp == 0 and evenly


def _gpus(placement: Placement) -> str:
    return f"{placement.tp}x {placement.gpu.name}"
