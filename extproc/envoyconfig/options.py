"""What an operator chooses about an Envoy in front of two pools; knows nothing of Envoy's own configuration."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from extproc.errors import ConfigurationError
from extproc.routing.policy import certain_long_bytes
from extproc.settings import split_host_port

MIN_BUFFER_LIMIT_BYTES = 2**20
"""Envoy's own default: enough for thresholds up to 43,690 tokens."""
MAX_BUFFER_LIMIT_BYTES = 8 * 2**20
"""Envoy sends up to about twice its limit in one message, and the service takes messages of up to 16 MiB."""
_MAX_HEDGE_AFTER_S = 3600
"""Envoy gives a silent exchange up after that long."""
_MAX_MESSAGE_TIMEOUT_S = 60
"""A request waits this long for nothing if the service hangs."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: written HOST:PORT, an IPv6 host in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST:PORT; raises ConfigurationError for anything else."""
        try:
            host, port = split_host_port(text.strip())
        except ValueError:
            host, port = "", 0
        if not port:
            raise ConfigurationError(f"{text!r} is not an address: write HOST:PORT, for example 127.0.0.1:8001")
        return cls(host, port)

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
    buffer_limit_bytes: int = MIN_BUFFER_LIMIT_BYTES
    """How much of a body Envoy holds while it asks; a longer body of unknown length goes to the long pool."""
    message_timeout_s: float = 1.0
    """How long Envoy waits for one answer of the service before it goes on without it."""
    escalate: bool = True
    """Whether Envoy asks the long pool, once, where the short one refuses a request or fails it."""
    hedge_after_s: float | None = None
    """Silence of a short instance after which the long pool is asked as well; None waits for as long as it takes."""
    orca: bool = False
    """Whether instances are asked to report their load with each answer."""

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
        if not 0 < self.buffer_limit_bytes <= MAX_BUFFER_LIMIT_BYTES:
            raise ConfigurationError(f"the buffer limit must be above zero and at most {MAX_BUFFER_LIMIT_BYTES} bytes")
        if not 0.0 < self.message_timeout_s <= _MAX_MESSAGE_TIMEOUT_S:
            raise ConfigurationError(f"the message timeout must be above zero and at most {_MAX_MESSAGE_TIMEOUT_S} s")
        if self.hedge_after_s is not None:
            self._check_hedging(self.hedge_after_s)

    def _check_hedging(self, hedge_after_s: float) -> None:
        if not self.escalate:
            raise ConfigurationError("hedging is part of escalation: without it there is no second attempt")
        if not 1.0 <= hedge_after_s <= _MAX_HEDGE_AFTER_S:
            raise ConfigurationError(f"hedging begins after 1 to {_MAX_HEDGE_AFTER_S} s")


def buffer_limit_for(threshold_tokens: int) -> int:
    """The least power of two, from 1 MiB, with which Envoy shows the service every body it wants to judge whole.

    Raises:
        ConfigurationError: the threshold asks for bodies larger than the service takes.
    """
    limit_bytes = max(MIN_BUFFER_LIMIT_BYTES, 1 << (certain_long_bytes(threshold_tokens) - 1).bit_length())
    if limit_bytes > MAX_BUFFER_LIMIT_BYTES:
        largest = MAX_BUFFER_LIMIT_BYTES // certain_long_bytes(1)
        raise ConfigurationError(
            f"a threshold of {threshold_tokens} tokens is too large: the service can be shown bodies of up to"
            f" {MAX_BUFFER_LIMIT_BYTES} bytes, enough for {largest} tokens"
        )
    return limit_bytes
