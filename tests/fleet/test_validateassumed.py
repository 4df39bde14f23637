import json
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.recordedengine import Engine
from extproc.fleet.validateassumed import gpu_of, model_of, remarks_of

BLACKWELL = Engine(device="NVIDIA RTX PRO 6000 Blackwell Server Edition", capability=12.0, tensor_parallel_size=2)
SHEET = "name: my-card\nmemory_gb: 96\nbandwidth_gb_s: 1597\nbf16_tflops: 503.8\n"


def file(directory: Path, text: str) -> str:
    """A file of that text."""
    path = directory / "card.yaml"
    path.write_text(text)
    return str(path)


def test_what_a_file_leaves_out_is_of_the_recorded_card(tmp_path: Path) -> None:
    """Link, kind of memory and what was measured, and it is said; its own figures stay."""
    found = gpu_of(BLACKWELL, file(tmp_path, SHEET))
    known = builtin().gpu("rtx-pro-6000-server")
    assert (found.gpu.link, found.gpu.link_gb_s) == ("pcie", 64)
    assert found.gpu.measured_tflops == known.measured_tflops
    assert found.gpu.memory_gib == pytest.approx(94.56)
    assert found.gpu.name == "my-card"
    assert "taken from the catalogue's rtx-pro-6000-server" in found.remarks[0]
    assert not list(remarks_of(found.gpu, builtin().model("qwen3-32b"), BLACKWELL))


def test_another_card_is_not_filled_up(tmp_path: Path) -> None:
    """What would an H100 have done? It keeps nothing of the recorded card, not even its kernels."""
    hopper = "name: other\nmemory_gib: 79.2\nbandwidth_tb_s: 3.35\nbf16_tflops: 989\nfp8_tflops: 1979\n"
    found = gpu_of(BLACKWELL, file(tmp_path, hopper)).gpu
    assert (found.link, found.link_gb_s) == ("nvlink", 450)
    assert found.capability is None
    assert gpu_of(BLACKWELL, "h100").gpu == builtin().gpu("h100")


def test_a_rate_of_another_accumulation_is_remarked(tmp_path: Path) -> None:
    """Half the tensor rate, as sheets of vector units say it, is taken and doubted."""
    found = gpu_of(BLACKWELL, file(tmp_path, SHEET.replace("503.8", "252")))
    assert found.gpu.bf16_tflops == 252
    assert "bf16_tflops 252: the catalogue's rtx-pro-6000-server has 503.8" in found.remarks[0]


def test_every_assumption_is_said(tmp_path: Path) -> None:
    """Of a card that nobody knows: its link, its memory, its fp8, its best product and its kernels."""
    unknown = Engine(device="Abacus 9", tensor_parallel_size=2)
    gpu = gpu_of(unknown, file(tmp_path, "memory_gib: 90\nbandwidth_tb_s: 3.0\nbf16_tflops: 700\n")).gpu
    said = " ".join(remarks_of(gpu, builtin().model("Qwen/Qwen3-32B-FP8"), unknown))
    for part in ("nvlink at 300 GB/s assumed", "HBM assumed", "widened to bf16", "0.85 of", "FlashAttention 2 assumed"):
        assert part in said
    assert "KV: 12 of 24 layers" in " ".join(remarks_of(gpu, builtin().model("gpt-oss-20b"), unknown))


def test_kernels_follow_the_recorded_capability(tmp_path: Path) -> None:
    """A Hopper without an fp8 rate in its file still has its kernels; a workstation card with fp8 has not."""
    hopper = Engine(device="NVIDIA H100 80GB HBM3", capability=9.0)
    sheet = "memory_gib: 79.2\nbandwidth_tb_s: 3.35\nbf16_tflops: 989\n"
    assert gpu_of(hopper, file(tmp_path, sheet)).gpu.packs_heads
    assert not gpu_of(BLACKWELL, None).gpu.packs_heads


@pytest.mark.parametrize(
    ("device", "memory_gib", "complaint"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", None, "No GPU 'NVIDIA H100 80GB HBM3 MIG 3g.40gb'"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, "No GPU"),
        ("NVIDIA GeForce RTX 4090 D", None, "No GPU"),
        ("NVIDIA A100-SXM-64GB", 63.4, "No GPU"),
        ("NVIDIA A100-SXM4-80GB", 63.4, "reports 63.4 GiB, and the catalogue's a100-80gb has 79.15"),
    ],
)
def test_parts_of_cards_are_not_taken_for_whole(device: str, memory_gib: float | None, complaint: str) -> None:
    """Slices, laptops' and other editions want a description of their own."""
    engine = Engine(device=device, memory_bytes=memory_gib and memory_gib * 2**30)
    with pytest.raises(ConfigurationError, match=complaint):
        gpu_of(engine, None)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(model="/models/configs/Qwen3-32B.json"),
        Engine(model="/models/Qwen3-32B/"),
        Engine(model="/cache/hub/models--Qwen--Qwen3-32B/snapshots/9216db5781bf21249d130ec9da846c4624c16137"),
        Engine(model="/data/weights", served_model="Qwen/Qwen3-32B"),
    ],
)
def test_models_are_found_by_any_part_of_a_path(engine: Engine) -> None:
    """Files of another machine, folders, a cache's snapshot, and what clients called it."""
    assert model_of(engine, None).name == "qwen3-32b"


def test_quantisation(tmp_path: Path) -> None:
    """The recorded method counts; where it leaves the bytes open, a model's file says them, and else nothing does."""
    engine = Engine(model="acme/llama-3.1-8b", quantization="compressed-tensors", kv_cache_dtype="fp8")
    with pytest.raises(ConfigurationError, match="does not say of itself how many bytes"):
        model_of(engine, None)
    path = tmp_path / "model.yaml"
    path.write_text("like: llama-3.1-8b\ndtype: int4\n")
    found = model_of(engine, str(path))
    assert (found.dtype, found.kv_dtype) == ("int4", "fp8")
    assert model_of(Engine(model="llama-3.1-8b", quantization="awq_marlin"), str(path)).dtype == "int4"
    eight = {"quantization_config": {"quant_method": "gptq", "bits": 8}}
    path.write_text(json.dumps({"like": "llama-3.1-8b", **eight}))
    assert model_of(Engine(model="llama-3.1-8b", quantization="gptq_marlin"), str(path)).dtype == "w8a16"
    assert model_of(Engine(model="acme/llama-3.1-8b-GPTQ-Int8", quantization="gptq_marlin"), None).dtype == "w8a16"


def test_formats_of_experts_alone_leave_the_rest() -> None:
    """gpt-oss is recorded as mxfp4 and has its attention in bf16."""
    assert model_of(Engine(model="openai/gpt-oss-20b", quantization="mxfp4"), None).dtype == "bf16"
    assert model_of(Engine(model="Qwen/Qwen3-32B", quantization="mxfp4"), None).dtype == "mxfp4"


def test_latent_attention_is_remarked() -> None:
    """No recording of it was at hand."""
    engine = Engine(device="NVIDIA H200", model="deepseek-ai/DeepSeek-V3")
    said = list(remarks_of(gpu_of(engine, None).gpu, model_of(engine, None), engine))
    assert said == ["latent attention: modelled, and never held against a recording"]
