from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import BYTES
from extproc.fleet.hardware.quantization import by_name, kv_of, weights_of, without_format


@pytest.mark.parametrize(
    ("method", "name", "dtype"),
    [
        ("fp8", "", "fp8"),
        ("ptpc_fp8", "", "fp8"),
        ("compressed-tensors", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "fp8"),
        ("compressed-tensors", "neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "fp8"),
        ("compressed-tensors", "RedHatAI/Qwen3-32B-quantized.w4a16", "int4"),
        ("modelopt", "nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"),
        ("modelopt_fp4", "nvidia/Llama-3.1-8B-Instruct-FP4", "nvfp4"),
        ("awq_marlin", "", "int4"),
        ("gptq", "", "int4"),
        ("bitsandbytes", "unsloth/Meta-Llama-3.1-8B-bnb-4bit", "int4"),
        ("gptq_marlin", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "w8a16"),
        ("gptq", "acme/some-INT8", "w8a16"),
        ("bitsandbytes", "acme/some-bnb-8bit", "w8a16"),
        ("compressed-tensors", "RedHatAI/Qwen2.5-7B-quantized.w8a16", "w8a16"),
        ("none", "", None),
    ],
)
def test_methods_as_vllm_names_them(method: str, name: str, dtype: str | None) -> None:
    """A method says it of itself, or the published model's name does."""
    assert weights_of(method, [name]) == dtype


@pytest.mark.parametrize(
    ("bits", "kind", "dtype"), [(8, "float", "fp8"), (8, "int", "fp8"), (4, "int", "int4"), (4, "float", "nvfp4")]
)
def test_bits_in_a_configuration(bits: int, kind: str, dtype: str) -> None:
    """What compressed-tensors writes of its weights counts more than a name."""
    configuration = {"config_groups": {"group_0": {"weights": {"num_bits": bits, "type": kind}}}}
    assert weights_of("compressed-tensors", ["some-FP8"], configuration) == dtype


@pytest.mark.parametrize(
    ("method", "configuration", "dtype"),
    [
        ("gptq", {"bits": 8}, "w8a16"),
        ("gptq", {"bits": 4}, "int4"),
        ("awq", {"w_bit": 4}, "int4"),
        ("auto-round", {"bits": 8}, "w8a16"),
        ("bitsandbytes", {"load_in_8bit": True, "load_in_4bit": False}, "w8a16"),
        ("bitsandbytes", {"load_in_4bit": True, "load_in_8bit": False}, "int4"),
        ("bitsandbytes", {}, "int4"),
    ],
)
def test_methods_that_leave_activations_alone(method: str, configuration: dict[str, Any], dtype: str) -> None:
    """Their own configuration says how many bits a weight has; four where it says nothing."""
    assert weights_of(method, ["some-GPTQ"], configuration) == dtype


def test_other_bits_are_refused() -> None:
    """Three bits are not sized as four."""
    with pytest.raises(ConfigurationError, match="'gptq' does not say of itself"):
        weights_of("gptq", ["some-GPTQ"], {"bits": 3})


@pytest.mark.parametrize(
    ("group", "dtype"),
    [
        ({"weights": {"num_bits": 8, "type": "int"}, "input_activations": None}, "w8a16"),
        ({"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}, "fp8"),
        ({"weights": {"num_bits": 4, "type": "float", "group_size": 32}}, "mxfp4"),
        ({"weights": {"num_bits": 4, "type": "float", "group_size": 16}}, "nvfp4"),
    ],
)
def test_activations_and_groups_in_a_configuration(group: dict[str, Any], dtype: str) -> None:
    """Weights alone have no 8-bit rate, and the size of a group tells the two 4-bit floats apart."""
    assert weights_of("compressed-tensors", [], {"config_groups": {"group_0": group}}) == dtype


@pytest.mark.parametrize(
    ("dtype", "bits"), [("bf16", 16), ("fp8", 8), ("w8a16", 8.125), ("mxfp4", 4.25), ("nvfp4", 4.5)]
)
def test_bits_of_a_weight_with_its_scales(dtype: str, bits: float) -> None:
    """A scale of eight bits for 16 numbers is half a bit for each."""
    assert 8 * BYTES[dtype] == bits


@pytest.mark.parametrize(("method", "name"), [("newest", "x-FP8"), ("compressed-tensors", "acme/oracle")])
def test_what_is_not_understood_is_asked_for(method: str, name: str) -> None:
    """Weights are never taken for bf16 because nobody knew better."""
    with pytest.raises(
        ConfigurationError, match=r"write dtype: bf16, fp8, w8a16, int4, mxfp4, nvfp4 in a YAML file for --model"
    ):
        weights_of(method, [name])


def test_names_are_told_from_formats() -> None:
    """A plain name has no format, and a format is taken off whole."""
    assert by_name("meta-llama/Llama-3.1-8B") is None
    assert without_format("meta-llama-3.1-8b-instruct-quantized.w8a8") == "meta-llama-3.1-8b-instruct"
    assert without_format("qwen2.5-7b-instruct-gptq-int8") == "qwen2.5-7b-instruct"
    assert without_format("qwen3-30b-a3b-instruct-2507-fp8") == "qwen3-30b-a3b-instruct-2507"


def test_kv_cache() -> None:
    """`auto` says nothing; the first that says something counts; other formats are refused."""
    assert kv_of("auto", None) is None
    assert kv_of("auto", "fp8_e4m3") == "fp8"
    with pytest.raises(ConfigurationError, match="KV cache of nvfp4 is not modelled"):
        kv_of("nvfp4")
