"""How files spell a GPU's figures: the words and units of data sheets become the catalogue's keys.

A key is a quantity with, mostly, a unit: `memory_gb`, `memory_bandwidth_tb_s`, `fp16_tflops_dense`. A value may carry
its unit itself (`96 GB`), which then counts. Knows no GPU.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Gpu

_GB_TO_REPORTED_GIB = 0.985
"""A card sold as 80 GB has 80 GiB of chips less what the driver and ECC keep: 79.2 of 80, 23.5 of 24, 94.97 of 96."""
_SIZES = {"gib": 1.0, "gb": _GB_TO_REPORTED_GIB, "g": _GB_TO_REPORTED_GIB, "mib": 2.0**-10, "bytes": 2.0**-30}
_RATES = {"tb": 1.0, "gb": 1e-3, "bytes": 1e-12}
_FLOPS = {"tflops": 1.0, "tflop": 1.0, "tops": 1.0, "pflops": 1e3, "pflop": 1e3, "gflops": 1e-3, "flops": 1e-12}
_TB_S_BELOW = 50.0
"""A bandwidth without a unit is in TB/s below this, in GB/s above."""
_PCIE_GB_S = {"3": 16.0, "4": 32.0, "5": 64.0, "6": 128.0}
_ONE_WAY_GB_S, _ONE_WAY_BEFORE_BLACKWELL_GB_S = 900.0, 450.0
"""No card sends more in one direction, none before Blackwell more than half: data sheets count both (H100: 900)."""
_BLACKWELL_TFLOPS, _BLACKWELL_TB_S = 1500.0, 7.0
"""Both are reached: a rate alone may be that of sparse matrices (H100: 1,979)."""
_BOTH_WAYS = ("bidirectional", "bidir", "duplex", "both", "total")
_ARCHITECTURE = re.compile(r"(?:sm_?)?([0-9]+)[a-z]?")
_CAPABILITIES_BELOW = 20.0
"""A capability of 90 is written without its point."""
_PER_SECOND = re.compile(r"(tb|gb|bytes)(?:_?ps|_?s|_per_s(?:ec(?:ond)?)?)$")
_NUMBER = re.compile(r"\$?\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[+]?[0-9]+)?)\s*([a-z]*)")

_PLAUSIBLE = {
    "memory_gib": (4.0, 1000.0, "GiB"),
    "bandwidth_tb_s": (0.05, 50.0, "TB/s"),
    "bf16_tflops": (5.0, 20_000.0, "TFLOPS"),
    "fp8_tflops": (5.0, 50_000.0, "TFLOPS"),
    "measured_tflops": (5.0, 20_000.0, "TFLOPS"),
    "interconnect_gb_s": (1.0, 5000.0, "GB/s"),
}
"""From what was long since to twice what is announced: a figure outside has another unit."""
_AS_THEY_ARE = frozenset({"name", "source", "price_source", "like", "devices", "corrections"})
_BANDWIDTH = frozenset({"bandwidth", "bw"})
_MEMORY = frozenset({"memory", "mem", "vram", "hbm", "total", "size", "capacity", "gpu", "device"})
_SIXTEEN, _EIGHT = frozenset({"bf16", "fp16", "bfloat16", "float16"}), frozenset({"fp8", "float8"})
_UNUSED_PRECISIONS = frozenset({"fp32", "tf32", "fp64", "int8", "int4", "fp4", "nvfp4", "mxfp4", "fp6"})
_FABRICS = ("nvlink", "nvswitch", "xgmi", "infinity")
_LINKS = frozenset({"interconnect", "nvlink", "nvswitch", "xgmi", "pcie", "link"})
_PRICES = frozenset({"price", "cost", "usd"})
_OF_NO_USE = frozenset(
    [
        "tdp",
        "power",
        "watts",
        "architecture",
        "arch",
        "generation",
        "sm",
        "sms",
        "cores",
        "clock",
        "boost",
        "bus",
        "l2",
        "cache",
        "vendor",
        "manufacturer",
        "note",
        "notes",
        "comment",
        "comments",
        "year",
        "driver",
        "lanes",
        "version",
    ]
)
_HARMLESS = frozenset(
    ["release", "released", "launch", "date", "url", "website", "count", "num", "number", "gpus", "quantity"]
)
"""Words of keys that say nothing of one card's speed, but that somebody may have meant to count: they are remarked."""

Figures = Iterator[tuple[str, Any]]
_REMARK = "remarks"


def gpu_figures(written: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's figures under the catalogue's keys and in its units; what no speed follows from is left out.

    Keys that are not understood come back as they are.

    Raises:
        ConfigurationError: a figure is said twice and differently, or is no number.
    """
    keys: dict[str, Any] = {}
    rounder: dict[str, Any] = {}
    for key, value in _flat(written):
        for name, figure in _figures(key, value):
            into = rounder if name.startswith("~") else keys
            if name == _REMARK:
                keys[_REMARK] = (*keys.get(_REMARK, ()), figure)
            elif into.setdefault(name.lstrip("~"), figure) != figure and into is keys:
                raise ConfigurationError(f"{name} is said twice and differently, the second time as {key}: keep one.")
    found = {**rounder, **keys}
    for name in _PLAUSIBLE.keys() & found.keys():
        _check(name, found[name])
    return found


def one_way(found: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    """A link faster than any of that time counts both directions: its half is meant.

    Args:
        found: figures of a file.
        inherited: those that it leaves to another entry.
    """
    speed = found.get("interconnect_gb_s")
    if not isinstance(speed, int | float) or speed <= _most_one_way({**inherited, **found}):
        return dict(found)
    remark = f"the link's {speed:g} GB/s were taken to count both directions: {speed / 2:g} in each"
    return {**found, "interconnect_gb_s": speed / 2, _REMARK: (*found.get(_REMARK, ()), remark)}


def _most_one_way(card: Mapping[str, Any]) -> float:
    known = ((card.get("bf16_tflops"), _BLACKWELL_TFLOPS), (card.get("bandwidth_tb_s"), _BLACKWELL_TB_S))
    older = any(isinstance(figure, int | float) and figure < least for figure, least in known)
    return _ONE_WAY_BEFORE_BLACKWELL_GB_S if older else _ONE_WAY_GB_S


def _check(name: str, figure: Any) -> None:
    least, most, unit = _PLAUSIBLE[name]
    if isinstance(figure, int | float) and not isinstance(figure, bool) and figure > 0 and not least <= figure <= most:
        raise ConfigurationError(
            f"{name} comes to {figure:,.4g} {unit}, and no card has that (from {least:g} to {most:,.0f} {unit}): "
            "look at the unit in its key."
        )


def _flat(written: Mapping[str, Any]) -> Figures:
    """Figures grouped in a mapping (`tflops: {bf16: 989}`) as if each was a key of its own (`tflops_bf16`)."""
    for key, value in written.items():
        if isinstance(value, Mapping) and key not in _AS_THEY_ARE:
            yield from ((f"{key}_{inner}", figure) for inner, figure in value.items() if figure is not None)
        elif value is not None:
            yield str(key), value


def _figures(key: str, value: Any) -> Figures:
    """What one line says, mostly one figure. One that another spelling says more exactly is marked by `~`."""
    plain = re.sub(r"(?<=[gt])bytes?(?=_|$)", "b", re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_"))
    words = set(plain.split("_"))
    if plain in {"device_name", "gpu_name", "model_name"}:
        yield "~name", value
    elif "capability" in words:
        yield "capability", _capability(key, value)
    elif plain in _AS_THEY_ARE or (
        plain in Gpu.model_fields and plain not in {"memory", "interconnect"} and not isinstance(value, str)
    ):
        yield plain, value
    elif words & _LINKS:
        yield from _link(key, plain, words, value)
    elif words & _PRICES:
        yield "usd_per_hour", _number(key, value)[0]
    elif words & (_SIXTEEN | _EIGHT | _UNUSED_PRECISIONS) or any(unit in plain for unit in _FLOPS):
        yield from _compute(key, plain, words, value)
    elif words & _BANDWIDTH or (_PER_SECOND.search(plain) and _PER_SECOND.sub("", plain).strip("_") in _MEMORY):
        yield "bandwidth_tb_s", _bandwidth(key, plain, value)
    elif plain in {"memory", "memory_type", "memory_kind", "mem_type", "vram_type"} and isinstance(value, str):
        yield from _memory_in_words(plain, value)
    elif words & _MEMORY and words <= _MEMORY | set(_SIZES):
        yield _memory(key, words, value)
    else:
        yield from _others(key, words, value)


def _capability(key: str, value: Any) -> float:
    """`9.0`, `90`, `sm_90` and `[9, 0]` are one."""
    written = ".".join(map(str, value)) if isinstance(value, list | tuple) else str(value).strip().lower()
    architecture = _ARCHITECTURE.fullmatch(written)
    number = float(architecture[1]) if architecture else _number(key, written)[0]
    return number if number < _CAPABILITIES_BELOW else number / 10


def _others(key: str, words: set[str], value: Any) -> Figures:
    """What no speed follows from; the rest comes back as it is."""
    if words & _HARMLESS:
        yield _REMARK, f"{key} was not read: an entry is of one card"
    elif not words & _OF_NO_USE:
        yield key, value


def _memory(key: str, words: set[str], value: Any) -> tuple[str, float]:
    number, unit = _number(key, value)
    unit = unit if unit in _SIZES else next(iter(words & set(_SIZES)), "gb")
    return ("~memory_gib" if unit in {"gb", "g"} else "memory_gib"), number * _SIZES[unit]


def _memory_in_words(plain: str, value: str) -> Figures:
    """`memory: 96 GB GDDR7` says size and kind."""
    kind, size = re.search(r"hbm|gddr", value.lower()), _NUMBER.match(value.lower())
    if not kind and not size:
        raise ConfigurationError(f"{plain} is {value!r}: expected a size such as 96 GB, or hbm or gddr.")
    if size:
        yield _memory(plain, set(), value)
    if kind:
        yield "memory", kind[0]


def _bandwidth(key: str, plain: str, value: Any) -> float:
    number, unit = _number(key, value)
    in_key = _PER_SECOND.search(plain)
    if (said := "bytes" if unit == "bytes" else unit[:2]) in _RATES:
        return number * _RATES[said]
    return number * (_RATES[in_key[1]] if in_key else 1.0 if number < _TB_S_BELOW else 1e-3)


def _compute(key: str, plain: str, words: set[str], value: Any) -> Figures:
    if words & _UNUSED_PRECISIONS:
        return
    number, unit = _number(key, value)
    scale = _FLOPS.get(unit) or next((factor for name, factor in _FLOPS.items() if name in plain), 1.0)
    sparse = bool(words & {"sparse", "sparsity"})
    name = "fp8_tflops" if words & _EIGHT else "measured_tflops" if "measured" in words else "bf16_tflops"
    exact = not sparse and not words & {"fp16", "float16"}
    yield (name if exact else f"~{name}"), number * scale * (0.5 if sparse else 1.0)


def _link(key: str, plain: str, words: set[str], value: Any) -> Figures:
    """A kind (`NVLink 4`, `PCIe Gen5 x16`), a generation of PCIe, or a speed in one direction."""
    text = str(value).lower()
    if isinstance(value, bool) or text in {"no", "none", "-"}:
        yield from [("interconnect", "nvlink")] if value is True and any(word in plain for word in _FABRICS) else []
    elif isinstance(value, str) and not _NUMBER.match(text):
        yield from _kind_of_link(f"{plain} {text}")
    elif "pcie" in words and text in _PCIE_GB_S:
        yield from _kind_of_link(f"pcie {text}")
    elif not words & _OF_NO_USE:
        yield from _speed_of_link(key, plain, value)


def _speed_of_link(key: str, plain: str, value: Any) -> Figures:
    """Of one direction: what says that it counts both is halved."""
    number, unit = _number(key, value)
    number *= 1e3 if unit.startswith("tb") or "_tb" in plain else 1e-9 if "bytes" in plain else 1.0
    both = any(word in f"{plain} {value}".lower() for word in _BOTH_WAYS)
    number /= 2.0 if both else 1.0
    yield "interconnect_gb_s", number
    if any(word in plain for word in _FABRICS):
        yield "interconnect", "nvlink"


def _kind_of_link(text: str) -> Figures:
    if any(word in text for word in _FABRICS):
        yield "interconnect", "nvlink"
    elif "host" in text:
        yield "interconnect", "host"
    elif "pcie" in text:
        yield "interconnect", "pcie"
        generation = re.search(r"(?:gen|pcie)[ _-]*([3-6])", text)
        yield from [("interconnect_gb_s", _PCIE_GB_S[generation[1]])] if generation else []
    else:
        raise ConfigurationError(f"interconnect is {text.split(' ', 1)[-1]!r}: expected nvlink, pcie or host.")


def _number(key: str, value: Any) -> tuple[float, str]:
    """The number and the letters after it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), ""
    match = _NUMBER.match(str(value).strip().lower())
    if match is None:
        raise ConfigurationError(f"{key} is {value!r}: expected a number, with a unit or without.")
    return float(match[1].replace(",", "").replace("_", "")), match[2]
