from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.envoyconfig.options import MAX_BUFFER_LIMIT_BYTES, Address, EnvoyOptions, buffer_limit_for
from extproc.errors import ConfigurationError
from extproc.routing.policy import certain_long_bytes

Build = Callable[..., EnvoyOptions]


@given(st.ip_addresses() | st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True), st.integers(1, 65_535))
def test_an_address_reads_back_as_written(host: object, port: int) -> None:
    """Writing an address and reading it gives the same one, IPv6 included."""
    address = Address(str(host), port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:http", "host:-1", "h:٣", "::1:80"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    """The message shows how an address is written."""
    with pytest.raises(ConfigurationError, match=r"HOST:PORT, for example 127\.0\.0\.1:8001"):
        Address.parse(text)


def test_a_list_keeps_its_order() -> None:
    """Several instances are written with commas."""
    assert Address.parse_list("gpu1:8000,gpu2:8001") == (Address("gpu1", 8000), Address("gpu2", 8001))


@pytest.mark.parametrize(("host", "is_ip"), [("10.0.0.7", True), ("::1", True), ("gpu1", False), ("10.0.0", False)])
def test_a_name_is_told_from_an_ip_address(host: str, *, is_ip: bool) -> None:
    """Names are looked up by Envoy, addresses are not."""
    assert Address(host, 80).is_ip is is_ip


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"listen": Address("gateway", 80)}, "'gateway' is a name"),
        ({"admin": Address("gateway", 80)}, "'gateway' is a name"),
        ({"baseline_listen": Address("127.0.0.1", 10_000)}, "twice"),
        ({"admin": Address("127.0.0.1", 10_000)}, "twice"),
        ({"short": ()}, "at least one"),
        ({"buffer_limit_bytes": 0}, "above zero"),
        ({"buffer_limit_bytes": MAX_BUFFER_LIMIT_BYTES + 1}, "at most 8388608"),
        ({"message_timeout_s": 0.0}, "above zero"),
        ({"message_timeout_s": float("nan")}, "above zero"),
        ({"message_timeout_s": float("inf")}, "at most 60 s"),
        ({"hedge_after_s": 0.5}, "after 1 to 3600 s"),
        ({"hedge_after_s": float("nan")}, "after 1 to 3600 s"),
        ({"hedge_after_s": 3601.0}, "after 1 to 3600 s"),
        ({"hedge_after_s": 60.0, "escalate": False}, "part of escalation"),
    ],
)
def test_options_that_envoy_could_not_use_are_refused(
    options: Build, changes: dict[str, object], complaint: str
) -> None:
    """An operator's slip ends before a configuration is written."""
    with pytest.raises(ConfigurationError, match=complaint):
        options(**changes)


@pytest.mark.parametrize(
    ("threshold_tokens", "limit_bytes"),
    [(1, 2**20), (8192, 2**20), (43_690, 2**20), (43_691, 2**21), (131_072, 2**22), (349_525, 2**23)],
)
def test_the_buffer_grows_with_the_threshold(threshold_tokens: int, limit_bytes: int) -> None:
    """It holds every body the service wants to see, and is no larger than it must be."""
    assert buffer_limit_for(threshold_tokens) == limit_bytes >= certain_long_bytes(threshold_tokens)


def test_a_threshold_beyond_what_the_service_takes_is_refused() -> None:
    """The message says which is the largest."""
    with pytest.raises(ConfigurationError, match="enough for 349525 tokens"):
        buffer_limit_for(349_526)
