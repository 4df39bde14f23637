"""What a Hugging Face config.json says of layers that are not all alike: windows, dense layers, latent attention.

Turns those keys into the catalogue's; a kind of layer whose memory is of another form is refused. Knows no numbers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Model

SHARED_EXPERTS = "n_shared_experts"
"""How many experts every token goes through; their width is known where experts are read."""
_FULL = frozenset({"full_attention", "attention", "full", "global"})
_WINDOWS = frozenset({"sliding_attention", "chunked_attention", "sliding", "local"})
_LINEAR = "linear_attention"
_LLAMA_4_MLP = "intermediate_size_mlp"
_STATE_SPACE = frozenset(
    {"mamba_d_state", "ssm_state_size", "layers_block_type", "hybrid_override_pattern", "mamba_num_heads"}
)
_LATENT = {"kv_lora_rank": "rank", "qk_rope_head_dim": "rope", "qk_nope_head_dim": "nope", "v_head_dim": "value"}
_QUERY_RANK = "q_lora_rank"
_READ = frozenset(
    {"layer_types", "sliding_window", "use_sliding_window", "sliding_window_pattern", "attention_chunk_size"}
    | {"no_rope_layer_interval", "full_attention_interval", "decoder_sparse_step", "interleave_moe_layer_step"}
    | {"mlp_only_layers", "moe_layers", "index_topk", SHARED_EXPERTS, "num_shared_experts", _LLAMA_4_MLP}
    | {_QUERY_RANK, *_LATENT}
)
_LAYERS = ("num_hidden_layers", "layers", "num_layers", "n_layers")
_SMALL_WINDOW_TOKENS = 256
"""A window of no more (gpt-oss has 128) is next to nothing beside what the other layers keep of a request."""
_TIED = ("gemma", "cohere")
"""Families whose embeddings are the language head unless they say otherwise."""
_GEMMA_HEAD = 256
_LEFT_OUT: dict[str, dict[str, int]] = {
    "gemma2": {"sliding_window": 4096, "sliding_window_pattern": 2},
    "gemma3": {"sliding_window": 4096, "sliding_window_pattern": 6, "vocab": 262_208, "heads": 8, "kv_heads": 4},
}
"""What published configurations do not repeat of their family's defaults (transformers, configuration_gemma2.py and
configuration_gemma3.py)."""


def shape_of(written: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The catalogue's keys that follow, and which of the written ones were read for them.

    Raises:
        ConfigurationError: layers are of a kind that is not modelled, or latent attention lacks a width.
    """
    if state_space := _STATE_SPACE & {key for key, value in written.items() if value}:
        raise ConfigurationError(
            f"{min(state_space)} says that layers keep a state in place of KV, which is not modelled."
        )
    layers = next((written[key] for key in _LAYERS if isinstance(written.get(key), int)), None)
    unsaid = _LEFT_OUT.get(str(written.get("model_type")).removesuffix("_text"), {}) if layers is not None else {}
    written = {**unsaid, **written}
    found = _family(written) | {key: value for key, value in unsaid.items() if key not in _READ}
    if layers is not None:
        found |= _dense(written, layers) | ({} if "kv_layers" in written else _growing(written, layers))
    if written.get("kv_lora_rank"):
        found["latent"] = _latent(written)
    if written.get("index_topk"):
        chosen = "index_topk: attention to a choice of tokens is modelled as to all of them"
        found["remarks"] = (*found.get("remarks", ()), chosen)
    shared = written.get("n_shared_experts", written.get("num_shared_experts"))
    if shared:
        found[SHARED_EXPERTS] = shared
    return found, _READ | ({"intermediate_size"} if _LLAMA_4_MLP in written else set())


def assumptions(model: Model) -> Iterator[str]:
    """What results with this model rest on."""
    yield from model.remarks
    if model.latent:
        yield "latent attention: modelled, and never held against a recording"
    if model.growing_layers < model.layers:
        yield f"KV: {model.growing_layers} of {model.layers} layers keep all of it, the others none that grows"


def _family(written: Mapping[str, Any]) -> dict[str, Any]:
    """What a family's configuration leaves out, or calls otherwise.

    Llama 4 calls an expert's width intermediate_size, has one more that all tokens go through, and a width of its own
    for layers without experts (transformers, configuration_llama4.py).
    """
    family, found = str(written.get("model_type")), dict[str, Any]()
    if family.startswith(_TIED):
        found["tie_embeddings"] = True
    if family.startswith("gemma"):
        found["head_dim"] = _GEMMA_HEAD
    if _LLAMA_4_MLP in written:
        width = written.get("intermediate_size")
        found |= {"intermediate": written[_LLAMA_4_MLP], "moe_intermediate_size": width}
        found["shared_expert_intermediate_size"] = width
    return found


def _growing(written: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Layers with a small window hold no more than that, and linear ones a state of fixed size: the others grow.

    A larger window is counted as if its layer held everything: too careful beyond it.
    """
    window = _window(written)
    bounded = _windows(written, layers)
    without_kv = _linear(written, layers)
    if window is not None and window <= _SMALL_WINDOW_TOKENS:
        without_kv += bounded
    elif bounded:
        said = f"of {window:,} tokens" if window is not None else "of unknown size"
        remark = f"windows {said} in {bounded} of {layers} layers are counted as if all was kept: more KV than there is"
        return {"remarks": (remark,)} | ({"kv_layers": layers - without_kv} if without_kv else {})
    return {"kv_layers": layers - without_kv} if 0 < without_kv < layers else {}


def _window(written: Mapping[str, Any]) -> int | None:
    """Of sliding or chunked attention, tokens."""
    sizes = (written.get(key) for key in ("sliding_window", "attention_chunk_size"))
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def _windows(written: Mapping[str, Any], layers: int) -> int:
    """Layers with a window."""
    kinds, every = _kinds(written), written.get("sliding_window_pattern")
    if kinds:
        return sum(kind in _WINDOWS for kind in kinds)
    if written.get("attention_chunk_size"):
        # Llama 4: all but each fourth, which have no rotation.
        every = written.get("no_rope_layer_interval") or 4
    if isinstance(every, int) and every > 0:
        return layers - layers // every
    return layers if _window(written) is not None and written.get("use_sliding_window") is not False else 0


def _linear(written: Mapping[str, Any], layers: int) -> int:
    kinds, every = _kinds(written), written.get("full_attention_interval")
    if kinds:
        return sum(kind == _LINEAR for kind in kinds)
    return layers - layers // every if isinstance(every, int) and every > 0 else 0


def _kinds(written: Mapping[str, Any]) -> list[str]:
    kinds = written.get("layer_types")
    said = [str(kind) for kind in kinds] if isinstance(kinds, list) else []
    if unknown := set(said) - _FULL - _WINDOWS - {_LINEAR}:
        raise ConfigurationError(f"layer_types has {min(unknown)}, which is not modelled: write kv_layers instead.")
    return said


def _dense(written: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Layers with a plain MLP among those with experts."""
    step = written.get("decoder_sparse_step") or written.get("interleave_moe_layer_step") or 1
    sparse = set(range(step - 1, layers, step)) - set(written.get("mlp_only_layers") or [])
    if named := written.get("moe_layers"):
        sparse = set(named)
    return {"dense_layers": layers - len(sparse)} if len(sparse) < layers else {}


def _latent(written: Mapping[str, Any]) -> dict[str, Any]:
    # Keys without rotation are mostly as wide as values.
    filled = {**written, "qk_nope_head_dim": written.get("qk_nope_head_dim") or written.get("v_head_dim")}
    missing = [key for key in _LATENT if not filled.get(key)]
    if missing:
        raise ConfigurationError(f"Latent attention (kv_lora_rank) also needs {', '.join(missing)}.")
    return {name: filled[key] for key, name in _LATENT.items()} | (
        {"query_rank": written[_QUERY_RANK]} if written.get(_QUERY_RANK) else {}
    )
