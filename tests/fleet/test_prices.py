from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.asked import CatalogFlags
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.prices import chosen, counted


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A file with one further GPU, which has no price."""
    path = tmp_path / "gpus.yaml"
    path.write_text("cardx:\n  memory_gib: 80\n  bandwidth_tb_s: 2.0\n  bf16_tflops: 312\n")
    return path


def test_prices_are_the_operators(more: Path) -> None:
    """Of a GPU of the catalogue, by any of its names, or of a file of further ones; each GPU comes once."""
    assert CatalogFlags(prices=("A100_80GB=1.5",)).chosen(("a100-80gb",))[0].usd_per_hour == 1.5
    known = CatalogFlags(gpus=more, prices=("cardx=0.9",))
    found = known.chosen(("cardx", "a100-80gb", "cardx"))
    assert [gpu.name for gpu in found] == ["cardx", "a100-80gb"]
    assert found[0].usd_per_hour == 0.9
    assert known.catalog().gpu("cardx").usd_per_hour == 0.9


def test_a_file_given_as_the_gpu_takes_a_price(more: Path) -> None:
    """By the name of its entry, however that is spelt."""
    known = CatalogFlags(prices=("CardX=2",))
    assert known.chosen((str(more),))[0].usd_per_hour == 2.0
    assert known.chosen((str(more),))[0].price_source == "given with --price"


@pytest.mark.parametrize("wrong", ["a100-80gb=-1", "a100-80gb=much", "a100-80gb", "a100-80gb=inf"])
def test_what_is_no_price_is_refused(wrong: str) -> None:
    """With an example of one."""
    with pytest.raises(ConfigurationError, match="GPU=USD"):
        CatalogFlags(prices=(wrong,)).catalog()


def test_a_price_for_what_is_not_there_is_refused() -> None:
    """Once all files have been read."""
    known = CatalogFlags(prices=("cardx=2",))
    known.catalog()
    with pytest.raises(ConfigurationError, match="--price cardx=2 is for a GPU that is neither"):
        known.chosen(("a100-80gb",))


def test_counted_gpus_are_alike() -> None:
    """Whatever each costs."""
    gpus = counted(chosen(builtin(), ("a100-80gb", "l40s")))
    assert [gpu.usd_per_hour for gpu in gpus] == [1.0, 1.0]
