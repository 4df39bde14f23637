"""The TCP connection under a request, how it is found and how it is broken; alone in knowing uvicorn's insides."""

import contextlib
import os
import socket
import struct
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "mock.transport"


class MockProtocol(HttpToolsProtocol):
    """uvicorn's protocol; it also shows the application its transport, so that a fault can abort it."""

    def on_message_begin(self) -> None:
        """Put the transport into the scope of the request that begins."""
        super().on_message_begin()
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]  # a TypedDict is a mapping
        scope["extensions"] = {_TRANSPORT: self.transport}


async def abort_connection(scope: Scope, receive: Receive) -> None:
    """Send RST instead of an orderly end, and return once the server has noticed."""
    transport = scope.get("extensions", {}).get(_TRANSPORT)
    if transport is None:
        raise ConnectionAbortedError("the server does not show its transport, so the fault ends as an error")
    with contextlib.suppress(OSError):
        _reset_on_close(transport.get_extra_info("socket").fileno())
    transport.abort()
    await left(receive)


async def left(receive: Receive) -> None:
    """Return when the client is gone; what it still sends is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset_on_close(descriptor: int) -> None:
    """Lingering for no time makes close() send RST; the option belongs to the connection, so a duplicate sets it."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
