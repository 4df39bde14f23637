"""A plan as JSON: names its parts for scripts, computes nothing."""

import json
import math
import re
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from extproc.fleet.answers import PLANNER, FleetPlan, Plan

SCHEMA = 1
"""Changes when a name or a meaning does; a new name alone does not change it."""
_NUMBERS = re.compile(r"\[\n[-+0-9.eE,nul\s]*\]")


def as_json(plan: Plan) -> str:
    """One object, indented, in the order of `extproc.fleet.answers`; what is not a finite number is null."""
    return to_json({"schema": SCHEMA, "planner": PLANNER} | plain(plan))


def to_json(document: dict[str, Any]) -> str:
    """Indented, with lists of numbers on one line each."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text)


def plain(value: Any) -> Any:
    """Of dataclasses, named tuples, enums, lists, dicts, arrays and scalars."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if names := _names(value):
        return {name: plain(getattr(value, name)) for name in names} | _sums(value)
    if isinstance(value, dict):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _names(value: Any) -> tuple[str, ...]:
    """Of its fields, in their order; none where it has no named fields."""
    if is_dataclass(value):
        return tuple(each.name for each in fields(value))
    return getattr(value, "_fields", ())


def _sums(value: Any) -> dict[str, Any]:
    """What a fleet adds up to, so that scripts need not."""
    if not isinstance(value, FleetPlan):
        return {}
    names = ("gpus", "gpus_closed_form", "usd_per_hour", "usd_per_year")
    return {name: plain(getattr(value, name)) for name in names}
