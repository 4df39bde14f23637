import re
import subprocess
from collections import Counter
from typing import Any

import pytest
import yaml

from extproc.routing.headers import POOL_HEADER
from tests.deploy.promql import (
    DEPLOY,
    ROOT,
    alerts,
    names,
    names_of_ours,
    names_of_vllm,
    panel_queries,
    panels,
    program,
    selectors,
)

FOLDER = DEPLOY / "prometheus"
RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()
ALERTS = {rule["alert"]: rule for rule in alerts()}


def promtool(*arguments: str) -> str:
    """Run promtool; its output, once it is content."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration_and_its_rules() -> None:
    """What Prometheus itself checks at start holds of the configuration and of every rule file it names."""
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "config", str(FOLDER / "prometheus.yaml"))


@pytest.mark.timeout(300)  # days of series, evaluated every minute: half a minute of processor time
def test_every_alert_fires_when_it_must_and_not_when_it_must_not() -> None:
    """Series made up for it make each alert fire as written, and others leave it silent."""
    promtool("test", "rules", str(FOLDER / "alerts_test.yaml"))


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_tried_both_ways(name: str) -> None:
    """The made-up series include a case in which it fires and one in which it does not."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    tried = Counter(
        bool(case.get("exp_alerts")) for test in tests for case in test["alert_rule_test"] if case["alertname"] == name
    )
    assert tried[True] > 0
    assert tried[False] > 0 or any(_spares_some(test, name) for test in tests)


def _spares_some(test: dict[str, Any], name: str) -> bool:
    """Whether it fires for some of a metric's series and not for the others."""
    fired = [
        case["exp_alerts"] for case in test["alert_rule_test"] if case["alertname"] == name and "exp_alerts" in case
    ]
    series = Counter(given["series"].partition("{")[0] for given in test["input_series"])
    return any(series[metric] > len(found) for found in fired for metric in names(ALERTS[name]["expr"]))


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_grave_it_is_and_what_to_do(name: str) -> None:
    """It has a severity, a sentence, and a section in the runbooks, which says that severity, too."""
    rule = ALERTS[name]
    assert rule["labels"].keys() == {"severity"}
    assert rule["annotations"].keys() == {"summary", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    section = _section(name)
    assert re.findall(r"^- \*\*([\w ]+):\*\*", section, flags=re.MULTILINE) == ["Means", "Users feel", "Look at", "Do"]
    assert f"({rule['labels']['severity']})" in section.partition("- **Users feel")[0]


def _section(name: str) -> str:
    _, found, rest = RUNBOOKS.partition(f"\n### {name}\n")
    assert found
    return re.split(r"\n##", rest)[0]


def test_runbooks_are_of_alerts_that_exist() -> None:
    """In their order, and none is left over."""
    assert re.findall(r"^### (\w+)$", RUNBOOKS, flags=re.MULTILINE) == list(ALERTS)


def test_runbooks_refer_to_each_other_by_links_that_work() -> None:
    """Each anchor within the page is that of a heading."""
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOKS))
    assert anchors
    assert anchors <= {name.lower() for name in ALERTS}


def test_runbooks_send_people_to_panels_that_exist() -> None:
    """What they call a panel is a title of the dashboard, or its beginning."""
    quoted = re.findall(r'panels? "([^"]+)"', RUNBOOKS)
    titles = [panel["title"] for panel in panels()]
    assert quoted
    assert [name for name in quoted if not any(title.startswith(name) for title in titles)] == []


@pytest.mark.parametrize("name", ALERTS)
def test_alert_reads_metrics_that_exist(name: str) -> None:
    """Of ours and vLLM's the code is asked; Envoy's are seen in the test that runs a real one."""
    read = {metric for metric in names(ALERTS[name]["expr"]) if not metric.startswith("envoy_")}
    assert read <= {"up"} | names_of_ours() | names_of_vllm()


def test_runbooks_name_metrics_that_exist() -> None:
    """So do the runbooks, wherever they set one as code."""
    named = {name for code in re.findall(r"`([^`\n]+)`", RUNBOOKS) for name in names(code)}
    assert len(named) > 20
    assert {name for name in named if not name.startswith("envoy_")} <= names_of_ours() | names_of_vllm()


def test_what_is_read_of_envoy_is_kept() -> None:
    """Each of its metrics that an alert, a runbook or the dashboard names passes the configuration's sieve."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]}
    (sieve,) = jobs["envoy"]["metric_relabel_configs"]
    assert (sieve["source_labels"], sieve["action"]) == (["__name__"], "keep")
    read = [rule["expr"] for rule in ALERTS.values()] + re.findall(r"`([^`\n]+)`", RUNBOOKS)
    read += [query for _, query in panel_queries()]
    named = {name for text in read for name in names(text) if name.startswith("envoy_")}
    assert "envoy_cluster_upstream_cx_connect_fail" in named
    assert {name for name in named if not re.fullmatch(sieve["regex"], name)} == set()


def test_jobs_of_the_rules_are_those_scraped() -> None:
    """A job named in a rule is one of the configuration, which gives vLLM's targets their pool."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]}
    named = {job for rule in ALERTS.values() for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert named <= jobs.keys() == {"dualpool", "envoy", "vllm"}
    assert [group["labels"]["pool"] for group in jobs["vllm"]["static_configs"]] == ["short", "long"]


def test_selectors_are_found_and_groupings_are_not() -> None:
    """The reader of expressions, on which these tests rest, tells a metric from a label."""
    expression = f'sum by (envoy_cluster_name) (rate(envoy_a{{x="{POOL_HEADER}"}}[5m])) / on (dualpool_b) up + vllm:c'
    assert selectors(expression) == [f'envoy_a{{x="{POOL_HEADER}"}}', "up", "vllm:c"]
