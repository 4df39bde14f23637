import yaml
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterCommonLbConfig
from envoy_data_plane.envoy.config.core.v3 import Address, HealthCheck, SocketAddress
from envoy_data_plane.envoy.type.v3 import Percent

from extproc.envoyconfig.render import selector_for, to_yaml, under, walk

CLUSTER = Cluster(
    name="short",
    per_connection_buffer_limit_bytes=7,
    health_checks=[HealthCheck(unhealthy_threshold=2), HealthCheck(healthy_threshold=3)],
    common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0.0)),
)


def test_a_reason_stands_above_its_value_at_the_same_depth() -> None:
    """The comment is the line before, indented as the value is; the heading comes first."""
    text = to_yaml(CLUSTER, {"per_connection_buffer_limit_bytes": "Because of seven."}, "A cluster.")
    lines = text.splitlines()
    at = lines.index("per_connection_buffer_limit_bytes: 7")
    assert lines[0] == "# A cluster."
    assert lines[at - 1] == "# Because of seven."


def test_a_reason_for_a_lists_entry_stands_above_its_dash() -> None:
    """An entry without a name goes by its index, and a reason for its first key moves above the dash too."""
    text = to_yaml(CLUSTER, {"health_checks 1": "Second.", "health_checks 0 unhealthy_threshold": "First."}, "x")
    assert "  # First.\n  - unhealthy_threshold: 2\n  # Second.\n  - {healthy_threshold: 3}\n" in text


def test_long_reasons_are_wrapped() -> None:
    """No line is wider than the page, and each goes on as a comment."""
    text = to_yaml(CLUSTER, {"name": "word " * 60}, "x")
    comment = [line for line in text.splitlines() if "word" in line]
    assert len(comment) > 1
    assert all(line.startswith("# ") and len(line) <= 120 for line in comment)


def test_the_document_is_the_message() -> None:
    """Comments and layout aside, YAML reads back as the typed message."""
    text = to_yaml(CLUSTER, {"name": 'Why: "quotes" and # signs', "health_checks 1": "x"}, "x")
    assert Cluster.from_dict(yaml.safe_load(text)) == CLUSTER


def test_strings_that_look_like_something_else_are_quoted() -> None:
    """An address of digits stays a string."""
    text = to_yaml(Address(socket_address=SocketAddress(address="1234", port_value=80)), {}, "x")
    assert yaml.safe_load(text)["socket_address"] == {"address": "1234", "port_value": 80}


def test_a_default_is_written_where_a_reason_speaks_for_it() -> None:
    """Zero per cent is protobuf's default, which it would leave out."""
    assert "value" not in to_yaml(CLUSTER, {}, "x")
    assert "value: 0.0" in to_yaml(CLUSTER, {"healthy_panic_threshold value": "None at all."}, "x")


def test_the_selector_with_most_words_speaks() -> None:
    """A general reason gives way to a particular one, wherever between the words other levels lie."""
    why = {"timeout": "general", "clusters short timeout": "particular", "clusters long timeout": "another"}
    assert selector_for(("a", "clusters", "short", "b", "timeout"), why) == "clusters short timeout"
    assert selector_for(("clusters", "other", "timeout"), why) == "timeout"
    assert selector_for(("clusters", "short", "timeout", "inner"), why) is None


def test_under_narrows_each_selector() -> None:
    """A scope in front makes a reason particular to what lies below it."""
    assert under("clusters short", {"timeout": "x"}) == {"clusters short timeout": "x"}


def test_walk_names_entries_by_their_name_or_index() -> None:
    """The path of a value is what selectors are matched against."""
    paths = [path for path, _ in walk({"a": [{"name": "n", "b": 1}, {"c": 2}]})]
    assert ("a", "n", "b") in paths
    assert ("a", "1", "c") in paths
