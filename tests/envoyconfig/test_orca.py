from collections.abc import Callable

from extproc.envoyconfig.bootstrap import bootstrap, bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.envoyconfig.render import as_plain

Build = Callable[..., EnvoyOptions]


def test_load_reports_are_asked_for_and_kept_from_clients_at_every_door(options: Build) -> None:
    """The filter that takes them off stands ahead of ours, so that answers pass it last."""
    both = options(orca=True, baseline_listen=Address("127.0.0.1", 10_001))
    doors = as_plain(bootstrap(both), {})["static_resources"]["listeners"]
    assert len(doors) == 2
    for door in doors:
        manager = door["filter_chains"][0]["filters"][0]["typed_config"]
        asked = manager["route_config"]["virtual_hosts"][0]["request_headers_to_add"]
        assert [option["header"] for option in asked] == [{"key": "endpoint-load-metrics-format", "value": "TEXT"}]
        first = manager["http_filters"][0]["typed_config"]
        assert first["mutations"] == {"response_mutations": [{"remove": "endpoint-load-metrics"}]}


def test_nobody_is_asked_unless_the_operator_wants_it(options: Build) -> None:
    """Each report costs a line in the instance's log."""
    assert "endpoint-load-metrics-format" not in bootstrap_yaml(options())
