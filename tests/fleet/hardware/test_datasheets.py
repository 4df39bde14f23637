from collections.abc import Mapping
from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.datasheets import gpu_figures, one_way

CARD = {"memory_gib": 94.56, "bandwidth_tb_s": 1.792, "bf16_tflops": 503.8}


@pytest.mark.parametrize(
    "written",
    [
        {"memory_gb": 96, "bandwidth_gb_s": 1792, "bf16_tflops": 503.8},
        {"memory": "96 GB", "bandwidth": "1.792 TB/s", "bf16": "503.8 TFLOPS"},
        {"vram_gb": 96, "mem_bandwidth_gbs": 1792, "peak_tflops_bf16": 503.8},
        {"memory_GB": 96, "memory_bandwidth_GBps": 1792, "fp16_TFLOPS": 503.8},
        {"memory": 96, "bandwidth": 1792, "tflops": {"bf16": 503.8, "fp32": 125}},
        {"memory_gb": 96, "memory_bw_tbps": 1.792, "bf16_tflops_sparse": 1007.6, "tdp_w": 600, "architecture": "new"},
        {"memory_gib": 94.56, "memory_gb": 97, "bandwidth_tb_per_s": 1.792, "bf16_tflops": 503.8, "fp16_tflops": 504},
    ],
)
def test_one_card_in_many_words(written: Mapping[str, Any]) -> None:
    """Units in the key or in the value, other words, groups and rates with sparsity give the same card."""
    assert gpu_figures(written) == pytest.approx(CARD)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"interconnect": "PCIe Gen5 x16"}, {"interconnect": "pcie", "interconnect_gb_s": 64.0}),
        ({"interconnect": "NVLink 4"}, {"interconnect": "nvlink"}),
        ({"nvlink": False, "interconnect": "none"}, {}),
        ({"nvlink_gb_s": 450}, {"interconnect": "nvlink", "interconnect_gb_s": 450}),
        ({"pcie_gen": 4}, {"interconnect": "pcie", "interconnect_gb_s": 32.0}),
        ({"memory_type": "GDDR7"}, {"memory": "gddr"}),
        ({"memory": "80 GiB HBM3"}, {"memory_gib": 80.0, "memory": "hbm"}),
        ({"price": "$2.50", "fp8_tflops": 733}, {"usd_per_hour": 2.5, "fp8_tflops": 733}),
    ],
)
def test_links_kinds_and_prices(written: Mapping[str, Any], meant: Mapping[str, Any]) -> None:
    """What connects the cards, what their memory is and what they cost is understood in words."""
    assert gpu_figures(written) == meant


def test_what_is_no_number() -> None:
    """A figure that is no number, or an unknown link, is refused by name."""
    with pytest.raises(ConfigurationError, match=r"bandwidth is 'fast': expected a number"):
        gpu_figures({"bandwidth": "fast"})
    with pytest.raises(ConfigurationError, match="expected nvlink, pcie or host"):
        gpu_figures({"interconnect": "string"})


def test_what_is_not_understood_comes_back() -> None:
    """A misspelt key is not taken for another."""
    assert gpu_figures({"bandwith_tb_s": 1}) == {"bandwith_tb_s": 1}


def test_bytes_and_flops_by_the_second() -> None:
    """Bare units of SI, as programs print them."""
    written = {"memory_bytes": 85e9, "memory_bandwidth_bytes_per_s": 3.35e12, "bf16_flops": "989e12"}
    assert gpu_figures(written) == pytest.approx(
        {"memory_gib": 85e9 / 2**30, "bandwidth_tb_s": 3.35, "bf16_tflops": 989.0}
    )


@pytest.mark.parametrize(
    ("written", "each_way", "guessed"),
    [
        ({"nvlink_gb_s_bidirectional": 900}, 450, False),
        ({"nvlink_gbps": 900, "bf16_tflops": 989}, 450, True),
        ({"nvlink_gb_s": 900, "bf16_tflops": 2250}, 900, False),
        ({"nvlink_gb_s": 450, "bf16_tflops": 989}, 450, False),
        ({"nvlink_gb_s": 900, "bandwidth_tb_s": 3.35, "bf16_tflops": 1979}, 450, True),
        ({"nvlink_gb_s": 1800, "bf16_tflops": 2250}, 900, True),
        ({"nvlink": "400 GB/s bidirectional"}, 200, False),
        ({"nvlink_gbytes_s": 450}, 450, False),
        ({"nvlink_bytes_s": 450e9}, 450, False),
    ],
)
def test_links_are_of_one_direction(written: Mapping[str, Any], each_way: float, *, guessed: bool) -> None:
    """Data sheets count both: halved where the key or the card's generation says so, and remarked where it guesses."""
    found = one_way(gpu_figures(written), {})
    assert found["interconnect_gb_s"] == each_way
    assert ("remarks" in found) is guessed


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"bandwidth_tb_s": 3350}, "bandwidth_tb_s comes to 3,350 TB/s, and no card has that"),
        ({"memory_gib": 80_000}, "memory_gib comes to"),
        ({"bf16_tflops": 0.989}, "bf16_tflops comes to 0.989 TFLOPS"),
    ],
)
def test_impossible_figures_have_another_unit(written: Mapping[str, Any], complaint: str) -> None:
    """Which is said, with what is possible."""
    with pytest.raises(ConfigurationError, match=complaint):
        gpu_figures(written)


def test_what_says_nothing_of_speed_is_remarked_or_passed_over() -> None:
    """How many there are is not part of a card; its power is."""
    found = gpu_figures({"count": 2, "url": "x", "release": 2022, "tdp_w": 700, "compute_capability": "9.0"})
    assert found.pop("capability") == 9.0
    assert found.pop("remarks") == tuple(
        f"{key} was not read: an entry is of one card" for key in ("count", "url", "release")
    )
    assert found == {}


@pytest.mark.parametrize("written", [9.0, 90, "9.0", "90", "sm_90", "sm_90a", "SM90", [9, 0]])
def test_a_capability_is_written_in_several_ways(written: object) -> None:
    """As NVIDIA, its compiler and torch do."""
    assert gpu_figures({"compute_capability": written}) == {"capability": 9.0}
    assert gpu_figures({"capability": 120}) == {"capability": 12.0}
