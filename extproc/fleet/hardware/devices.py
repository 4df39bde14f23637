"""Which card a recorded device name means: one that is known, or none where it may be a part of it or a relative.

Knows words of names, and of a card its entry.
"""

import re
from collections.abc import Iterable

from extproc.fleet.hardware.entries import Gpu

_NOT_WHOLE = frozenset({"mig", "vgpu", "grid"})
"""Words before a card's name that make it a part of one."""
_SAY_NOTHING = frozenset(
    ["gpu", "graphics", "card", "accelerator", "tensor", "core", "workstation", "edition", "hbm3", "vf"]
)
_SOCKETS = frozenset({"sxm", "sxm4", "sxm5", "oam"})
_PCIE = frozenset({"pcie"})
"""Words after it that leave it the card that it is. Any other, such as Ti, 3e or 24Q, makes it another."""
_SIZE = re.compile(r"([1-9][0-9]*)(?:gb|gib|g)")
_OF_ITS_BOX = (0.9, 1.01)
"""GiB that a driver reports over GB on the box: ECC of GDDR takes most, a B200 sold as 192 GB has 180."""


def device(gpus: Iterable[Gpu], recorded: str) -> Gpu | None:
    """The entry with the longest device name among the words of a recorded one: `H100 PCIe` before `H100`.

    None for a slice of a card, a laptop's, or another card whose name only begins alike.
    """
    name, gpu = _longest(gpus, recorded)
    if gpu is None:
        return None
    before, after = (part.strip("-").split("-") for part in f"-{plain(recorded)}-".split(f"-{name}-", 1))
    return gpu if not _NOT_WHOLE & set(before) and all(_fits(gpu, word) for word in after if word) else None


def relative(gpus: Iterable[Gpu], recorded: str) -> Gpu | None:
    """The entry whose card has the beginning of this name, whatever follows it."""
    return _longest(gpus, recorded)[1]


def _longest(gpus: Iterable[Gpu], recorded: str) -> tuple[str, Gpu | None]:
    words = f"-{plain(recorded)}-"
    matches = ((name, gpu) for gpu in gpus for name in gpu.devices if f"-{name}-" in words)
    return max(matches, key=lambda match: len(match[0]), default=("", None))


def plain(name: str) -> str:
    """A name as the catalogue spells it: lower case, words joined by `-`."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _fits(gpu: Gpu, word: str) -> bool:
    """Whether a word after a card's name says no more than its entry does."""
    if size := _SIZE.fullmatch(word):
        least, most = _OF_ITS_BOX
        return least <= gpu.memory_gib / int(size[1]) <= most
    return word in _SAY_NOTHING or word in (_SOCKETS if gpu.link == "nvlink" else _PCIE)
