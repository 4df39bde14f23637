"""How other files spell what an entry says: units of data sheets, keys of a Hugging Face config.json.

Turns a mapping as a user wrote it into the catalogue's own keys; knows no numbers.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Gpu, Model

Keys = Mapping[str, Any]
_GB_TO_REPORTED_GIB = 0.985
"""A card sold as 80 GB has 80 GiB of chips less what the driver and ECC keep: 79.2 of 80, 23.5 of 24, 94.97 of 96."""
_GPU_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("memory_gb", "vram_gb", "mem_gb"), ("memory_gib", _GB_TO_REPORTED_GIB)),
    **dict.fromkeys(("vram_gib", "mem_gib"), ("memory_gib", 1.0)),
    **dict.fromkeys(("memory_bytes", "device_total_memory_bytes"), ("memory_gib", 2.0**-30)),
    **dict.fromkeys(
        ("bandwidth_gb_s", "bandwidth_gbps", "bandwidth_gb_per_s", "memory_bandwidth_gb_s", "memory_bandwidth_gbps",
         "mem_bandwidth_gb_s", "mem_bandwidth_gbps", "mem_bw_gbps", "hbm_gb_s"), ("bandwidth_tb_s", 1e-3)),
    **dict.fromkeys(
        ("bandwidth_tbps", "bandwidth_tb_per_s", "memory_bandwidth_tb_s", "memory_bandwidth_tbps", "hbm_tb_s",
         "mem_bandwidth_tb_s"), ("bandwidth_tb_s", 1.0)),
    **dict.fromkeys(
        ("tflops", "fp16_tflops", "tflops_bf16", "tflops_fp16", "bf16_tflops_dense", "bf16_dense_tflops",
         "peak_tflops"), ("bf16_tflops", 1.0)),
    **dict.fromkeys(("tflops_fp8", "fp8_tflops_dense", "fp8_dense_tflops"), ("fp8_tflops", 1.0)),
    **dict.fromkeys(("nvlink_gb_s", "pcie_gb_s", "interconnect_gbps"), ("interconnect_gb_s", 1.0)),
    **dict.fromkeys(("usd_per_gpu_hour", "price_usd_per_hour", "price_per_hour", "price"), ("usd_per_hour", 1.0)),
}  # fmt: skip
_MODEL_NAMES = {
    "num_hidden_layers": "layers",
    "num_layers": "layers",
    "hidden_size": "hidden",
    "num_attention_heads": "heads",
    "num_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "num_kv_heads": "kv_heads",
    "intermediate_size": "intermediate",
    "vocab_size": "vocab",
    "tie_word_embeddings": "tie_embeddings",
    "max_position_embeddings": "max_context",
    "max_model_len": "max_context",
    "first_k_dense_replace": "dense_layers",
    "torch_dtype": "dtype",
    "kv_cache_dtype": "kv_dtype",
    "_name_or_path": "name",
}
_EXPERT_NAMES = {
    "num_experts": "count",
    "num_local_experts": "count",
    "n_routed_experts": "count",
    "num_experts_per_tok": "active",
    "experts_per_token": "active",
    "moe_intermediate_size": "intermediate",
    "shared_expert_intermediate_size": "shared",
}
_DTYPES = {"bfloat16": "bf16", "float16": "bf16", "fp16": "bf16", "auto": "bf16", "float32": "bf16", "fp8_e4m3": "fp8"}
_LIKENESS = 0.75
_NEARLY_EQUAL = 0.9


def gpu_keys(written: Keys) -> dict[str, Any]:
    """The GPU's entry in the catalogue's keys and units.

    Raises:
        ConfigurationError: a key is unknown, or says again what another said.
    """
    keys = _renamed(written, _gpu_key)
    if "nvlink_gb_s" in written:
        keys.setdefault("interconnect", "nvlink")
    _refuse_unknown(keys, (*Gpu.model_fields, "like"), "GPU", also=_GPU_UNITS)
    return keys


def model_keys(written: Keys) -> dict[str, Any]:
    """The model's entry in the catalogue's keys; one of Hugging Face may have more keys than are read.

    Raises:
        ConfigurationError: a key is unknown, or says again what another said.
    """
    hugging_face = bool({"num_hidden_layers", "model_type", "architectures"} & written.keys())
    keys = _renamed({**written, **_nested_text(written)}, _model_key)
    keys = _with_experts(keys)
    _normalise_dtypes(keys)
    if "quantization_config" in keys:
        keys["dtype"] = _quantized(keys.pop("quantization_config"))
    known = (*Model.model_fields, "like")
    if hugging_face:
        _refuse_misspelt(keys, (*known, *_MODEL_NAMES, *_EXPERT_NAMES))
        keys = {key: value for key, value in keys.items() if key in known and value is not None}
    _refuse_unknown(keys, known, "model", also=(*_MODEL_NAMES, *_EXPERT_NAMES))
    return _with_defaults(keys)


def _gpu_key(key: str, value: Any) -> tuple[str, Any]:
    name, factor = _GPU_UNITS.get(key, (key, 1.0))
    scaled = value * factor if key in _GPU_UNITS and isinstance(value, int | float) else value
    return name, scaled


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


def _nested_text(written: Keys) -> dict[str, Any]:
    """A model that also sees images keeps what concerns text in a mapping of its own."""
    text = written.get("text_config")
    return dict(text) if isinstance(text, Mapping) else {}


def _with_experts(keys: dict[str, Any]) -> dict[str, Any]:
    flat = {_EXPERT_NAMES[key]: keys.pop(key) for key in tuple(keys) if key in _EXPERT_NAMES}
    flat = {key: value for key, value in flat.items() if value}
    if "count" not in flat:
        return keys
    # Mixtral's and gpt-oss's configurations call an expert's width intermediate_size.
    flat.setdefault("intermediate", keys.get("intermediate"))
    return {**keys, "experts": {**flat, **(keys.get("experts") or {})}}


def _normalise_dtypes(keys: dict[str, Any]) -> None:
    for key in ("dtype", "kv_dtype"):
        if isinstance(keys.get(key), str):
            plain = keys[key].removeprefix("torch.").lower()
            keys[key] = _DTYPES.get(plain, plain)


def _quantized(configuration: Any) -> str:
    method = str(configuration.get("quant_method", "")).lower() if isinstance(configuration, Mapping) else ""
    known = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4", "awq": "int4", "gptq": "int4"}
    if method not in known:
        raise ConfigurationError(
            f"quantization_config.quant_method is {method or 'missing'}; one of {', '.join(known)} is understood. "
            "Leave it out and set dtype: bf16, fp8 or int4."
        )
    return known[method]


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
