"""Where clients come in and which cluster takes them: listeners, connection manager, routes.

Knows HTTP in Envoy's terms; the one filter of ours is made in `ext_proc`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from extproc.envoyconfig.clusters import METADATA, METADATA_POOL, envoy_address
from extproc.envoyconfig.escalation import (
    LARGE_BODY_LIMIT_BYTES,
    LONG_LARGE,
    SHORT_THEN_LONG,
    hedging,
    larger_than,
    once_elsewhere,
    once_more,
)
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.envoyconfig.orca import ask_for_reports
from extproc.envoyconfig.render import under
from extproc.routing.headers import HEADER_PREFIX, OWN_HEADERS, POOL_HEADER, SERVED_HEADER
from extproc.routing.values import Pool

SILENCE: Final = timedelta(hours=1)
"""How long an exchange may be silent: a long prompt waits in a queue, then prefills, before its first byte."""

_OF_LISTENERS: Final = {
    "dualpool per_connection_buffer_limit_bytes": (
        "The largest request body the service can be asked about, and the memory one connection may hold. Keep it "
        "above the service's certain-long bound (24 bytes a token of its threshold: 196,608 for 8,192), or bodies it "
        "could judge go to the long pool unread."
    ),
    "baseline per_connection_buffer_limit_bytes": "As above, so that the two doors differ in one thing alone.",
    "common_http_protocol_options idle_timeout": (
        "A client's connection without a request; Envoy's default, said aloud."
    ),
    "common_http_protocol_options max_headers_count": (
        "As many as vLLM takes; Envoy's default is 100. The dozen that Envoy and the service add count too: without "
        "room for them the answer is 500. Beyond this limit or that of bytes the connection is closed in silence."
    ),
    "max_request_headers_kb": (
        "Envoy's default is 60; tokens of large organisations and proxies' own headers come near it. It is memory that "
        "a connection may take before anything is known of it, hence not more."
    ),
    "http_protocol_options accept_http_10": (
        "vLLM answers HTTP/1.0, as old clients and health checks speak it; without this the connection is closed in "
        "silence."
    ),
    "http_protocol_options default_host_for_http_10": "Such clients may name no host, which Envoy wants; any will do.",
    "stream_idle_timeout": (
        "Silence in both directions that ends an exchange. Envoy's default of 5 minutes cuts off prompts that wait "
        "longer for their first token."
    ),
    "request_timeout": (
        "No limit on how long an upload takes as long as it moves; it must never count the answer's time."
    ),
    "request_headers_timeout": "Headers are small: whoever takes longer holds a connection to no purpose.",
    "early_header_mutation_extensions": (
        "A client can choose neither its pool, nor by Envoy's own headers its retries and timeouts: they are dropped "
        "before any filter or route sees them, also while the service is down."
    ),
    "use_remote_address": "Envoy is the edge: the client's address is its connection's, not what its headers claim.",
    "upgrade_configs": (
        "vLLM's /v1/realtime speaks WebSocket, which Envoy answers with 403 by default. The service decides it by its "
        "headers: it goes long, and nobody reads what follows."
    ),
    "preserve_external_request_id": (
        "A caller's own X-Request-Id reaches vLLM, which names the request by it. Envoy makes one where there is none."
    ),
}

_OF_ROUTES: Final = {
    "short": "Only what the service has decided to be short.",
    LONG_LARGE: "Long as below, with bodies that Envoy would otherwise let go of before it could ask again.",
    "long": "Everything else: long requests, unknown ones, and all of them while the service is away.",
    "short timeout": "Off: Envoy's default of 15 s counts the whole answer and cuts event streams.",
    "short idle_timeout": "Silence allowed on this route; an event stream that moves lasts as long as it likes.",
    f"{LONG_LARGE} timeout": "Off, as above.",
    f"{LONG_LARGE} idle_timeout": "As above.",
    "long timeout": "Off, as above.",
    "long idle_timeout": "As above: the long pool is where prompts wait and prefill longest.",
}

_ELSEWHERE: Final = {
    "virtual_hosts response_headers_to_add": (
        "Shows the caller where its request was sent, and why if the service explains; a header the service did not "
        "set does not appear. x-dualpool-served is the pool that was asked last."
    ),
    "virtual_hosts include_attempt_count_in_response": (
        "x-envoy-attempt-count is 2 where the long pool, or another of its instances, was asked as well; the service "
        "counts those it sees."
    ),
}

WHY: Final = under("listeners", _OF_LISTENERS) | under("routes", _OF_ROUTES) | _ELSEWHERE


def listener(name: str, address: Address, filters: Sequence[HttpFilter], options: EnvoyOptions) -> Listener:
    """A door for clients, with these filters before the routes."""
    manager = HttpConnectionManager(
        stat_prefix=name,
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=SILENCE, max_headers_count=256),
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10="vllm"),
        max_request_headers_kb=96,
        stream_idle_timeout=SILENCE,
        request_timeout=timedelta(0),
        request_headers_timeout=timedelta(seconds=10),
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        use_remote_address=True,
        preserve_external_request_id=True,
        early_header_mutation_extensions=[_drop_headers_that_steer()],
        http_filters=[*filters, HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router()))],
        route_config=_routes(options),
    )
    hcm = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    return Listener(
        name=name,
        address=envoy_address(address),
        per_connection_buffer_limit_bytes=options.buffer_limit_bytes,
        filter_chains=[FilterChain(filters=[hcm])],
    )


def _drop_headers_that_steer() -> TypedExtensionConfig:
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(EarlyHeaderMutation(mutations=[_drop(HEADER_PREFIX), _drop("x-envoy-")])),
    )


def _drop(prefix: str) -> HeaderMutation:
    return HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))


def _routes(options: EnvoyOptions) -> RouteConfiguration:
    pools = VirtualHost(
        name="pools",
        domains=["*"],
        routes=[_route(Pool.SHORT.value, [_pool_is(Pool.SHORT)], _to_short(options)), *_long_routes(options)],
        request_headers_to_add=[ask_for_reports()] if options.orca else [],
        response_headers_to_add=[*[_copied_from_request(name) for name in OWN_HEADERS], _who_served()],
        include_attempt_count_in_response=True,
    )
    return RouteConfiguration(name="pools", virtual_hosts=[pools])


def _to_short(options: EnvoyOptions) -> RouteAction:
    if not options.escalate:
        return RouteAction(cluster=Pool.SHORT.value)
    again, hedge = once_more(options.hedge_after_s), hedging(options.hedge_after_s)
    return RouteAction(cluster=SHORT_THEN_LONG, retry_policy=again, hedge_policy=hedge)


def _long_routes(options: EnvoyOptions) -> list[Route]:
    if not options.escalate:
        return [_route(Pool.LONG.value, [], RouteAction(cluster=Pool.LONG.value))]
    again = once_elsewhere()
    large = [larger_than(options.buffer_limit_bytes)]
    large_route, other = (
        _route(name, headers, RouteAction(cluster=Pool.LONG.value, retry_policy=again))
        for name, headers in ((LONG_LARGE, large), (Pool.LONG.value, []))
    )
    large_route.request_body_buffer_limit = LARGE_BODY_LIMIT_BYTES
    return [large_route, other]


def _route(name: str, headers: list[HeaderMatcher], action: RouteAction) -> Route:
    action.timeout, action.idle_timeout = timedelta(0), SILENCE
    return Route(name=name, match=RouteMatch(prefix="/", headers=headers), route=action)


def _pool_is(pool: Pool) -> HeaderMatcher:
    return HeaderMatcher(name=POOL_HEADER, string_match=StringMatcher(exact=pool.value))


def _copied_from_request(name: str) -> HeaderValueOption:
    return _said(name, f"%REQ({name})%")


def _who_served() -> HeaderValueOption:
    """The pool of the instance that was asked last, as its endpoint's metadata has it; absent where none was."""
    return _said(SERVED_HEADER, f"%UPSTREAM_METADATA({METADATA}:{METADATA_POOL})%")


def _said(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
