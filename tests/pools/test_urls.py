"""An instance is named in one way, and what is no instance's URL is refused with its reason."""

import pytest

from extproc.pools.urls import parse_address


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("http://10.0.0.1:8000/", "http://10.0.0.1:8000"),
        ("HTTP://Vllm-0.Short:8000", "http://vllm-0.short:8000"),
        ("http://vllm", "http://vllm:80"),
        ("https://vllm", "https://vllm:443"),
        ("https://gateway:8443/short/", "https://gateway:8443/short"),
        ("http://[FE80::1]:8000", "http://[fe80::1]:8000"),
    ],
)
def test_one_instance_has_one_name(written: str, spelt: str) -> None:
    """Ports are said, case and last slashes are not."""
    assert str(parse_address(written)) == spelt


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("10.0.0.1:8000", "http://"),
        ("ftp://10.0.0.1", "http://"),
        ("http://", "no host"),
        ("http:///metrics", "no host"),
        ("http://a b:80", "no host"),
        ("http://a\r\nx: y", "65535"),
        ("http://ä:80", "no host"),
        ("http://h:0", "port is 0"),
        ("http://h:65536", "65535"),
        ("http://h:port", "65535"),
        ("http://user:secret@h:80", "user or a password"),
        ("http://h/?a=b", "query"),
        ("http://h/#a", "fragment"),
        ("http://h/a b", "percent"),
        ("http://[::1", "Invalid IPv6"),
    ],
)
def test_what_is_no_instance_is_refused(written: str, why: str) -> None:
    """The reason names what is wrong and never quotes a password."""
    with pytest.raises(ValueError, match=why) as refused:
        parse_address(written)
    assert "secret" not in str(refused.value)
