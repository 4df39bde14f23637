"""Whom Envoy talks to: the service and the two pools of vLLM instances.

Knows addresses, connections, health and limits; must not know routes or filters.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
    Metadata,
    SocketAddress,
    TcpKeepalive,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamHttpOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any, Struct, Value

from extproc.envoyconfig.escalation import NEVER_REACHED, stays_while_one_is_well
from extproc.envoyconfig.ext_proc import EXT_PROC_CLUSTER
from extproc.envoyconfig.options import Address
from extproc.envoyconfig.render import under
from extproc.routing.values import Pool

READINESS_SERVICE: Final = "readiness"
"""The name under which the service's gRPC health says whether it takes requests."""

METADATA: Final = "dualpool"
"""Where an endpoint's metadata says its pool, under `METADATA_POOL`."""
METADATA_POOL: Final = "pool"

_OF_THE_SERVICE: Final = {
    "connect_timeout": "Requests wait this long for a service that cannot be reached, then go on without it.",
    "per_connection_buffer_limit_bytes": "As at the listener, so that one body passes whole.",
    "lb_policy": "Of two workers the one with fewer calls in flight takes the next.",
    "health_checks timeout": "A worker that cannot answer this in time cannot answer requests in time.",
    "health_checks interval": (
        "A draining worker says so and is left out within a second; a hung one, with the threshold, after about three."
    ),
    "health_checks no_traffic_interval": (
        "Envoy's default of 60 s would leave a worker's state unknown until the first requests have paid for it."
    ),
    "health_checks unhealthy_threshold": "One late answer may be chance, two are not; a plain no counts at once.",
    "health_checks healthy_threshold": "A worker that says it is ready is ready.",
    "circuit_breakers thresholds": (
        "One call is open for each request being decided or observed. Envoy's default of 1,024 would send the rest to "
        "the long pool undecided."
    ),
    "max_concurrent_streams": (
        "Calls on one connection, said aloud because Envoy's default has changed over time; beyond it Envoy opens "
        "another."
    ),
    "connection_keepalive interval": "Finds a connection whose other end is gone while nothing is sent.",
    "connection_keepalive timeout": "How long a ping may go unanswered before the connection is given up.",
    "healthy_panic_threshold value": (
        "Without a healthy worker a request goes to the long pool at once. Envoy's default of 50 % would try unwell "
        "ones and wait for the message timeout."
    ),
}

_OF_POOLS: Final = {
    "connect_timeout": "An instance that does not accept in this time is not there.",
    "metadata": "The pool's name, for the answer's x-dualpool-served.",
    "per_connection_buffer_limit_bytes": "As at the listener.",
    "lb_policy": (
        "Answers take seconds to an hour, so turns say little: of two instances the one with fewer requests in flight "
        "takes the next."
    ),
    "health_checks timeout": "An instance busy with a huge prompt may answer late.",
    "health_checks interval": "With the threshold: an instance that is gone is left out after 15 s.",
    "health_checks no_traffic_interval": "The same before the first request: Envoy's default is 60 s.",
    "health_checks unhealthy_threshold": "Late once or twice is busy, not gone.",
    "health_checks healthy_threshold": "/health answers 200 only while the engine runs.",
    "circuit_breakers thresholds": (
        "vLLM queues what it cannot run yet; Envoy's default of 1,024 would answer 503 in its place. Of second "
        "attempts its default is 3 at a time, and all that an instance held are lost at once."
    ),
    "common_http_protocol_options idle_timeout": (
        "Below the 5 s after which vLLM closes an idle connection: a request must not meet a connection that is just "
        "being closed."
    ),
    "tcp_keepalive": (
        "An answer may be silent for minutes: seconds until the first probe, seconds between probes, and how many may "
        "be missed before the connection counts as dead."
    ),
}

_OF_THE_LONG_POOL: Final = {
    "health_checks unhealthy_threshold": (
        "Late once or twice is busy, not gone. With over half the pool unwell Envoy tries every instance rather than "
        "none."
    ),
}

WHY: Final = {
    **under(f"clusters {EXT_PROC_CLUSTER}", _OF_THE_SERVICE),
    **under("clusters", _OF_POOLS),
    **under(f"clusters {Pool.LONG.value}", _OF_THE_LONG_POOL),
}


def service_cluster(addresses: Sequence[Address], buffer_limit_bytes: int) -> Cluster:
    """The ext_proc service: gRPC, watched closely, skipped as soon as it is unwell."""
    cluster = _cluster(EXT_PROC_CLUSTER, addresses, buffer_limit_bytes)
    cluster.connect_timeout = timedelta(seconds=0.25)
    cluster.health_checks = [_check_every(timedelta(seconds=1), unhealthy_threshold=2)]
    cluster.health_checks[0].grpc_health_check = HealthCheckGrpcHealthCheck(service_name=READINESS_SERVICE)
    keepalive = KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=5))
    http2 = Http2ProtocolOptions(max_concurrent_streams=1024, connection_keepalive=keepalive)
    _speak(cluster, HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2))
    cluster.common_lb_config = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0.0))
    return cluster


def pool_cluster(pool: Pool, addresses: Sequence[Address], buffer_limit_bytes: int, *, backed: bool = False) -> Cluster:
    """One pool of vLLM instances; `backed` where the other pool takes its requests while none of them is well."""
    cluster = _cluster(pool.value, addresses, buffer_limit_bytes)
    assert cluster.load_assignment is not None
    _name_pool(cluster.load_assignment, pool)
    if backed:
        cluster.load_assignment.policy = stays_while_one_is_well()
    cluster.connect_timeout = timedelta(seconds=2)
    cluster.health_checks = [_check_every(timedelta(seconds=5), unhealthy_threshold=3)]
    cluster.health_checks[0].http_health_check = HealthCheckHttpHealthCheck(path="/health")
    http1 = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    _speak(cluster, http1, HttpProtocolOptions(idle_timeout=timedelta(seconds=4)))
    keepalive = TcpKeepalive(keepalive_probes=3, keepalive_time=60, keepalive_interval=10)
    cluster.upstream_connection_options = UpstreamConnectionOptions(tcp_keepalive=keepalive)
    return cluster


def envoy_address(address: Address) -> EnvoyAddress:
    """The address in Envoy's terms."""
    return EnvoyAddress(socket_address=SocketAddress(address=address.host, port_value=address.port))


def _cluster(name: str, addresses: Sequence[Address], buffer_limit_bytes: int) -> Cluster:
    static = all(address.is_ip for address in addresses)
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC if static else ClusterDiscoveryType.STRICT_DNS,
        per_connection_buffer_limit_bytes=buffer_limit_bytes,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_never_refuse(),
        load_assignment=_endpoints(name, addresses),
    )
    if not static:
        # Envoy's default asks for IPv6 first, where a server often does not listen.
        cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
    return cluster


def _endpoints(name: str, addresses: Sequence[Address]) -> ClusterLoadAssignment:
    endpoints = [LbEndpoint(endpoint=Endpoint(address=envoy_address(address))) for address in addresses]
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)])


def _name_pool(assignment: ClusterLoadAssignment, pool: Pool) -> None:
    """Let each endpoint say whose it is, so that an answer can say who gave it."""
    named = Metadata(filter_metadata={METADATA: Struct(fields={METADATA_POOL: Value(string_value=pool.value)})})
    for endpoint in assignment.endpoints[0].lb_endpoints:
        endpoint.metadata = named


def _never_refuse() -> CircuitBreakers:
    thresholds = CircuitBreakersThresholds(
        max_connections=NEVER_REACHED,
        max_pending_requests=NEVER_REACHED,
        max_requests=NEVER_REACHED,
        max_retries=NEVER_REACHED,
    )
    return CircuitBreakers(thresholds=[thresholds])


def _check_every(interval: timedelta, unhealthy_threshold: int) -> HealthCheck:
    return HealthCheck(
        timeout=interval,
        interval=interval,
        no_traffic_interval=interval,
        unhealthy_threshold=unhealthy_threshold,
        healthy_threshold=1,
    )


def _speak(
    cluster: Cluster, protocol: HttpProtocolOptionsExplicitHttpConfig, common: HttpProtocolOptions | None = None
) -> None:
    options = UpstreamHttpOptions(explicit_http_config=protocol, common_http_protocol_options=common)
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster.typed_extension_protocol_options = {key: Any.pack(options)}
