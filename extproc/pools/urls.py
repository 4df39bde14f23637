"""How an instance is named: the URL under which its API lies, always spelt the same way; asks nobody."""

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance is asked."""

    scheme: str
    host: str
    """Without brackets."""
    port: int
    path: str
    """Before `/metrics`, without a slash at its end; mostly empty."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """HOST:PORT, with brackets around an IPv6 host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(url: str) -> Address:
    """An http or https URL without a query.

    Raises:
        ValueError: it is no such thing; the message says what is wrong, and quotes no password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("it must begin with http:// or https://")
    host, port = host_port(parts)
    if parts.query or parts.fragment:
        raise ValueError("it must not have a query or a fragment")
    if not (parts.path.isascii() and parts.path.isprintable()) or " " in parts.path:
        raise ValueError("its path has characters that must be percent-encoded")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def host_port(parts: SplitResult) -> tuple[str, int | None]:
    """Host without brackets, and port if there is one.

    Raises:
        ValueError: there is no host, it has characters no host has, or the port is none.
    """
    if "@" in parts.netloc:
        raise ValueError("it must not name a user or a password")
    host = parts.hostname or ""
    if not host or not host.isascii() or not all(char.isalnum() or char in "-._:%" for char in host):
        raise ValueError("it names no host")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("its port is no number up to 65535") from None
    if port == 0:
        raise ValueError("its port is 0")
    return host, port
