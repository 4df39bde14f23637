import re

from envoy_data_plane.envoy.config.route.v3 import VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from extproc.envoyconfig.listeners import listener
from extproc.envoyconfig.options import Address
from extproc.envoyconfig.render import as_plain
from extproc.routing.headers import OWN_HEADERS, POOL_HEADER
from extproc.routing.values import Pool


def manager() -> HttpConnectionManager:
    """What a listener does with HTTP."""
    door = listener("dualpool", Address("127.0.0.1", 10_000), [], buffer_limit_bytes=1024)
    packed = door.filter_chains[0].filters[0].typed_config
    assert packed is not None
    unpacked = packed.unpack()
    assert isinstance(unpacked, HttpConnectionManager)
    return unpacked


def pools() -> VirtualHost:
    """The one virtual host."""
    routes = manager().route_config
    assert routes is not None
    (host,) = routes.virtual_hosts
    return host


def test_the_last_route_takes_everything_and_is_long() -> None:
    """Whatever is not known to be short goes to the long pool: Envoy takes the first route that matches."""
    *others, last = (as_plain(route, {}) for route in pools().routes)
    assert last["match"] == {"prefix": "/"}
    assert last["route"]["cluster"] == Pool.LONG.value
    assert [route["route"]["cluster"] for route in others] == [Pool.SHORT.value]


def test_short_is_chosen_by_the_header_the_service_sets_and_only_its_exact_value() -> None:
    """The header's name and value are those of the routing core."""
    match = as_plain(pools().routes[0], {})["match"]
    assert match["headers"] == [{"name": POOL_HEADER, "string_match": {"exact": Pool.SHORT.value}}]


def test_every_route_lets_an_hour_pass() -> None:
    """Answers are not timed, and silence is allowed for an hour, on each route and on the connection manager."""
    routes = [as_plain(route, {})["route"] for route in pools().routes]
    assert [(route["timeout"], route["idle_timeout"]) for route in routes] == [("0s", "3600s")] * 2
    plain = as_plain(manager(), {})
    assert (plain["stream_idle_timeout"], plain["request_timeout"]) == ("3600s", "0s")


def test_the_callers_headers_of_ours_are_dropped_first() -> None:
    """Every header of ours falls under the prefix that the listener removes before routes and filters."""
    (extension,) = as_plain(manager(), {})["early_header_mutation_extensions"]
    prefix = extension["typed_config"]["mutations"][0]["remove_on_match"]["key_matcher"]["prefix"]
    assert all(name.startswith(prefix) for name in OWN_HEADERS)


def test_the_answer_shows_each_header_of_ours_as_the_request_had_it() -> None:
    """Each header is copied from the request header of the same name, replacing an upstream's."""
    added = [as_plain(option, {}) for option in pools().response_headers_to_add]
    assert [option["header"]["key"] for option in added] == list(OWN_HEADERS)
    for option in added:
        assert re.fullmatch(r"%REQ\((.+)\)%", option["header"]["value"])[1] == option["header"]["key"]  # type: ignore[index] # a mismatch fails the test
        assert option["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
        assert not option.get("keep_empty_value", False)
