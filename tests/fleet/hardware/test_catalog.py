import json
import re
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin

LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rope_scaling": {"factor": 8.0},
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


@pytest.mark.parametrize(
    ("repository", "name", "dtype"),
    [
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b", "bf16"),
        ("meta-llama/Meta-Llama-3-70B-Instruct", "llama-3-70b", "bf16"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b", "fp8"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-2507", "bf16"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b-2507", "fp8"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral-small-3.2-24b", "bf16"),
    ],
)
def test_repository_names(repository: str, name: str, dtype: str) -> None:
    """A model is found by its Hugging Face name, and -FP8 there means fp8 weights."""
    model = builtin().model(repository)
    assert (model.name, model.dtype) == (name, dtype)


@pytest.mark.parametrize(
    ("repository", "tokens"),
    [
        ("Qwen/Qwen3-4B-Instruct-2507", 262_144),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", 262_144),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", 262_144),
        ("Qwen/Qwen3-30B-A3B", 40_960),
        ("Qwen/Qwen2.5-7B", 131_072),
        ("Qwen/Qwen2.5-7B-Instruct", 32_768),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", 32_768),
        ("Qwen/Qwen2.5-32B-Instruct-AWQ", 32_768),
        ("RedHatAI/Qwen2.5-14B-quantized.w8a16", 131_072),
        ("mistralai/Mistral-Small-24B-Instruct-2501", 32_768),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 131_072),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 131_072),
    ],
)
def test_releases_have_contexts_of_their_own(repository: str, tokens: int) -> None:
    """As their config.json says; the shape is that of the release before."""
    assert builtin().model(repository).max_context == tokens


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B-Instruct-2507", "mistralai/Magistral-Small-2507"])
def test_releases_that_are_not_known_are_refused(name: str) -> None:
    """Rather than taken for an older one, with its context."""
    with pytest.raises(ConfigurationError, match="No model"):
        builtin().model(name)


def test_every_entry_has_a_source() -> None:
    """No figure of the catalogue is without the place it is from."""
    entries = [*builtin().gpus.values(), *builtin().models.values()]
    assert [entry.name for entry in entries if not entry.source] == []


def test_unknown_names_suggest() -> None:
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(ConfigurationError, match="Did you mean h100-80gb"):
        builtin().gpu("h10-80gb")
    with pytest.raises(ConfigurationError, match="Did you mean llama-3-70b"):
        builtin().model("llama-3-71b")


def test_a_config_json_is_a_model(tmp_path: Path) -> None:
    """A config.json as published works as it is, and equals the catalogue's entry in all that matters."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA_CONFIG))
    assert builtin().model(str(path)).parameters == builtin().model("llama-3.1-8b").parameters


def test_a_config_json_with_experts(tmp_path: Path) -> None:
    """Experts are read under each name that published configurations give them."""
    path = tmp_path / "moe.json"
    moe = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1}
    shape = {"num_hidden_layers": 48, "hidden_size": 2048, "num_key_value_heads": 4, "head_dim": 128}
    path.write_text(json.dumps({**LLAMA_CONFIG, **shape, **moe, "vocab_size": 151936, "intermediate_size": 6144}))
    assert builtin().model(str(path)).parameters == builtin().model("qwen3-30b-a3b").parameters


def test_names_that_a_file_gives(tmp_path: Path) -> None:
    """A file's name for a card or a model is looked up as any name is, so that few figures are enough."""
    path = tmp_path / "gpu.yaml"
    path.write_text("gpu: {name: NVIDIA H100 80GB HBM3, memory_gib: 79.1}\n")
    gpu = builtin().gpu(str(path))
    assert (gpu.memory_gib, gpu.bandwidth_tb_s) == (79.1, builtin().gpu("h100").bandwidth_tb_s)
    path.write_text("model: Qwen/Qwen3-32B\nmax_model_len: 8192\n")
    model = builtin().model(str(path))
    assert (model.max_context, model.layers) == (8192, builtin().model("qwen3-32b").layers)


@pytest.mark.parametrize(
    "experts",
    [
        "experts: 128\nexperts_per_token: 8\nexpert_intermediate: 768\n",
        "num_experts: 128\ntop_k: 8\nmoe_intermediate_size: 768\n",
        "moe: {num_experts: 128, top_k: 8, intermediate_size: 768}\n",
        "experts: {count: 128, active: 8, intermediate: 768}\n",
    ],
)
def test_a_shape_in_other_words(tmp_path: Path, experts: str) -> None:
    """Papers' names of a model's sizes are read, flat or grouped, and equal the catalogue's entry."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"n_layers: 48\nd_model: 2048\nn_heads: 32\nn_kv_heads: 4\nhead_dim: 128\nvocab: 151936\n{experts}")
    assert builtin().model(str(path)).parameters == builtin().model("qwen3-30b-a3b").parameters


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    """A key that nothing reads is refused by name, with the one that was meant."""
    path = tmp_path / "gpu.yaml"
    path.write_text("memory_gib: 24\nbandwith_tb_s: 1\nbf16_tflops: 100\n")
    with pytest.raises(ConfigurationError, match=r"'bandwith_tb_s'. Did you mean bandwidth_tb_s"):
        builtin().gpu(str(path))
    path.write_text(json.dumps({**LLAMA_CONFIG, "num_key_value_head": 8}))
    with pytest.raises(ConfigurationError, match="num_key_value_head"):
        builtin().model(str(path))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """What an entry lacks is said with the file and the key."""
    path = tmp_path / "gpu.yaml"
    path.write_text("memory_gib: 24\nbf16_tflops: 100\n")
    with pytest.raises(ConfigurationError, match=r"gpu.yaml: gpu: bandwidth_tb_s is missing"):
        builtin().gpu(str(path))


def test_units_of_data_sheets(tmp_path: Path) -> None:
    """Memory in GB and bandwidth in GB/s are what data sheets say; a 24 GB card reports about 23.6 GiB."""
    path = tmp_path / "card.yaml"
    path.write_text("memory_gb: 24\nbandwidth_gb_s: 1008\nfp16_tflops: 165.2\n")
    gpu = builtin().gpu(str(path))
    assert (gpu.name, gpu.bf16_tflops) == ("card", 165.2)
    assert gpu.bandwidth_tb_s == pytest.approx(1.008)
    assert gpu.memory_gib == pytest.approx(23.6, abs=0.1)


def test_an_override_keeps_the_rest(tmp_path: Path) -> None:
    """An entry named as one of the catalogue changes what it says and keeps the other figures."""
    path = tmp_path / "prices.yaml"
    path.write_text("a100-80gb: {usd_per_hour: 1.1}\nmine: {like: h100, usd_per_hour: 2.0}\n")
    catalog = builtin().extended(gpus=path)
    assert catalog.gpu("a100-80gb").usd_per_hour == 1.1
    assert catalog.gpu("mine").memory_gib == builtin().gpu("h100").memory_gib
    assert catalog.gpu("a100-80gb").bandwidth_tb_s == builtin().gpu("a100-80gb").bandwidth_tb_s


def test_an_override_keeps_what_is_assumed(tmp_path: Path) -> None:
    """What was said of the other entry's windows holds for what is like it; windows of its own are said in place."""
    path = tmp_path / "mine.yaml"
    path.write_text("{like: gemma-3-27b, name: x}\n")
    assert builtin().model(str(path)).remarks == builtin().model("gemma-3-27b").remarks
    path.write_text("{like: gemma-3-27b, name: x, layers: 62, sliding_window: 512, sliding_window_pattern: 6}\n")
    (remark,) = builtin().model(str(path)).remarks
    assert remark.startswith("windows of 512 tokens in 52 of 62 layers")


def test_files_that_are_none(tmp_path: Path) -> None:
    """Missing, no YAML, with a thing said twice, or with several entries where one is due: refused with its name."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        builtin().gpu(str(tmp_path / "none.yaml"))
    path = tmp_path / "two.yaml"
    path.write_text("[1, 2")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        builtin().gpu(str(path))
    path.write_text("like: h200\nusd_per_hour: 1\nusd_per_hour: 2\n")
    with pytest.raises(ConfigurationError, match="'usd_per_hour' stands in line 2 already"):
        builtin().gpu(str(path))
    path.write_text("a100-80gb: {usd_per_hour: 1}\nh200: {usd_per_hour: 2}\n")
    with pytest.raises(ConfigurationError, match="has 2 entries"):
        builtin().gpu(str(path))


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    """With the least that such a file says."""
    path = tmp_path / "gpu.yaml"
    path.write_text("name: x\nfp8_tflops: 100\n")
    with pytest.raises(ConfigurationError, match=r"memory_gib, bandwidth_tb_s, bf16_tflops are missing") as complaint:
        builtin().gpu(str(path))
    assert "bandwidth_gb_s: 1792     # gigabytes a second" in str(complaint.value)


@pytest.mark.parametrize(("name", "kin"), [("H20-3e", "h20"), ("H800 PCIe", "h800"), ("H100 64GB", "h100-80gb")])
def test_relatives_of_a_card_are_refused(name: str, kin: str) -> None:
    """What begins like a card's name is not answered as if it was misspelt."""
    complaint = f"No GPU '{name}' is in the catalogue. {kin} is, whose memory, bandwidth and links may be others."
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        builtin().gpu(name)


def test_a_link_counts_both_directions_by_what_is_inherited(tmp_path: Path) -> None:
    """A file that leaves its card's rate to the catalogue is understood as one that says it."""
    path = tmp_path / "gpu.yaml"
    path.write_text("{like: h200, nvlink_gb_s: 900}\n")
    gpu = builtin().gpu(str(path))
    assert (gpu.interconnect_gb_s, gpu.remarks) == (
        450, ("the link's 900 GB/s were taken to count both directions: 450 in each",),
    )  # fmt: skip
    path.write_text("{like: b200, nvlink_gb_s: 900}\n")
    assert builtin().gpu(str(path)).interconnect_gb_s == 900


def test_a_name_counts_more_than_a_device_s(tmp_path: Path) -> None:
    """A file may give both."""
    path = tmp_path / "gpu.yaml"
    path.write_text("{name: box, device_name: NVIDIA H100 80GB HBM3, like: h100-80gb, usd_per_hour: 1}\n")
    assert builtin().gpu(str(path)).name == "box"
