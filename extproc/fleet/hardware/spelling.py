"""How other files spell what an entry says: data sheets, papers, a Hugging Face config.json.

Turns a mapping as a user wrote it into the catalogue's own keys; knows no numbers.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.datasheets import gpu_figures
from extproc.fleet.hardware.entries import BYTES, Gpu, Model
from extproc.fleet.hardware.quantization import NONE, weights_of
from extproc.fleet.hardware.shapes import SHARED_EXPERTS, shape_of

Keys = Mapping[str, Any]
_MODEL_NAMES = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer", "num_blocks"), "layers"),
    **dict.fromkeys(("hidden_size", "hidden_dim", "d_model", "dim", "model_dim", "n_embd"), "hidden"),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads", "n_head", "attention_heads", "q_heads"), "heads"),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads", "key_value_heads"), "kv_heads"),
    **dict.fromkeys(("head_size", "head_dimension", "d_head"), "head_dim"),
    **dict.fromkeys(("intermediate_size", "intermediate_dim", "ffn_dim", "d_ff", "ffn_size", "mlp_dim",
                     "ffn_hidden_size"), "intermediate"),
    **dict.fromkeys(("vocab_size", "vocabulary", "vocabulary_size", "n_vocab"), "vocab"),
    **dict.fromkeys(("tie_word_embeddings", "tied_embeddings"), "tie_embeddings"),
    **dict.fromkeys(("max_position_embeddings", "max_model_len", "context_length", "max_seq_len"), "max_context"),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), "dense_layers"),
    **dict.fromkeys(("torch_dtype", "weight_dtype", "precision"), "dtype"),
    **dict.fromkeys(("quant_method", "quant"), "quantization"),
    **dict.fromkeys(("kv_cache_dtype",), "kv_dtype"),
    **dict.fromkeys(("_name_or_path", "model", "model_name", "model_id"), "name"),
}  # fmt: skip
_EXPERT_NAMES = {
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "n_experts", "expert_count"), "count"),
    **dict.fromkeys(("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "experts_per_tok",
                     "active_experts", "num_active_experts", "n_active_experts", "experts_active", "top_k", "topk",
                     "moe_top_k"), "active"),
    **dict.fromkeys(("moe_intermediate_size", "expert_intermediate_size", "moe_intermediate", "expert_intermediate",
                     "expert_ffn_dim", "moe_ffn_dim", "expert_dim"), "intermediate"),
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate"), "shared"),
}  # fmt: skip
_IN_EXPERTS = {
    **_EXPERT_NAMES,
    "num": "count",
    "total": "count",
    "per_token": "active",
    "intermediate_size": "intermediate",
}
_OF_NO_USE = frozenset(
    [
        "params",
        "params_b",
        "parameters",
        "parameters_b",
        "total_params",
        "active_params",
        "active_parameters",
        "num_params",
        "architecture",
        "type",
        "family",
        "license",
        "notes",
        "note",
        "comment",
        "tokenizer",
        "rope_theta",
        "rope_scaling",
        "hidden_act",
        "activation",
        "rms_norm_eps",
        "norm_eps",
        "attention_bias",
    ]
)
_DTYPES = {"bfloat16": "bf16", "float16": "bf16", "fp16": "bf16", "auto": "bf16", "float32": "bf16", "fp8_e4m3": "fp8"}
_OF_EXPERTS = frozenset({"mxfp4", "gpt_oss_mxfp4"})
"""Methods that leave all but experts as they are (gpt-oss)."""
_GPU_SPELLINGS = ("memory_gb", "bandwidth_gb_s", "fp16_tflops", "price")
_NOT_WRITTEN = frozenset({"remarks", "quantized_at_start"})
"""What follows from how an entry is read or used."""
_LIKENESS = 0.75
_NEARLY_EQUAL = 0.9


def gpu_keys(written: Keys) -> dict[str, Any]:
    """The GPU's entry in the catalogue's keys and units.

    Raises:
        ConfigurationError: a key is unknown, or says again what another said.
    """
    keys = gpu_figures(written)
    known = (*(key for key in Gpu.model_fields if key not in _NOT_WRITTEN), "like")
    _refuse_unknown({key: value for key, value in keys.items() if key != "remarks"}, known, "GPU", also=_GPU_SPELLINGS)
    return keys


def model_keys(written: Keys) -> dict[str, Any]:
    """The model's entry in the catalogue's keys; one of Hugging Face may have more keys than are read.

    Raises:
        ConfigurationError: a key is unknown, or says again what another said.
    """
    hugging_face = bool({"num_hidden_layers", "model_type", "architectures"} & written.keys())
    lowered = {str(key).lower(): value for key, value in written.items()}
    whole = _flattened({**lowered, **_nested_text(lowered)})
    shape, read = shape_of(whole)
    keys = _renamed({key: value for key, value in whole.items() if key not in read}, _model_key)
    keys = _with_experts({**shape, **keys})
    _normalise_dtypes(keys)
    _quantize(keys)
    remarks = {"remarks": keys.pop("remarks")} if "remarks" in keys else {}
    if "/" in str(keys.get("name")):
        keys.setdefault("source", str(keys["name"]))
    known = (*(key for key in Model.model_fields if key not in _NOT_WRITTEN), "like")
    if hugging_face:
        _refuse_misspelt(keys, (*known, *_MODEL_NAMES, *_EXPERT_NAMES))
        keys = {key: value for key, value in keys.items() if key in known and value is not None}
    keys = {key: value for key, value in keys.items() if key not in _OF_NO_USE}
    _refuse_unknown(keys, known, "model", also=(*_MODEL_NAMES, *_EXPERT_NAMES))
    return _with_defaults(keys) | remarks


def _model_key(key: str, value: Any) -> tuple[str, Any]:
    return _MODEL_NAMES.get(key, key), value


def _renamed(written: Keys, rename: Callable[[str, Any], tuple[str, Any]]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for key, value in written.items():
        name, new = rename(key, value)
        if name in keys and keys[name] != new:
            raise ConfigurationError(f"{name} is said twice and differently, the second time as {key}: keep one.")
        keys[name] = new
    return keys


def _flattened(written: Keys) -> Keys:
    """With what is grouped as `attention: {heads: 32}` said as if it was not."""
    group = written.get("attention")
    return (
        {**{key: value for key, value in written.items() if key != "attention"}, **group}
        if isinstance(group, Mapping)
        else written
    )


def _nested_text(written: Keys) -> dict[str, Any]:
    """A model that also sees images keeps what concerns text in a mapping of its own."""
    text = written.get("text_config")
    return dict(text) if isinstance(text, Mapping) else {}


def _with_experts(keys: dict[str, Any]) -> dict[str, Any]:
    flat = {_EXPERT_NAMES[key]: keys.pop(key) for key in tuple(keys) if key in _EXPERT_NAMES}
    for group in ("moe", "experts"):
        given = keys.pop(group, None)
        if isinstance(given, Mapping):
            flat |= {_IN_EXPERTS.get(str(key).lower(), str(key)): value for key, value in given.items()}
        elif given:
            flat["count"] = given
    flat = {key: value for key, value in flat.items() if value}
    if "count" not in flat:
        return keys
    # Mixtral's and gpt-oss's configurations call an expert's width intermediate_size.
    flat.setdefault("intermediate", keys.get("intermediate"))
    if shared := keys.pop(SHARED_EXPERTS, 0):
        flat.setdefault("shared", shared * (flat["intermediate"] or 0))
    return {**keys, "experts": flat}


def _normalise_dtypes(keys: dict[str, Any]) -> None:
    for key in ("dtype", "kv_dtype"):
        if isinstance(keys.get(key), str):
            plain = keys[key].removeprefix("torch.").lower()
            keys[key] = _DTYPES.get(plain, plain)


def _quantize(keys: dict[str, Any]) -> None:
    """What says how weights are stored counts more than torch_dtype, which says what they are computed in."""
    configuration, method = keys.pop("quantization_config", None), keys.pop("quantization", None)
    names = (str(keys.get("name", "")),)
    if isinstance(configuration, Mapping):
        method = method or str(configuration.get("quant_method") or configuration.get("quant_algo") or "missing")
        found = weights_of(str(method), names, configuration)
    else:
        found = weights_of(str(method), names) if method else None
    if found is None and isinstance(keys.get("dtype"), str) and keys["dtype"] not in {*BYTES, *NONE}:
        found = weights_of(keys["dtype"], names)
    experts = keys.get("experts")
    if found == "mxfp4" and method in _OF_EXPERTS and isinstance(experts, dict):
        experts.setdefault("dtype", found)
    elif found is not None:
        keys["dtype"] = found


def _with_defaults(keys: dict[str, Any]) -> dict[str, Any]:
    heads, hidden = keys.get("heads"), keys.get("hidden")
    if heads is not None:
        keys.setdefault("kv_heads", heads)
    if isinstance(heads, int) and isinstance(hidden, int) and heads > 0 and not keys.get("head_dim"):
        keys["head_dim"] = hidden // heads
    return {key: value for key, value in keys.items() if value is not None}


def _refuse_unknown(keys: Keys, known: tuple[str, ...], kind: str, *, also: Any) -> None:
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), (*known, *also), n=1, cutoff=_LIKENESS)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
            raise ConfigurationError(f"A {kind} entry has no key {key!r}. {hint}")


def _refuse_misspelt(keys: Keys, known: tuple[str, ...]) -> None:
    for key in keys:
        near = get_close_matches(str(key), known, n=1, cutoff=_NEARLY_EQUAL)
        if near and near[0] != key:
            raise ConfigurationError(f"A model entry has no key {key!r}. Did you mean {near[0]}?")
