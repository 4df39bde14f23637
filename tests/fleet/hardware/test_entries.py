import pytest
from pydantic import ValidationError

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Gpu, Model


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        ("llama-3-8b", 8.03, 8.03),
        ("llama-3-70b", 70.6, 70.6),
        ("llama-3.1-405b", 405.9, 405.9),
        ("llama-3.2-1b", 1.24, 1.24),
        ("llama-3.2-3b", 3.21, 3.21),
        ("qwen3-0.6b", 0.6, 0.6),
        ("qwen3-8b", 8.2, 8.2),
        ("qwen3-32b", 32.8, 32.8),
        ("qwen3-30b-a3b", 30.5, 3.3),
        ("qwen3-235b-a22b", 235, 22),
        ("qwen2.5-7b", 7.62, 7.62),
        ("qwen2.5-72b", 72.7, 72.7),
        ("mistral-7b", 7.25, 7.25),
        ("mixtral-8x7b", 46.7, 12.9),
        ("gpt-oss-120b", 116.8, 5.7),
        ("gemma-3-27b", 27.0, 27.0),
        ("deepseek-v3", 671, 37.5),
        ("deepseek-v2-lite", 15.7, 2.66),
        ("phi-4", 14.7, 14.7),
        ("mistral-nemo", 12.2, 12.2),
        ("qwq-32b", 32.8, 32.8),
    ],
)
def test_parameters(name: str, billions: float, active: float) -> None:
    """An entry's shape adds up to the parameter counts that its publisher states."""
    model = builtin().model(name)
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert model.active_parameters / 1e9 == pytest.approx(active, rel=0.02)


def test_kind_of_memory() -> None:
    """Where an entry does not say it, 1.9 TB/s and more are HBM."""
    card = {"memory_gib": 24, "bf16_tflops": 100}
    assert [Gpu(**card, bandwidth_tb_s=speed).has_hbm for speed in (1.79, 2.0)] == [False, True]  # type: ignore[arg-type]
    assert Gpu(**card, bandwidth_tb_s=1.5, memory="hbm").has_hbm  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rates", "bandwidth", "link", "gb_s"),
    [
        ({"bf16_tflops": 312}, 2.0, "nvlink", 300),
        ({"bf16_tflops": 989, "fp8_tflops": 1979}, 3.35, "nvlink", 450),
        ({"bf16_tflops": 2250, "fp8_tflops": 4500}, 8.0, "nvlink", 900),
        ({"bf16_tflops": 500, "fp8_tflops": 1000}, 1.8, "pcie", 32),
    ],
)
def test_the_link_that_nobody_named(rates: dict[str, float], bandwidth: float, link: str, gb_s: float) -> None:
    """HBM cards are taken to have the NVLink of their generation, others PCIe 4."""
    card = Gpu(memory_gib=80, bandwidth_tb_s=bandwidth, **rates)  # type: ignore[arg-type]
    assert (card.link, card.link_gb_s) == (link, gb_s)


def test_kernels_by_capability() -> None:
    """9.0 and 10.0 pack heads, 8.9 and 12.0 do not; without it HBM with fp8 does."""
    card = Gpu(memory_gib=80, bandwidth_tb_s=3.0, bf16_tflops=900, fp8_tflops=1800)
    packs = [card.model_copy(update={"capability": each}).packs_heads for each in (8.9, 9.0, 10.0, 12.0, None)]
    assert packs == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kv_heads": 5}, "not a multiple"),
        ({"intermediate": 0}, "intermediate"),
        ({"experts": {"count": 4, "active": 8, "intermediate": 64}}, "more than count"),
    ],
)
def test_impossible_models(wrong: dict[str, object], said: str) -> None:
    """A shape that no model can have is refused with its reason."""
    shape = {"layers": 2, "hidden": 64, "heads": 8, "kv_heads": 4, "head_dim": 8, "intermediate": 128, "vocab": 100}
    assert Model.model_validate(shape).parameters > 0
    with pytest.raises(ValidationError, match=said):
        Model.model_validate({**shape, **wrong})
