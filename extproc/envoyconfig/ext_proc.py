"""The ext_proc filter: what Envoy asks the service, what it lets the service do, and what it does without it.

Knows the protocol's settings and the header names; must not know where anything listens.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExternalProcessor, HeaderForwardingRules
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from extproc.envoyconfig.modes import ALLOWED_OVERRIDES, CONFIGURED
from extproc.envoyconfig.orca import REPORT_HEADER
from extproc.envoyconfig.render import under
from extproc.routing.headers import OWN_HEADERS, SERVED_HEADER

EXT_PROC_CLUSTER: Final = "dualpool_extproc"
FILTER: Final = "envoy.filters.http.ext_proc"

FORWARDED_HEADERS: Final = (
    ":path",
    ":method",
    ":status",
    "content-type",
    "content-length",
    "content-encoding",
    "traceparent",
    "x-envoy-attempt-count",
    SERVED_HEADER,
    REPORT_HEADER,
)
"""All the service sees of a request or a response beside its body."""

_OF_THE_FILTER: Final = {
    "failure_mode_allow": (
        "A service that is down, slow or wrong costs nobody an answer: the request goes on by the default route, to "
        "the long pool."
    ),
    "message_timeout": (
        "The most a hung service can cost one request. Envoy's default of 0.2 s is too short for a large body on a "
        "busy machine."
    ),
    "processing_mode request_header_mode": (
        "The headers wait for the decision. With SKIP they would leave for the default route before it."
    ),
    "processing_mode response_header_mode": (
        "For those responses the service still listens to; it ends the call before all others, which then cost nothing."
    ),
    "processing_mode request_body_mode": (
        "The service asks for the bodies it wants (below). BUFFERED here would answer 413 to a long prompt, whatever "
        "the service then said."
    ),
    "processing_mode response_body_mode": "The service asks for the few bodies it learns from (below).",
    "processing_mode request_trailer_mode": "Trailers say nothing about a budget.",
    "processing_mode response_trailer_mode": "Usage stands in the body.",
    "allow_mode_override": (
        "Lets the service ask for a body, by exactly these messages and no others; Envoy compares every field but "
        "request_header_mode, and ignores what differs."
    ),
    "allowed_override_modes 0": (
        "A request whose body decides. BUFFERED_PARTIAL never answers 413 and never hangs: a body above the buffer "
        "limit goes on unharmed, by the default route."
    ),
    "allowed_override_modes 1": "An observed JSON response: usage may stand anywhere in it, so it is read whole.",
    "allowed_override_modes 2": "An observed event stream: its chunks go on one by one.",
    "mutation_rules": "The service can set these headers and nothing else; Envoy tests allow_expression first.",
    "forward_rules": "What the service sees. Authorization, API keys and cookies never leave Envoy.",
    "disable_immediate_response": "The service never answers in the pool's place, not even if it were taken over.",
}

WHY: Final = under(FILTER, _OF_THE_FILTER)


def ext_proc_filter(message_timeout_s: float) -> HttpFilter:
    """The filter that asks the service, failing open."""
    processor = ExternalProcessor(
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=EXT_PROC_CLUSTER)),
        failure_mode_allow=True,
        message_timeout=timedelta(seconds=message_timeout_s),
        processing_mode=CONFIGURED,
        allow_mode_override=True,
        allowed_override_modes=list(ALLOWED_OVERRIDES),
        mutation_rules=HeaderMutationRules(
            disallow_all=True, allow_expression=RegexMatcher(regex="|".join(OWN_HEADERS))
        ),
        forward_rules=HeaderForwardingRules(
            allowed_headers=ListStringMatcher(patterns=[StringMatcher(exact=name) for name in FORWARDED_HEADERS])
        ),
        disable_immediate_response=True,
    )
    return HttpFilter(name=FILTER, typed_config=Any.pack(processor))
