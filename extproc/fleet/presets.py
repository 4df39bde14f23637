"""Workloads that come along: joint tables of prompt and output derived from public traces; knows their files.

Each file under `presets/` names its source, its licence and what had to be assumed; `tools/presets.py` derives them.
Atoms that a context limit left (Azure's prompts of 4,000 to 4,100 and of 7,434 to 7,437 tokens) are kept.
"""

import json
from importlib.resources import files
from typing import NamedTuple

from extproc.errors import ConfigurationError
from extproc.fleet.samples import Rows, rows_of_tables

PRESETS = ("azure-2023", "azure-2023-code", "azure-2023-conv", "lmsys-chat", "agent-heavy", "mooncake")


class Preset(NamedTuple):
    """A workload as its file has it."""

    name: str
    source: str
    """One sentence: where it comes from, the licence, what was assumed."""
    rows: Rows
    rate_per_s: float | None
    """Mean of the trace; None where the source has no times."""
    dispersion: float | None
    """Of the trace's arrivals, in windows of `extproc.fleet.arrivals.WINDOW_S`; None likewise."""


def read_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    parsed = json.loads((files("extproc.fleet") / "presets" / f"{name}.json").read_text(encoding="utf-8"))
    return Preset(name, parsed["source"], rows_of_tables(parsed["parts"]), parsed["rate_per_s"], parsed["dispersion"])
