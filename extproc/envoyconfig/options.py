"""What an operator chooses about an Envoy in front of two pools; knows nothing of Envoy's own configuration."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from extproc.errors import ConfigurationError

MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: written HOST:PORT, an IPv6 host in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST:PORT; raises ConfigurationError for anything else."""
        host, _, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
            raise ConfigurationError(f"{text!r} is not an address: write HOST:PORT, for example 127.0.0.1:8001")
        return cls(host, int(port))

    @classmethod
    def parse_list(cls, text: str) -> tuple[Self, ...]:
        """Read HOST:PORT[,HOST:PORT...]; raises ConfigurationError for anything else."""
        return tuple(cls.parse(part) for part in text.split(","))

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address rather than a name to look up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """One Envoy: where it listens, whom it asks, and where the pools are."""

    listen: Address
    """Where clients come in; an IP address."""
    extproc: tuple[Address, ...]
    """The service, one address for each of its workers."""
    short: tuple[Address, ...]
    """The instances of the short pool."""
    long: tuple[Address, ...]
    """The instances of the long pool."""
    admin: Address
    """Envoy's own pages, which have no password."""
    baseline_listen: Address | None = None
    """A second door with the same routes that asks nobody, for telling what asking costs."""
    buffer_limit_bytes: int = 1024 * 1024
    """How much of a body Envoy holds while it asks; a longer body of unknown length goes to the long pool."""
    message_timeout_s: float = 1.0
    """How long Envoy waits for one answer of the service before it goes on without it."""

    def __post_init__(self) -> None:
        """Refuse what Envoy would refuse or, worse, would accept."""
        listeners = [self.listen, self.admin, *([self.baseline_listen] if self.baseline_listen else [])]
        for address in listeners:
            if not address.is_ip:
                raise ConfigurationError(f"Envoy listens on an IP address, and {address.host!r} is a name")
        if len(set(listeners)) < len(listeners):
            raise ConfigurationError("Envoy cannot listen twice on one address")
        if not (self.extproc and self.short and self.long):
            raise ConfigurationError("the service and both pools need at least one address each")
        if self.buffer_limit_bytes <= 0 or self.message_timeout_s <= 0:
            raise ConfigurationError("the buffer limit and the message timeout must be above zero")
