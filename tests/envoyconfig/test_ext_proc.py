import re

import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExternalProcessor

from extproc.envoyconfig.ext_proc import ext_proc_filter
from extproc.envoyconfig.orca import REPORT_HEADER
from extproc.routing.headers import OWN_HEADERS, SERVED_HEADER


@pytest.fixture
def processor() -> ExternalProcessor:
    """The filter's configuration."""
    packed = ext_proc_filter(message_timeout_s=0.5).typed_config
    assert packed is not None
    unpacked = packed.unpack()
    assert isinstance(unpacked, ExternalProcessor)
    return unpacked


def test_it_fails_open_within_the_timeout(processor: ExternalProcessor) -> None:
    """A service that is away costs a request at most the timeout, never an error of ours."""
    assert processor.failure_mode_allow
    assert processor.disable_immediate_response
    assert processor.message_timeout is not None
    assert processor.message_timeout.total_seconds() == 0.5


def test_the_service_can_set_our_headers_and_no_others(processor: ExternalProcessor) -> None:
    """The expression, matched whole as Envoy does, allows exactly the names the service uses."""
    rules = processor.mutation_rules
    assert rules is not None
    assert rules.allow_expression is not None
    allowed = re.compile(rules.allow_expression.regex)
    assert rules.disallow_all
    assert all(allowed.fullmatch(name) for name in OWN_HEADERS)
    others = ["x-dualpool-pools", "x-dualpool-", SERVED_HEADER, "host", ":authority", "authorization", "content-length"]
    assert not any(allowed.fullmatch(name) for name in others)


def test_credentials_never_leave_envoy(processor: ExternalProcessor) -> None:
    """The service is told an exact list of headers, and nothing secret is on it."""
    rules = processor.forward_rules
    assert rules is not None
    assert rules.allowed_headers is not None
    told = {pattern.exact for pattern in rules.allowed_headers.patterns}
    assert {":path", ":method", ":status", "content-type", "content-length", "content-encoding"} <= told
    assert {"traceparent", "x-envoy-attempt-count", SERVED_HEADER, REPORT_HEADER} <= told
    assert told.isdisjoint({None, "", "authorization", "cookie", "set-cookie", "x-api-key", "api-key"})
