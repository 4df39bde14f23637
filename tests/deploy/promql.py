"""Reads the alert rules and the dashboard: their expressions, the metrics these name, the series these choose."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.mockvllm import metricnames
from extproc.telemetry.names import INSTRUMENTS, Instrument, Kind

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_GROUPINGS = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\b(?:up\b|(?:dualpool|gen_ai|envoy|vllm)[_:][\w:]+)(?:\{[^}]*\})?")


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`, that of the checkout first; without one the test is skipped."""
    found = shutil.which(name, path=ROOT / ".prometheus/usr/bin") or shutil.which(name)
    return found or pytest.skip(f"there is no {name} here: `make prometheus` fetches one where apt can")


def alerts() -> list[dict[str, Any]]:
    """All alert rules, in order."""
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something."""
    dashboard = json.loads((DEPLOY / "grafana/dualpool.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_queries() -> list[tuple[str, str]]:
    """Title and expression of each query."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def selectors(expression: str) -> list[str]:
    """The vector selectors of an expression, without their ranges."""
    return _SELECTOR.findall(_GROUPINGS.sub("", expression))


def names(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    return {selector.partition("{")[0] for selector in selectors(expression)}


def names_of_ours() -> set[str]:
    """Every series that the service may show."""
    return {name for instrument in INSTRUMENTS for name in _shown(instrument)}


def names_of_vllm() -> set[str]:
    """Every series that a vLLM of the newest release shows."""
    suffixes = {metricnames.Kind.COUNTER: ("_total",), metricnames.Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
    families = metricnames.families((0, 33))
    return {family.name + suffix for family in families for suffix in suffixes.get(family.kind, ("",))}


def _shown(instrument: Instrument) -> Iterator[str]:
    """As OpenTelemetry's exporter names it: dots become underscores, the unit is added, and a counter's `_total`."""
    name = instrument.name.replace(".", "_")
    name += {"s": "_seconds"}.get(instrument.unit, "_per_second" if instrument.unit.endswith("/s") else "")
    if instrument.kind is Kind.HISTOGRAM:
        yield from (f"{name}_bucket", f"{name}_sum", f"{name}_count")
    else:
        yield f"{name}_total" if instrument.kind is Kind.COUNTER else name
