import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.spelling import gpu_keys, model_keys


def test_units_become_those_of_the_catalogue() -> None:
    """Bytes, GB/s and other spellings of a rate become GiB, TB/s and bf16_tflops."""
    keys = gpu_keys({"memory_bytes": 25_250_627_584, "memory_bandwidth_gbps": 1008, "tflops_bf16": 165})
    assert keys == {"memory_gib": pytest.approx(23.516, abs=0.001), "bandwidth_tb_s": 1.008, "bf16_tflops": 165}


def test_a_link_that_is_nvlink() -> None:
    """Bandwidth given as NVLink's says what the link is."""
    assert gpu_keys({"nvlink_gb_s": 450}) == {"interconnect_gb_s": 450, "interconnect": "nvlink"}


def test_one_figure_twice() -> None:
    """Two spellings of one figure that differ are refused."""
    with pytest.raises(ConfigurationError, match="memory_gib is said twice"):
        gpu_keys({"memory_gib": 24, "vram_gib": 16})


def test_short_names_of_a_model() -> None:
    """The catalogue's own keys need no head size and no KV heads where attention is plain."""
    keys = model_keys({"layers": 2, "hidden": 64, "heads": 8, "intermediate": 128, "vocab": 100})
    assert (keys["head_dim"], keys["kv_heads"]) == (8, 8)


def test_mixtral_spelling() -> None:
    """Configurations that call an expert's width intermediate_size are understood."""
    keys = model_keys(
        {"num_hidden_layers": 2, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 9}
    )
    assert keys["experts"] == {"count": 8, "active": 2, "intermediate": 9}


def test_models_that_also_see() -> None:
    """What concerns text is found in text_config."""
    keys = model_keys({"model_type": "gemma3", "text_config": {"num_hidden_layers": 62, "hidden_size": 5376}})
    assert (keys["layers"], keys["hidden"]) == (62, 5376)


def test_quantization() -> None:
    """A published fp8 configuration has fp8 weights; an unknown method is refused by name."""
    assert model_keys({"model_type": "x", "quantization_config": {"quant_method": "fp8"}})["dtype"] == "fp8"
    with pytest.raises(ConfigurationError, match="Quantisation 'newest' does not say"):
        model_keys({"model_type": "x", "quantization_config": {"quant_method": "newest"}})


def test_quantisation_counts_more_than_what_is_computed_in() -> None:
    """torch_dtype is that of activations: beside it, quantization or its configuration says how weights are kept."""
    bits = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}}
    tensors = {"quant_method": "compressed-tensors", **bits}
    assert model_keys({"layers": 1, "torch_dtype": "bfloat16", "quantization": "fp8"})["dtype"] == "fp8"
    assert model_keys({"model_type": "x", "torch_dtype": "float16", "quantization_config": tensors})["dtype"] == "int4"
    assert model_keys({"layers": 1, "dtype": "w8a8"})["dtype"] == "fp8"


def test_grouped_attention_and_keys_of_no_use() -> None:
    """Heads may stand under attention, and what no speed follows from is passed over."""
    keys = model_keys({"layers": 1, "attention": {"heads": 32, "kv_heads": 4}, "rope_theta": 1e6, "hidden_act": "silu"})
    assert (keys["heads"], keys["kv_heads"]) == (32, 4)
    assert not {"rope_theta", "hidden_act"} & keys.keys()


def test_formats_of_experts_alone() -> None:
    """gpt-oss has its experts in MXFP4 and all else in bf16."""
    method = {"quantization_config": {"quant_method": "mxfp4"}, "torch_dtype": "bfloat16"}
    keys = model_keys({"model_type": "gpt_oss", "num_local_experts": 32, "intermediate_size": 9, **method})
    assert (keys["dtype"], keys["experts"]["dtype"]) == ("bf16", "mxfp4")
