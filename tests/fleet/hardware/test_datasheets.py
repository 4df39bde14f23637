from collections.abc import Mapping
from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.datasheets import gpu_figures

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
