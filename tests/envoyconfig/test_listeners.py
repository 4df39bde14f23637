import re
from collections.abc import Callable

import pytest
from envoy_data_plane.envoy.config.route.v3 import VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from extproc.envoyconfig.escalation import LARGE_BODY_LIMIT_BYTES, LONG_LARGE, SHORT_THEN_LONG
from extproc.envoyconfig.listeners import listener
from extproc.envoyconfig.options import EnvoyOptions
from extproc.envoyconfig.render import as_plain
from extproc.routing.headers import OWN_HEADERS, POOL_HEADER, SERVED_HEADER
from extproc.routing.values import Pool

Build = Callable[..., EnvoyOptions]


def manager(options: EnvoyOptions) -> HttpConnectionManager:
    """What a listener does with HTTP."""
    door = listener("dualpool", options.listen, [], options)
    packed = door.filter_chains[0].filters[0].typed_config
    assert packed is not None
    unpacked = packed.unpack()
    assert isinstance(unpacked, HttpConnectionManager)
    return unpacked


def pools(options: EnvoyOptions) -> VirtualHost:
    """The one virtual host."""
    routes = manager(options).route_config
    assert routes is not None
    (host,) = routes.virtual_hosts
    return host


def test_the_last_route_takes_everything_and_is_long(options: Build) -> None:
    """Whatever is not known to be short goes to the long pool: Envoy takes the first route that matches."""
    *others, last = (as_plain(route, {}) for route in pools(options()).routes)
    assert last["match"] == {"prefix": "/"}
    assert last["route"]["cluster"] == Pool.LONG.value
    assert [route["name"] for route in others] == [Pool.SHORT.value, LONG_LARGE]


@pytest.mark.parametrize(("escalate", "cluster"), [(True, SHORT_THEN_LONG), (False, Pool.SHORT.value)])
def test_only_the_short_route_asks_again_for_what_it_was_told(options: Build, cluster: str, *, escalate: bool) -> None:
    """What the long pool says is final, and so is what the short one says where nobody escalates.

    What says nothing, as an instance that is gone, is asked again: elsewhere in the same pool.
    """
    short, *_, long = (as_plain(route, {})["route"] for route in pools(options(escalate=escalate)).routes)
    assert short["cluster"] == cluster
    assert ("retry_policy" in short) == escalate
    assert ("retry_policy" in long) == escalate
    if escalate:
        again = long["retry_policy"]
        assert (again["retry_on"], again["num_retries"]) == ("reset", 1)
        assert "retriable_status_codes" not in again
        assert [each["name"] for each in again["retry_host_predicate"]] == [
            "envoy.retry_host_predicates.previous_hosts"
        ]
    assert "hedge_policy" not in short, "not unless asked for"


def test_large_bodies_differ_from_the_long_route_in_what_is_kept_of_them(options: Build) -> None:
    """From where the listener's limit ends to the limit of this route, by content-length, and for retries alone."""
    _, large, long = (as_plain(route, {}) for route in pools(options(buffer_limit_bytes=4_000_000)).routes)
    assert large["route"] == long["route"]
    assert int(large.pop("request_body_buffer_limit")) == LARGE_BODY_LIMIT_BYTES
    (size,) = large["match"].pop("headers")
    assert size["name"] == "content-length"
    assert {end: int(value) for end, value in size["range_match"].items()} == {
        "start": 4_000_001,
        "end": LARGE_BODY_LIMIT_BYTES + 1,
    }
    assert large["match"] == long["match"]
    assert "request_body_buffer_limit" not in long
    assert [route.name for route in pools(options(escalate=False)).routes] == [Pool.SHORT.value, Pool.LONG.value]


def test_a_silent_attempt_goes_on_beside_the_second(options: Build) -> None:
    """A timeout of the attempt without hedging would cut off slow prefills: the two are set together or not at all."""
    short, *_ = (as_plain(route, {})["route"] for route in pools(options(hedge_after_s=90.0)).routes)
    assert short["retry_policy"]["per_try_timeout"] == "90s"
    assert short["hedge_policy"] == {"hedge_on_per_try_timeout": True}
    assert "per_try_timeout" not in as_plain(pools(options()).routes[0], {})["route"]["retry_policy"]


def test_short_is_chosen_by_the_header_the_service_sets_and_only_its_exact_value(options: Build) -> None:
    """The header's name and value are those of the routing core."""
    match = as_plain(pools(options()).routes[0], {})["match"]
    assert match["headers"] == [{"name": POOL_HEADER, "string_match": {"exact": Pool.SHORT.value}}]


def test_every_route_lets_an_hour_pass(options: Build) -> None:
    """Answers are not timed, and silence is allowed for an hour, on each route and on the connection manager."""
    routes = [as_plain(route, {})["route"] for route in pools(options()).routes]
    assert [(route["timeout"], route["idle_timeout"]) for route in routes] == [("0s", "3600s")] * 3
    plain = as_plain(manager(options()), {})
    assert (plain["stream_idle_timeout"], plain["request_timeout"]) == ("3600s", "0s")


def test_the_callers_headers_of_ours_are_dropped_first(options: Build) -> None:
    """Headers of ours and Envoy's own fall under the prefixes that the listener removes before routes and filters."""
    (extension,) = as_plain(manager(options()), {})["early_header_mutation_extensions"]
    mutations = extension["typed_config"]["mutations"]
    ours, envoys = (mutation["remove_on_match"]["key_matcher"]["prefix"] for mutation in mutations)
    assert all(name.startswith(ours) for name in (*OWN_HEADERS, SERVED_HEADER))
    assert all(name.startswith(envoys) for name in ("x-envoy-retry-on", "x-envoy-max-retries", "x-envoy-attempt-count"))


def test_the_answer_shows_each_header_of_ours_as_the_request_had_it(options: Build) -> None:
    """Each header is copied from the request header of the same name, replacing an upstream's."""
    *added, served = (as_plain(option, {}) for option in pools(options()).response_headers_to_add)
    assert [option["header"]["key"] for option in added] == list(OWN_HEADERS)
    assert (served["header"]["key"], served["append_action"]) == (SERVED_HEADER, "OVERWRITE_IF_EXISTS_OR_ADD")
    for option in added:
        assert re.fullmatch(r"%REQ\((.+)\)%", option["header"]["value"])[1] == option["header"]["key"]  # type: ignore[index] # a mismatch fails the test
        assert option["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
        assert not option.get("keep_empty_value", False)
