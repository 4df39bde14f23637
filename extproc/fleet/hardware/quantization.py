"""What vLLM's and Hugging Face's names of quantisation mean for the bytes and the speed of weights; knows no model.

A method (`fp8`, `awq_marlin`, `compressed-tensors`) mostly says it. Where one covers several formats, its configuration
or the published model's name does (`…-FP8-dynamic`, `…-quantized.w4a16`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Dtype

NONE = frozenset({"", "none", "null", "auto", "bfloat16", "float16", "half", "bf16", "fp16", "float32"})
"""Names that change nothing."""
_METHODS: dict[str, Dtype] = {
    **dict.fromkeys(("fp8", "fbgemm_fp8", "ptpc_fp8", "modelopt_fp8", "fp8_block", "fp8_e4m3", "deepspeedfp"), "fp8"),
    # Eight bits for weights and activations: as many bytes as fp8, and tensor cores are as fast.
    **dict.fromkeys(("int8", "w8a8", "w8a8_int8"), "fp8"),
    **dict.fromkeys(("w8a16", "experts_int8"), "w8a16"),
    **dict.fromkeys(("mxfp4", "gpt_oss_mxfp4", "modelopt_mxfp4"), "mxfp4"),
    **dict.fromkeys(("modelopt_fp4", "nvfp4", "petit_nvfp4"), "nvfp4"),
    **dict.fromkeys(("int4", "w4a16"), "int4"),
}
_OF_WEIGHTS = frozenset(
    [
        "awq",
        "awq_marlin",
        "gptq",
        "gptq_marlin",
        "gptq_bitblas",
        "bitsandbytes",
        "bnb",
        "auto-round",
        "auto_round",
        "inc",
    ]
)
"""Methods that leave activations in 16 bits: four bits where neither their configuration nor a name says eight."""
_SEVERAL = frozenset({"compressed-tensors", "compressed_tensors", "modelopt", "quark", "torchao", "modelopt_mixed"})
_IN_A_NAME: tuple[tuple[str, Dtype], ...] = (
    ("mxfp4", "mxfp4"),
    ("nvfp4|fp4", "nvfp4"),
    ("gptq[-_.]int8|int8[-_.]gptq|w8a16|8bits?", "w8a16"),
    ("w4a16|int4|awq|gptq|bnb|4bits?|w4a8|autoround", "int4"),
    ("fp8|w8a8|int8", "fp8"),
)
_BITS: dict[int, Dtype] = {4: "int4", 8: "w8a16"}
_EIGHT_BITS, _FOUR_BITS = 8, 4
_MX_GROUP = 32
"""Numbers with one scale in MXFP4; NVFP4 has 16."""


def weights_of(method: str, names: Iterable[str] = (), configuration: Mapping[str, Any] | None = None) -> Dtype | None:
    """The weights' format; None where the method changes nothing.

    Args:
        method: as vLLM or a quantization_config names it.
        names: of the model, which say what a method leaves open.
        configuration: a quantization_config.

    Raises:
        ConfigurationError: it is not known, or neither says how many bits it is.
    """
    plain = method.lower().strip()
    if plain in NONE:
        return None
    if plain in _OF_WEIGHTS:
        found = _of_weights(configuration or {}, names)
    elif plain in _SEVERAL:
        found = _of_bits(configuration or {}) or by_name(*names)
    else:
        found = _METHODS.get(plain)
    if found is None:
        raise ConfigurationError(
            f"Quantisation {method!r} does not say of itself how many bytes a weight has: "
            f"write dtype: {', '.join(get_args(Dtype))} in a YAML file for --model."
        )
    return found


def by_name(*names: str) -> Dtype | None:
    """The format that the name of a published model ends in, or None."""
    words = "-".join(names).lower()
    edges = r"(?:^|[-_./])(?:{})(?:$|[-_./])"
    return next((dtype for parts, dtype in _IN_A_NAME if re.search(edges.format(parts), words)), None)


def without_format(name: str) -> str:
    """A published model's plain name without what says how it is quantised."""
    parts = "|".join(parts for parts, _ in _IN_A_NAME)
    shorter = re.sub(rf"-(?:quantized|dynamic|block|g128|{parts})(?=$|[-.])", "", name)
    return re.sub(rf"[.](?:{parts})$", "", shorter).strip("-.")


def kv_of(*spelt: str | None) -> Dtype | None:
    """The KV cache's format by the first name that says one; None where all leave it to the model."""
    said = next((word.lower() for word in spelt if word and word.lower() not in NONE), None)
    if said is None:
        return None
    if "fp8" not in said and "int8" not in said:
        raise ConfigurationError(f"A KV cache of {said} is not modelled, only bf16 and fp8.")
    return "fp8"


def _of_weights(configuration: Mapping[str, Any], names: Iterable[str]) -> Dtype | None:
    """What GPTQ, AWQ and bitsandbytes write of themselves; None for bits that are not modelled."""
    bits = configuration.get("bits", configuration.get("w_bit"))
    if bits is None and (configuration.get("load_in_8bit") or configuration.get("load_in_4bit")):
        bits = _EIGHT_BITS if configuration.get("load_in_8bit") else _FOUR_BITS
    if bits is not None:
        return _BITS.get(bits)
    return "w8a16" if by_name(*names) in {"w8a16", "fp8"} else "int4"


def _of_bits(configuration: Mapping[str, Any]) -> Dtype | None:
    """What compressed-tensors and modelopt write: bits and type of the weights in one of their groups."""
    groups = configuration.get("config_groups")
    group: Any = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if isinstance(weights, Mapping) and weights.get("num_bits") == _EIGHT_BITS:
        return "fp8" if group.get("input_activations", weights) else "w8a16"
    if isinstance(weights, Mapping) and weights.get("num_bits") == _FOUR_BITS:
        of_floats: Dtype = "mxfp4" if weights.get("group_size") == _MX_GROUP else "nvfp4"
        return of_floats if weights.get("type") == "float" else "int4"
    said = (configuration.get("quant_algo"), configuration.get("format"))
    return by_name(*(word for word in said if isinstance(word, str)))
