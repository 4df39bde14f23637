import pytest

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.devices import device


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-pcie-40gb"),
        ("NVIDIA A100 40GB PCIe", "a100-pcie-40gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-server"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("AMD Instinct MI300X", "mi300x"),
        ("A100-80GB", "a100-80gb"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA H100 80GB PCIe", "h100-pcie"),
        ("NVIDIA H100 SXM5 80GB", "h100-80gb"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA GH200 120GB", "gh200"),
        ("NVIDIA L40S 48GB", "l40s"),
        ("NVIDIA B200 192GB", "b200"),
        ("AMD Instinct MI300X VF", "mi300x"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "rtx-pro-6000-max-q"),
    ],
)
def test_device_names(recorded: str, name: str) -> None:
    """A GPU is found by the name that its driver reports."""
    assert builtin().gpu(recorded).name == name


def test_links_are_those_of_the_card() -> None:
    """The A100 that is plugged in has PCIe 4, of either memory, and the one in a socket NVLink."""
    assert [builtin().gpu(name).link_gb_s for name in ("A100-PCIE-40GB", "A100 80GB PCIe", "A100-SXM4-40GB")] == [
        32, 32, 300,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "recorded",
    [
        "NVIDIA H800 PCIe",
        "H20-3e",
        "NVIDIA H20-3e 141GB",
        "NVIDIA GH200 144G HBM3e",
        "NVIDIA A40-48Q",
        "NVIDIA L40S-48Q",
        "NVIDIA A10-24Q",
        "GRID A100-40C",
        "NVIDIA A100-40C",
        "NVIDIA A100-SXM-64GB",
        "H100 64GB",
        "H100 0GB",
        "NVIDIA H100 SXM5 94GB",
        "NVIDIA A100 PCIe",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
    ],
)
def test_relatives_and_parts_of_cards_are_none(recorded: str) -> None:
    """A word that an entry does not answer for may be another memory, bandwidth or link."""
    assert device(builtin().gpus.values(), recorded) is None


@pytest.mark.parametrize(
    "recorded", ["NVIDIA A10", "NVIDIA A10G", "Tesla T4", "NVIDIA L40", "NVIDIA H20", "NVIDIA GB200"]
)
def test_short_names_are_not_taken_for_longer_ones(recorded: str) -> None:
    """A10 is not A10G, and GB200 not B200."""
    assert builtin().gpu(recorded).name == recorded.lower().removeprefix("nvidia ").removeprefix("tesla ")
