"""Where a pool's instances are, as the settings `short_pool` and `long_pool` say it; asks files and resolvers.

A list that cannot be had at present leaves the one before in force: instances that are gone show by their silence.
"""

import asyncio
import logging
import math
import socket
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from extproc.errors import ConfigurationError
from extproc.pools.aside import Aside
from extproc.pools.filesd import ListError, Stamp, read_list, stamp_of
from extproc.pools.urls import Address, host_port, parse_address

MAX_INSTANCES = 128
"""Of a pool; of more, the first so many by name are asked. A mean over 128 says as much as one over all."""
RESOLVE_S = 10.0
"""How often a name is looked up anew: about as soon as Kubernetes' own DNS forgets."""
LOOKUP_S = 1.0
"""How long a lookup may take."""
_FORMS = "expected http://HOST:PORT, https://HOST:PORT, dns://NAME:PORT or file:///PATH, several between commas"
_log = logging.getLogger(__name__)


class Place(Protocol):
    """Where some of a pool's instances are."""

    async def addresses(self, now_s: float) -> list[Address]:
        """Those that are there now.

        Raises:
            ListError: nobody knows at present.
        """
        ...


def parse_places(setting: str, value: str) -> list[Place]:
    """What a setting names; nothing where it is empty.

    Args:
        setting: its name, for the operator.
        value: as the operator wrote it.

    Raises:
        ConfigurationError: a part of it names no place.
    """
    places = []
    for part in (part.strip() for part in value.split(",") if part.strip()):
        try:
            places.append(_place(part))
        except ValueError as error:
            shown = part.rpartition("@")[2]  # never a password
            raise ConfigurationError(f"{setting}: {shown!r} cannot be used: {error}; {_FORMS}") from error
    return places


def _place(part: str) -> Place:
    parts = urlsplit(part)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("a file's path must be absolute, after two slashes: file:///etc/dualpool/short.json")
        if parts.path.endswith("/"):
            raise ValueError("it names a folder")
        if "\0" in unquote(parts.path):
            raise ValueError("no path can be so")
        return ListedPlace(Path(unquote(parts.path)))
    if parts.scheme == "dns":
        host, port = host_port(parts)
        if port is None or parts.path.strip("/"):
            raise ValueError("a name needs a port, and nothing after it")
        return NamedPlace(host, port)
    return FixedPlace(parse_address(part))


class FixedPlace:
    """One instance, always there."""

    def __init__(self, address: Address) -> None:
        self._addresses = [address]

    async def addresses(self, now_s: float) -> list[Address]:  # noqa: ARG002 - others change with time
        """That one."""
        return self._addresses


class NamedPlace:
    """All addresses of a DNS name."""

    def __init__(self, host: str, port: int, *, lookup_s: float = LOOKUP_S) -> None:
        self._host, self._port, self._lookup_s = host, port, lookup_s
        self._aside = Aside()
        self._known: list[Address] | None = None
        self._wrong = ""
        self._due_s = -math.inf

    def __str__(self) -> str:
        return f"dns://{self._host}:{self._port}"

    async def addresses(self, now_s: float) -> list[Address]:
        """Those of the last lookup, which is made anew every ten seconds."""
        if self._known is None or now_s >= self._due_s:
            self._due_s = now_s + RESOLVE_S
            await self._look_up()
        if self._known is None or self._wrong:
            raise ListError(self._wrong)
        return self._known

    async def _look_up(self) -> None:
        try:
            hosts = await self._aside.run(self._resolve, self._lookup_s)
        except TimeoutError:
            self._wrong = "its resolver does not answer"
        except (OSError, UnicodeError) as error:  # the latter of names with empty or endless labels
            self._wrong = f"it has no address: {getattr(error, 'strerror', None) or 'no such name can be'}"
        else:
            self._known, self._wrong = [Address("http", host, self._port, "") for host in hosts], ""

    def _resolve(self) -> list[str]:
        """IPv4 if there is any: an instance with both would be asked, and counted, twice."""
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        by_family = {family: {str(address[0]) for kind, *_, address in found if kind is family} for family in _FAMILIES}
        return sorted(by_family[socket.AF_INET] or by_family[socket.AF_INET6])[: MAX_INSTANCES + 1]


_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class ListedPlace:
    """The instances that a file names."""

    def __init__(self, path: Path, *, lookup_s: float = LOOKUP_S) -> None:
        self._path, self._lookup_s = path, lookup_s
        self._aside = Aside()
        self._known: list[Address] = []
        self._stamp: Stamp | None = None
        self._wrong = ""  # with that version of the file

    def __str__(self) -> str:
        return f"file://{self._path}"

    async def addresses(self, now_s: float) -> list[Address]:  # noqa: ARG002 - it shows itself when it has changed
        """Those of its present version, which is read once."""
        try:
            await self._aside.run(self._refresh, self._lookup_s)
        except TimeoutError as error:
            raise ListError("its file system does not answer") from error
        if self._wrong:
            raise ListError(self._wrong)
        return self._known

    def _refresh(self) -> None:
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        try:
            # Here and not on the event loop: sorting thousands takes milliseconds. One more shows that there are more.
            self._known, self._wrong = sorted(set(read_list(self._path)), key=str)[: MAX_INSTANCES + 1], ""
        except ListError as error:
            self._wrong = str(error)
        self._stamp = stamp


class Places:
    """All places of a pool. Says what is wrong with one once, and again only after it was right."""

    def __init__(self, setting: str, places: list[Place]) -> None:
        """Name them.

        Args:
            setting: that names them, for the log.
            places: as `parse_places` reads them from it.
        """
        self._setting = setting
        self._places = places
        self._known: list[list[Address]] = [[] for _ in places]
        self._told: dict[int, str] = {}
        self._told_too_many = False
        self.failures = 0
        """Lookups that failed."""

    async def addresses(self, now_s: float) -> list[Address]:
        """The pool's instances, each once; what cannot be looked up now is as it was. Never fails."""
        await asyncio.gather(*(self._look(index, now_s) for index in range(len(self._places))))
        found = sorted({address for known in self._known for address in known}, key=str)
        if len(found) > MAX_INSTANCES and not self._told_too_many:
            self._told_too_many = True
            _log.warning("%s has more than %d instances: only so many are asked", self._setting, MAX_INSTANCES)
        return found[:MAX_INSTANCES]

    async def _look(self, index: int, now_s: float) -> None:
        place = self._places[index]
        try:
            self._known[index] = await place.addresses(now_s)
        except ListError as error:
            self.failures += 1
            if self._told.get(index) != str(error):
                self._told[index] = str(error)
                kept = len(self._known[index])
                _log.warning("%s: %s: %s; going on with %d instances of it", self._setting, place, error, kept)
        else:
            if self._told.pop(index, None) is not None:
                _log.info("%s: %s can be used again", self._setting, place)
