import pytest

from extproc.envoyconfig.clusters import pool_cluster, service_cluster
from extproc.envoyconfig.options import Address
from extproc.envoyconfig.render import as_plain
from extproc.routing.values import Pool

LOCAL = (Address("127.0.0.1", 8001),)


@pytest.mark.parametrize(
    ("addresses", "kind"),
    [
        (LOCAL, None),
        ((Address("::1", 80),), None),
        ((Address("gpu1", 80),), "STRICT_DNS"),
        ((*LOCAL, Address("gpu1", 80)), "STRICT_DNS"),
    ],
)
def test_names_are_looked_up_and_addresses_are_not(addresses: tuple[Address, ...], kind: str | None) -> None:
    """One name among the hosts is enough to look all of them up; STATIC is protobuf's default and so unwritten."""
    plain = as_plain(pool_cluster(Pool.SHORT, addresses, 1024), {})
    assert plain["type"] == (kind or "STATIC")


def test_every_address_becomes_an_endpoint() -> None:
    """A worker or instance more is an address more."""
    workers = tuple(Address("127.0.0.1", port) for port in (50_051, 50_052, 50_053))
    (locality,) = as_plain(service_cluster(workers, 1024), {})["load_assignment"]["endpoints"]
    sockets = [endpoint["endpoint"]["address"]["socket_address"] for endpoint in locality["lb_endpoints"]]
    assert [(socket["address"], socket["port_value"]) for socket in sockets] == [(w.host, w.port) for w in workers]


def test_the_service_is_asked_for_readiness_and_skipped_without_it() -> None:
    """Drain and hang show in gRPC health, and a panic threshold of zero keeps Envoy from trying unwell workers."""
    plain = as_plain(service_cluster(LOCAL, 1024), {"healthy_panic_threshold value": "why"})
    assert plain["health_checks"][0]["grpc_health_check"] == {"service_name": "readiness"}
    assert plain["common_lb_config"] == {"healthy_panic_threshold": {"value": 0.0}}


@pytest.mark.parametrize("cluster", [service_cluster(LOCAL, 1024), pool_cluster(Pool.LONG, LOCAL, 1024)])
def test_limits_are_far_above_what_one_machine_carries(cluster: object) -> None:
    """Envoy's own default of 1,024 would refuse requests that vLLM would have queued."""
    plain = as_plain(cluster, {})  # type: ignore[arg-type] # parametrize hides the type
    (thresholds,) = plain["circuit_breakers"]["thresholds"]
    assert min(thresholds["max_connections"], thresholds["max_pending_requests"], thresholds["max_requests"]) >= 65_536


def test_connections_to_vllm_are_left_before_vllm_leaves_them() -> None:
    """A connection idle for 5 s is closed by vLLM's server, so Envoy stops using it sooner."""
    options = as_plain(pool_cluster(Pool.SHORT, LOCAL, 1024), {})["typed_extension_protocol_options"]
    (http,) = options.values()
    assert float(http["common_http_protocol_options"]["idle_timeout"].removesuffix("s")) < 5.0
