"""How files spell a GPU's figures: a data sheet's words and units become the catalogue's keys.

A key is a quantity with, mostly, a unit: `memory_gb`, `memory_bandwidth_tb_s`, `bf16_tflops_dense`. A value may carry the
unit instead (`96 GB`), which then counts. Knows no GPU.
"""

import re
from collections.abc import Mapping
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Gpu

_GB_TO_REPORTED_GIB = 0.985
"""A card sold as 80 GB has 80 GiB of chips less what the driver and ECC keep: 79.2 of 80, 23.5 of 24, 94.97 of 96."""
_SIZES = {"gib": 1.0, "gb": _GB_TO_REPORTED_GIB, "g": _GB_TO_REPORTED_GIB, "mib": 2.0**-10, "bytes": 2.0**-30}
_RATES = {"tb": 1.0, "gb": 1e-3}
_FLOPS = {"tflops": 1.0, "tflop": 1.0, "tops": 1.0, "pflops": 1e3, "pflop": 1e3, "gflops": 1e-3}
_MEMORY = frozenset({"memory", "mem", "vram", "ram", "hbm", "device", "total", "size", "capacity", "gpu", "global"})
_BANDWIDTH = frozenset({"bandwidth", "bw", "speed", "throughput"})
_LINKS = frozenset({"interconnect", "nvlink", "pcie", "link", "xgmi", "fabric"})
_FABRICS = ("nvlink", "nvswitch", "xgmi", "infinity", "fabric")
_NUMBER = re.compile(r"\$?\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([a-z]*)")
_PCIE_GB_S = {"3": 16.0, "4": 32.0, "5": 64.0, "6": 128.0}
_PRICES = frozenset({"price", "cost", "usd", "dollars"})
_OTHER_PRECISIONS = frozenset({"fp32", "tf32", "fp64", "int8", "int4", "fp4", "nvfp4", "mxfp4", "fp6"})
_OF_NO_USE = frozenset(
    """tdp power watts architecture arch generation compute capability sm sms cuda cores tensor clock boost l2 cache
    vendor manufacturer note notes comment comments year form factor driver count num_gpus url link_to series type id
    description""".split()
)
_PER_SECOND = re.compile(r"(tb|gb)(?:_?p?_?s|_?ps|_?per_?s(?:ec(?:ond)?)?|_sec)$")


def gpu_figures(written: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's figures under the catalogue's keys and in its units; what concerns no model of speed is left out.

    Raises:
        ConfigurationError: a figure is said twice and differently, or is no number.
    """
    keys: dict[str, Any] = {}
    for key, value in _flat(written):
        for name, figure in _figures(key, value):
            if name in keys and keys[name] != figure:
                raise ConfigurationError(f"{name} is said twice and differently, the second time as {key}: keep one.")
            keys[name] = figure
    return keys


def _flat(written: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Figures grouped in a mapping (`tflops: {bf16: 989}`) as if each was a key of its own (`tflops_bf16`)."""
    flat: list[tuple[str, Any]] = []
    for key, value in written.items():
        if isinstance(value, Mapping) and key != "corrections":
            flat += [(f"{key}_{inner}", figure) for inner, figure in value.items()]
        elif value is not None:
            flat.append((str(key), value))
    return flat


def _figures(key: str, value: Any) -> list[tuple[str, Any]]:
    """What one line of the file says, mostly one figure; a key that is not understood comes back as it is."""
    plain = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    words = set(plain.split("_"))
    if plain in {"memory", "memory_type", "memory_kind", "mem_type", "vram_type"} and isinstance(value, str):
        return _memory_in_words(plain, value)
    if plain in Gpu.model_fields and not isinstance(value, str):
        return [(plain, value)]
    if words & _PRICES and "source" not in words:
        return [("usd_per_hour", _number(key, value)[0])]
    if words & _LINKS:
        return _link(key, plain, value)
    return _quantity(key, plain, words, value)


def _quantity(key: str, plain: str, words: set[str], value: Any) -> list[tuple[str, Any]]:
    flops = _unit(plain, _FLOPS) if not words & {"bandwidth", "memory"} else None
    if words & _OTHER_PRECISIONS:
        return []
    if flops is not None or words & {"bf16", "fp16", "bfloat16", "float16", "fp8", "float8"}:
        return [_compute(key, words, value, flops)]
    per_second = _PER_SECOND.search(plain)
    if words & _BANDWIDTH or per_second:
        return [("bandwidth_tb_s", _scaled(key, value, _RATES, per_second[1] if per_second else "tb"))]
    if words - set(_SIZES) <= _MEMORY and words & _MEMORY - {"gpu", "device"}:
        return [("memory_gib", _scaled(key, value, _SIZES, next(iter(words & set(_SIZES)), "gb")))]
    if plain in _OF_NO_USE or words <= _OF_NO_USE | {"w", "mhz", "ghz", "mb", "gpu"}:
        return []
    return [(plain if plain in {*Gpu.model_fields, "like"} else key, value)]


def _compute(key: str, words: set[str], value: Any, flops: float | None) -> tuple[str, float]:
    name = "fp8_tflops" if words & {"fp8", "float8"} else "bf16_tflops"
    number, unit = _number(key, value)
    sparse = 0.5 if words & {"sparse", "sparsity"} else 1.0
    return ("measured_tflops" if "measured" in words else name), number * _FLOPS.get(unit, flops or 1.0) * sparse


def _link(key: str, plain: str, value: Any) -> list[tuple[str, Any]]:
    """A kind (`NVLink 4`, `PCIe Gen5 x16`), a speed in one direction, or both in turn."""
    text = str(value).lower()
    if plain == "interconnect" or (isinstance(value, str) and not _NUMBER.match(text)):
        named = text if any(word in text for word in (*_FABRICS, "pcie", "host", "none")) else f"{plain} {text}"
        return _kind_of_link(named) if isinstance(value, str) else [("interconnect_gb_s", float(value))]
    number, unit = _number(key, value)
    terabytes = unit.startswith("tb") or re.search(r"_tb", plain)
    speed = [("interconnect_gb_s", number * (1e3 if terabytes else 1.0))]
    return [*speed, ("interconnect", "nvlink")] if plain.startswith(("nvlink", "xgmi")) else speed


def _kind_of_link(text: str) -> list[tuple[str, Any]]:
    if "none" in text:
        return []
    if any(word in text for word in _FABRICS):
        return [("interconnect", "nvlink")]
    if "host" in text:
        return [("interconnect", "host")]
    generation = re.search(r"(?:gen|pcie)[ _-]*([3-6])", text)
    return [("interconnect", "pcie"), *([("interconnect_gb_s", _PCIE_GB_S[generation[1]])] if generation else [])]


def _memory_in_words(plain: str, value: str) -> list[tuple[str, Any]]:
    """`memory: 96 GB GDDR7` says both size and kind."""
    kind = re.search(r"hbm|gddr", value.lower())
    size = [("memory_gib", _scaled(plain, value, _SIZES, "gb"))] if _NUMBER.match(value.lower()) else []
    if not kind and not size:
        raise ConfigurationError(f"{plain} is {value!r}: expected a size such as 96 GB, or hbm or gddr.")
    return [*size, *([("memory", kind[0])] if kind else [])]


def _scaled(key: str, value: Any, units: Mapping[str, float], otherwise: str) -> float:
    number, unit = _number(key, value)
    return number * units.get(unit, units.get(unit.rstrip("ps").rstrip("/"), units[otherwise]))


def _number(key: str, value: Any) -> tuple[float, str]:
    """The number and the unit after it, as letters."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), ""
    match = _NUMBER.match(str(value).strip().lower())
    if match is None:
        raise ConfigurationError(f"{key} is {value!r}: expected a number, with a unit or without.")
    return float(match[1].replace(",", "").replace("_", "")), match[2]


def _unit(plain: str, units: Mapping[str, float]) -> float | None:
    return next((factor for unit, factor in units.items() if unit in plain.split("_") or plain.endswith(unit)), None)
