"""What an hour of a GPU costs: the catalogue's prices, an operator's own, and none at all. Knows no fleet.

A price is looked up when GPUs are: it may be for one that a file describes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import Catalog
from extproc.fleet.hardware.devices import plain
from extproc.fleet.hardware.entries import Gpu

_SOURCE = "given with --price"


def parsed(prices: Sequence[str]) -> dict[str, float]:
    """USD per hour by the name that each was given for.

    Raises:
        ConfigurationError: one is not `GPU=USD`.
    """
    return dict(_parsed(price) for price in prices)


def _parsed(text: str) -> tuple[str, float]:
    name, _, usd = text.partition("=")
    try:
        usd_per_hour = float(usd)
    except ValueError:
        usd_per_hour = -1.0
    if not 0.0 <= usd_per_hour < float("inf"):
        raise ConfigurationError(f"--price {text!r} is none: expected GPU=USD per hour, such as a100-80gb=1.80")
    return name, usd_per_hour


def priced(catalog: Catalog, prices: Sequence[str]) -> Catalog:
    """The catalogue with an operator's prices in place of its own; those of other GPUs are left for `chosen`.

    Raises:
        ConfigurationError: one is not `GPU=USD`.
    """
    found = [(catalog.find_gpu(name), usd) for name, usd in parsed(prices).items()]
    own = {gpu.name: _at(gpu, usd) for gpu, usd in found if gpu is not None}
    return replace(catalog, gpus={**catalog.gpus, **own}) if own else catalog


def chosen(catalog: Catalog, names: Sequence[str], prices: Sequence[str] = ()) -> tuple[Gpu, ...]:
    """GPUs by their names or files, each once; a price counts for one that a file describes, too.

    Raises:
        ConfigurationError: one is not known, or a price is for none of the catalogue and none of these.
    """
    found: Mapping[str, Gpu] = {gpu.name: gpu for gpu in map(catalog.gpu, names)}
    own: dict[str, Gpu] = {}
    for name, usd in parsed(prices).items():
        gpu = found.get(plain(name)) or catalog.find_gpu(name)
        if gpu is None:
            raise ConfigurationError(
                f"--price {name}={usd:g} is for a GPU that is neither in the catalogue nor described by --gpu or --gpus"
            )
        own[gpu.name] = _at(found.get(gpu.name, gpu), usd)
    return tuple(own.get(name, gpu) for name, gpu in found.items())


def counted(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The same at one unit per hour each, so that what costs least takes the fewest."""
    return tuple(gpu.model_copy(update={"usd_per_hour": 1.0, "price_source": ""}) for gpu in gpus)


def _at(gpu: Gpu, usd_per_hour: float) -> Gpu:
    return gpu.model_copy(update={"usd_per_hour": usd_per_hour, "price_source": _SOURCE})
