from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.errors import ConfigurationError

Build = Callable[..., EnvoyOptions]


@given(st.ip_addresses() | st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True), st.integers(1, 65_535))
def test_an_address_reads_back_as_written(host: object, port: int) -> None:
    """Writing an address and reading it gives the same one, IPv6 included."""
    address = Address(str(host), port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:http", "host:-1", "h:٣"])
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
        ({"message_timeout_s": 0.0}, "above zero"),
    ],
)
def test_options_that_envoy_could_not_use_are_refused(
    options: Build, changes: dict[str, object], complaint: str
) -> None:
    """An operator's slip ends before a configuration is written."""
    with pytest.raises(ConfigurationError, match=complaint):
        options(**changes)
