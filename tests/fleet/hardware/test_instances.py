import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.checkpoints import YOURS
from extproc.fleet.hardware.instances import PUBLISHED, instance_of, published_instance


def test_instance() -> None:
    """An instance has its GPUs, their price, a name for people and the flags that start it."""
    made = instance_of(
        builtin().model("llama-3-70b"), builtin().gpu("a100-80gb"), 4, max_model_len=8192, max_num_seqs=64
    )
    assert (made.gpus, made.name) == (4, "4x a100-80gb")
    assert made.usd_per_hour == pytest.approx(4 * 2.21)
    assert " ".join(made.flags[1:]) == (
        "--tensor-parallel-size 4 --max-model-len 8192 --max-num-seqs 64 --max-num-batched-tokens 2048 "
        "--gpu-memory-utilization 0.92"
    )
    assert (len(made.steps.dense_s), len(made.steps.sequences_s)) == (2049, 65)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ"),
        ("RedHatAI/Qwen3-32B-FP8-dynamic", "RedHatAI/Qwen3-32B-FP8-dynamic"),
        ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int8"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3-32b", "Qwen/Qwen3-32B"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("deepseek-v3-fp8", "deepseek-ai/DeepSeek-V3"),
        ("qwen3-32b-awq", YOURS),
        ("llama-3.1-70b-fp8", YOURS),
    ],
)
def test_a_checkpoint_says_its_own_format(name: str, served: str) -> None:
    """It is served by the repository given or known, without --quantization, which would contradict its format."""
    made = instance_of(builtin().model(name), builtin().gpu("b200"), 8, max_model_len=8192)
    assert made.flags[0] == served
    assert "--quantization" not in made.flags


def test_sequences_never_exceed_tokens() -> None:
    """As in vLLM, no more sequences than tokens of a step."""
    made = instance_of(
        builtin().model("llama-3-8b"), builtin().gpu("h100"), 1, max_model_len=8192, max_num_batched_tokens=512
    )
    assert made.max_num_seqs == 512


@pytest.mark.parametrize("settings", [{"gpu_memory_utilization": 1.5}, {"watermark": 1.0}, {"max_model_len": 0}])
def test_impossible_settings(settings: dict[str, float]) -> None:
    """Settings that vLLM would refuse are refused here, by their flag."""
    with pytest.raises(ConfigurationError, match="--"):
        instance_of(builtin().model("llama-3-8b"), builtin().gpu("h100"), 1, **{"max_model_len": 8192, **settings})  # type: ignore[arg-type]


def test_published_slots() -> None:
    """The published planner has 128 slots at 8K, 16 at 64K and 256 at 4K on an A100."""
    slots = [PUBLISHED["a100-80gb"].slots(tokens) for tokens in (4096, 8192, 16_384, 65_536)]
    assert slots == [256, 128, 64, 16]


def test_published_throughput() -> None:
    """For 1,600 prompt and 400 output tokens its law gives 11.2 req/s at 8K and 3.76 at 64K, as its own code does."""
    a100 = PUBLISHED["a100-80gb"]
    rates = [slots / a100.service_s(1600, 400, 2000, slots) for slots in (128, 16)]
    assert rates == [pytest.approx(11.2, rel=0.01), pytest.approx(3.76, rel=0.02)]


def test_published_instance() -> None:
    """Its step with every slot full takes W + H · mean/8192 · n."""
    made = published_instance(8192)
    full = made.steps.dense_s[128] + made.steps.kv_s * 128 * 2000
    assert full == pytest.approx(PUBLISHED["a100-80gb"].iteration_s(2000, 128))
    with pytest.raises(ConfigurationError, match="a100-80gb"):
        published_instance(8192, "mi300x")
