import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.memory import kv_bytes_per_token, weight_bytes


def blocks(model: str, gpu: str, tp: int, **settings: object) -> int:
    """KV blocks of an instance that needs hardly any."""
    return instance_of(builtin().model(model), builtin().gpu(gpu), tp, max_model_len=16, **settings).kv_blocks  # type: ignore[arg-type]


def test_kv_of_a_token() -> None:
    """KV bytes per token are those of the configurations, per GPU; heads are copied where GPUs outnumber them."""
    llama, qwen = builtin().model("llama-3-70b"), builtin().model("qwen3-235b-a22b")
    assert kv_bytes_per_token(llama, 1) == 327_680
    assert kv_bytes_per_token(llama, 4) == 81_920
    assert [kv_bytes_per_token(qwen, tp) for tp in (1, 4, 8)] == [192_512, 48_128, 48_128]


def test_weights() -> None:
    """Weights are 141 GB in bf16 and about 72 GB in fp8, whose embeddings stay bf16."""
    llama = builtin().model("llama-3-70b")
    assert weight_bytes(llama, 1) / 1e9 == pytest.approx(141, rel=0.01)
    assert weight_bytes(llama.model_copy(update={"dtype": "fp8"}), 1) / 1e9 == pytest.approx(72.7, rel=0.01)


def test_weights_with_latent_attention() -> None:
    """What leads into latent vectors is on every GPU, all else is cut: eight hold a little more than one."""
    model = builtin().model("deepseek-v3")
    assert weight_bytes(model, 1) / 1e9 == pytest.approx(673, rel=0.01)
    assert 1.0 < 8 * weight_bytes(model, 8) / weight_bytes(model, 1) < 1.03


@pytest.mark.parametrize(
    ("place", "vllm", "batched", "sequences", "read"),
    [
        (("llama-3.1-70b", "h100", 4), "0.15.1", 2048, 128, 30_425),
        (("llama-3.1-70b", "h100", 4), "0.15.1", 8192, 128, 30_251),
        (("llama-3.1-8b", "rtx-4090", 1), "0.19.0", 2048, 256, 2_588),
    ],
)
def test_blocks_as_vllm_reported(
    place: tuple[str, str, int], vllm: str, batched: int, sequences: int, read: int
) -> None:
    """Blocks come within 2 % of those that vLLM printed in public runs."""
    computed = blocks(*place, vllm=vllm, max_num_batched_tokens=batched, max_num_seqs=sequences)
    assert computed == pytest.approx(read, rel=0.02)


@pytest.mark.parametrize(
    ("model", "gpu", "tp", "kv", "thousands"),
    [
        ("llama-3-70b", "a100-80gb", 2, "bf16", 31.5),
        ("llama-3-70b", "h100", 4, "bf16", 494),
        ("llama-3-70b", "h100", 8, "bf16", 1420),
        ("llama-3-70b", "h200", 2, "bf16", 397),
        ("llama-3-70b", "mi300x", 4, "bf16", 1850),
        ("llama-3-70b-fp8", "h100", 2, "fp8", 488),
        ("qwen3-235b-a22b", "h100", 8, "bf16", 352),
        ("qwen3-235b-a22b", "mi300x", 8, "bf16", 2670),
        ("qwen3-235b-a22b-fp8", "h200", 4, "bf16", 1590),
    ],
)
def test_capacity(model: str, gpu: str, tp: int, kv: str, thousands: float) -> None:
    """KV tokens of current releases are those of an account with 2.3 GiB kept on each GPU."""
    settings = {"kv_cache_dtype": kv, "max_num_batched_tokens": 2048, "max_num_seqs": 256}
    assert blocks(model, gpu, tp, **settings) * 16 / 1e3 == pytest.approx(thousands, rel=0.03)


def test_what_does_not_fit_is_refused() -> None:
    """A context above the KV cache is refused with what fits and with the tensor parallelism that would hold it."""
    llama, a100 = builtin().model("llama-3-70b"), builtin().gpu("a100-80gb")
    with pytest.raises(
        ConfigurationError, match=r"65,536 tokens does not fit .* 31,\d+ tokens do. --tensor-parallel-size 4"
    ):
        instance_of(llama, a100, 2, max_model_len=65_536, max_num_batched_tokens=2048)
    with pytest.raises(ConfigurationError, match=r"weights take 131.4 GiB .* --tensor-parallel-size 2 would"):
        instance_of(llama, a100, 1, max_model_len=1024)
    with pytest.raises(ConfigurationError, match="does not divide the 64 attention heads"):
        instance_of(llama, a100, 3, max_model_len=1024)


def test_heads_of_kv_are_parted_evenly_or_copied_whole() -> None:
    """As vLLM asserts of every attention layer: ten heads on two, five or ten GPUs, or each of them on two."""
    phi, a100 = builtin().model("phi-4"), builtin().gpu("a100-80gb")
    assert phi.kv_heads == 10
    assert [instance_of(phi, a100, tp, max_model_len=1024).gpus for tp in (1, 2, 5, 10, 20)] == [1, 2, 5, 10, 20]
    for tp in (4, 8):
        with pytest.raises(ConfigurationError, match="10 KV heads"):
            instance_of(phi, a100, tp, max_model_len=1024)
    with pytest.raises(ConfigurationError, match="--tensor-parallel-size 2 would"):
        instance_of(phi, builtin().gpu("l4"), 1, max_model_len=1024)
