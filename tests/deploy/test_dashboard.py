import re
from typing import Any

import pytest

from tests.deploy.promql import alerts, names, names_of_ours, names_of_vllm, panel_queries, panels

PANELS = {panel["title"]: panel for panel in panels()}
MANY = 30


def test_titles_differ() -> None:
    """A panel is found by its title."""
    assert len(PANELS) == len(panels()) > MANY


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_panel_says_what_to_do_in_which_unit(panel: dict[str, Any]) -> None:
    """Each has a unit, a description, a legend for each query, and the chosen data source."""
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"].split()) > 5
    assert panel["datasource"]["uid"] == "${source}"
    assert all(target["legendFormat"] and target["datasource"]["uid"] == "${source}" for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_query_reads_metrics_that_exist() -> None:
    """Of ours and vLLM's the code is asked; Envoy's are seen in the test that runs a real one."""
    read = {name for _, query in panel_queries() for name in names(query) if not name.startswith("envoy_")}
    assert read <= {"up"} | names_of_ours() | names_of_vllm()


def test_nothing_of_ours_is_left_unseen() -> None:
    """Each metric of the service is in a panel or an alert: what nobody looks at is not worth its series."""
    read = {name for _, query in panel_queries() for name in names(query)}
    read |= {name for rule in alerts() for name in names(rule["expr"])}
    unseen = {_family(name) for name in names_of_ours()} - {_family(name) for name in read}
    # To be looked up, not to be watched.
    assert unseen == {"dualpool_bytes_per_token_samples", "dualpool_judged_total"}


def _family(name: str) -> str:
    """A histogram's series are one metric."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_descriptions_name_runbooks_that_exist() -> None:
    """An alert named in a description is one of the rules."""
    named = {name for panel in PANELS.values() for name in re.findall(r"\bDualpool\w+", panel["description"])}
    assert named
    assert named <= {rule["alert"] for rule in alerts()}


def test_queries_are_chosen_by_the_variables() -> None:
    """What is ours is shown of the chosen workers, what is Envoy's listeners' of the chosen listeners."""
    for _, query in panel_queries():
        for ours in re.findall(r"(?:dualpool|gen_ai)_\w+\{[^}]*\}", query):
            assert 'job=~"$job", instance=~"$instance"' in ours
        for door in re.findall(r"envoy_http_\w+\{[^}]*\}", query):
            assert 'envoy_http_conn_manager_prefix=~"$listener"' in door
