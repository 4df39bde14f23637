from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Model
from extproc.fleet.hardware.shapes import assumptions, shape_of
from extproc.fleet.hardware.spelling import model_keys

DEEPSEEK = {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 2,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
}


SCOUT: dict[str, Any] = {
    "model_type": "llama4",
    "text_config": {
        "model_type": "llama4_text",
        "num_hidden_layers": 48,
        "hidden_size": 5120,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "interleave_moe_layer_step": 1,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "attention_chunk_size": 8192,
        "vocab_size": 202048,
        "max_position_embeddings": 10485760,
    },
}
MAVERICK: dict[str, Any] = {
    **SCOUT,
    "text_config": {**SCOUT["text_config"], "interleave_moe_layer_step": 2, "num_local_experts": 128},
}
GEMMA: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 62,
        "hidden_size": 5376,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "intermediate_size": 21504,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
    },
}


GEMMA_3_12B: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "mm_tokens_per_image": 256,
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "model_type": "gemma3_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1152, "num_attention_heads": 16, "num_hidden_layers": 27},
}
"""As published, with what it leaves out."""
GEMMA_3_4B: dict[str, Any] = {
    **GEMMA_3_12B,
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
}
GEMMA_2_9B: dict[str, Any] = {
    "model_type": "gemma2",
    "num_hidden_layers": 42,
    "hidden_size": 3584,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "intermediate_size": 14336,
    "sliding_window": 4096,
    "sliding_window_size": 4096,
    "vocab_size": 256000,
}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 12, "sliding_window": 128}, {"kv_layers": 12}),
        ({"layer_types": ["linear_attention"] * 18 + ["full_attention"] * 6}, {"kv_layers": 6}),
        ({"full_attention_interval": 4}, {"kv_layers": 6}),
        ({"sliding_window_pattern": 6, "sliding_window": 128}, {"kv_layers": 4}),
        ({"layer_types": ["full_attention"] * 24, "sliding_window": 4096}, {}),
        ({"sliding_window": 4096, "use_sliding_window": False}, {}),
        ({"sliding_window": 128}, {}),
        ({"kv_layers": 9, "sliding_window_pattern": 6, "sliding_window": 4096}, {}),
        ({"decoder_sparse_step": 2}, {"dense_layers": 12}),
        ({"decoder_sparse_step": 1, "mlp_only_layers": [0, 1]}, {"dense_layers": 2}),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [0, 1]}, {"dense_layers": 13}),
        ({"interleave_moe_layer_step": 2}, {"dense_layers": 12}),
        ({"moe_layers": [1, 3, 5]}, {"dense_layers": 21}),
    ],
)
def test_layers_that_are_not_alike(written: dict[str, Any], meant: dict[str, int]) -> None:
    """Those whose KV grows, and those without experts, are counted; a window in every layer is not trusted in."""
    assert shape_of({"num_hidden_layers": 24, **written})[0] == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"sliding_window": 128, "sliding_window_pattern": 6}, {"kv_layers": 8}),
        ({"sliding_window": 4096, "use_sliding_window": False}, {}),
        ({"attention_chunk_size": 128, "no_rope_layer_interval": 3}, {"kv_layers": 16}),
        ({"interleave_moe_layer_step": 2}, {"dense_layers": 24}),
        ({"moe_layers": [1, 3, 5]}, {"dense_layers": 45}),
        ({"decoder_sparse_step": 1, "mlp_only_layers": [0], "full_attention_interval": 4},
         {"dense_layers": 1, "kv_layers": 12}),
    ],
)  # fmt: skip
def test_layers_not_alike_in_a_file_of_ones_own(written: dict[str, Any], meant: dict[str, int]) -> None:
    """The keys of a config.json mean the same beside the page's spelling of layers, and none of them is refused."""
    shape = {"layers": 48, "hidden": 2048, "heads": 32, "kv_heads": 4, "head_dim": 128, "vocab": 151936}
    assert model_keys({**shape, **written}) == {**shape, **meant}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"sliding_window": 4096}, "windows of 4,096 tokens in 24 of 24 layers"),
        ({"sliding_window": 1024, "sliding_window_pattern": 6}, "windows of 1,024 tokens in 20 of 24 layers"),
        ({"layer_types": ["sliding_attention", "full_attention"] * 12}, "windows of unknown size in 12 of 24 layers"),
        ({"attention_chunk_size": 8192}, "windows of 8,192 tokens in 18 of 24 layers"),
    ],
)
def test_large_windows_are_counted_in_full(written: dict[str, Any], said: str) -> None:
    """A short request fills them, so that leaving them out would promise memory; what was assumed is said."""
    shape, _ = shape_of({"num_hidden_layers": 24, **written})
    assert shape == {"remarks": (f"{said} are counted as if all was kept: more KV than there is",)}


@pytest.mark.parametrize(("config", "billions", "active"), [(SCOUT, 108, 17), (MAVERICK, 401, 17)])
def test_llama_4(config: dict[str, Any], billions: float, active: float) -> None:
    """Scout and Maverick have what Meta publishes: 109 and 400 billion parameters with vision, 17 active."""
    model = Model.model_validate(model_keys(config))
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert model.active_parameters / 1e9 == pytest.approx(active, rel=0.05)
    assert list(assumptions(model)) == [
        "windows of 8,192 tokens in 36 of 48 layers are counted as if all was kept: more KV than there is"
    ]


def test_gemma() -> None:
    """A configuration that leaves out what its family ties equals the catalogue's entry in weights and KV."""
    written, known = Model.model_validate(model_keys(GEMMA)), builtin().model("gemma-3-27b")
    assert (written.parameters, written.growing_layers) == (known.parameters, known.growing_layers)
    assert list(assumptions(written)) == list(assumptions(known))
    text = {key: value for key, value in GEMMA["text_config"].items() if key != "head_dim"}
    keys = model_keys({**text, "tie_word_embeddings": False})
    assert (keys["head_dim"], keys["tie_embeddings"]) == (256, False)


@pytest.mark.parametrize(
    ("config", "billions", "windows"),
    [
        (GEMMA_3_12B, 11.77, "1,024 tokens in 40 of 48"),
        (GEMMA_3_4B, 3.88, "1,024 tokens in 29 of 34"),
        (GEMMA_2_9B, 9.24, "4,096 tokens in 21 of 42"),
    ],
)
def test_what_published_configurations_leave_out(config: dict[str, Any], billions: float, windows: str) -> None:
    """Their family's vocabulary, heads and windows come to the published parameters of the text model."""
    model = Model.model_validate(model_keys(config))
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.002)
    assert list(assumptions(model)) == [
        f"windows of {windows} layers are counted as if all was kept: more KV than there is"
    ]


def test_what_a_model_rests_on() -> None:
    """Layers without KV that grows, and latent attention."""
    assert [len(list(assumptions(builtin().model(name)))) for name in ("llama-3-8b", "gpt-oss-20b", "deepseek-v3")] == [
        0, 1, 1,
    ]  # fmt: skip


def test_latent_attention() -> None:
    """The widths of DeepSeek's configuration; keys without rotation are as wide as values where nothing is said."""
    keys = model_keys(DEEPSEEK)
    assert keys["latent"] == {"rank": 512, "rope": 64, "nope": 128, "value": 128, "query_rank": 1536}
    assert model_keys({**DEEPSEEK, "qk_nope_head_dim": None})["latent"] == keys["latent"]
    with pytest.raises(ConfigurationError, match="also needs qk_rope_head_dim"):
        model_keys({**DEEPSEEK, "qk_rope_head_dim": None})


def test_shared_experts_are_as_wide_as_others() -> None:
    """Two of them are one of twice the width, beside those that tokens choose."""
    assert model_keys(DEEPSEEK)["experts"] == {"count": 256, "active": 8, "intermediate": 2048, "shared": 4096}


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"mamba_d_state": 128}, "mamba_d_state says that layers keep a state"),
        ({"layer_types": ["convolution", "full_attention"]}, "layer_types has convolution, which is not modelled"),
    ],
)
def test_layers_of_another_form_are_refused(written: dict[str, Any], complaint: str) -> None:
    """Rather than counted as if they had KV."""
    with pytest.raises(ConfigurationError, match=complaint):
        shape_of({"num_hidden_layers": 2, **written})


def test_attention_to_a_choice_of_tokens_is_remarked() -> None:
    """It is read as attention to all of them."""
    assert model_keys({**DEEPSEEK, "index_topk": 2048})["remarks"] == (
        "index_topk: attention to a choice of tokens is modelled as to all of them",
    )
    assert "remarks" not in model_keys(DEEPSEEK)
