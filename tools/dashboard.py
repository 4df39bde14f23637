"""Writes the Grafana dashboard, of what dashboard.yaml says it shows; knows Grafana's JSON and no metric's meaning.

python tools/dashboard.py > deploy/grafana/dualpool.json        or `make dashboard`
"""

import json
import sys
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Final

import yaml
from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)

SHOWN: Final = Path(__file__).with_suffix(".yaml")
_STANDS_FOR: Final = {
    "<ours>": 'job=~"$job", instance=~"$instance"',
    "<door>": 'envoy_http_conn_manager_prefix=~"$listener"',
}
_VARIABLES: Final = {
    "job": ("Job", "label_values(dualpool_streams, job)"),
    "instance": ("Worker", 'label_values(dualpool_streams{job=~"$job"}, instance)'),
    "listener": (
        "Envoy listener",
        "label_values(envoy_http_ext_proc_streams_started, envoy_http_conn_manager_prefix)",
    ),
}
"""Name → what people see, and where the values come from."""
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
_PANEL_WIDTH, _PANEL_HEIGHT = 8, 8
"""Three to a row, of a grid 24 wide."""


def dashboard_json() -> str:
    """The dashboard, as Grafana imports and provisions it."""
    rows = yaml.safe_load(SHOWN.read_text())
    return json.dumps(_dashboard(rows).build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _dashboard(rows: list[dict[str, Any]]) -> dashboard.Dashboard:
    made = dashboard.Dashboard("dualpool").uid("dualpool").tags(["dualpool", "vllm", "envoy"])
    made.description("Which pool requests go to and why, whether the promise is kept, and how the pools stand.")
    made.time("now-3h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR).readonly()
    made.with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
    for name, (label, query) in _VARIABLES.items():
        made.with_variable(_choice(name, label, query))
    number = 0
    for row in rows:
        number += 1
        made.with_row(dashboard.Row(row["row"]).id(number))
        for panel in row["panels"]:
            number += 1
            made.with_panel(_graph(panel).id(number))
    return made


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable of several values, all at first."""
    everything = VariableOption(text="All", value="$__all", selected=True)
    variable = dashboard.QueryVariable(name).label(label).datasource(_SOURCE).query(query)
    return variable.multi(True).include_all(True).current(everything).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _graph(panel: dict[str, Any]) -> timeseries.Panel:
    made = timeseries.Panel().title(panel["title"]).description(panel["what_to_do"]).unit(panel["unit"])
    made.datasource(_SOURCE).span(_PANEL_WIDTH).height(_PANEL_HEIGHT).legend(_legend())
    if panel.get("stacked"):
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(20)
    for letter, query in zip(ascii_uppercase, panel["queries"], strict=False):
        target = prometheus.Dataquery().datasource(_SOURCE).expr(_filled(query["expr"]))
        made.with_target(target.legend_format(query["legend"]).ref_id(letter).range())
    return made


def _filled(expr: str) -> str:
    for short, labels in _STANDS_FOR.items():
        expr = expr.replace(short, labels)
    return expr


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM).show_legend(True)


if __name__ == "__main__":
    sys.stdout.write(dashboard_json())
