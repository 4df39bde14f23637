"""What every request passes first: the API key, early faults, and the headers by which tests know who answered."""

import asyncio
import hashlib
import json
import math
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extproc.mockvllm.connection import abort_connection, left
from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.faults import NO_FAULTS, Faults, UnknownFaultError, parse_faults
from extproc.mockvllm.inlet import FAULTS, header, read_body
from extproc.mockvllm.outlet import Outlet
from extproc.mockvllm.settings import MockSettings

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
"""Paths that --api-key guards; the others stay open, as in vLLM."""

FAULTY = "/v1"
"""Paths that faults strike, so that health checks and scrapes keep working."""

ECHOED = b"x-dualpool-"
"""Request headers that `x-mock-received` repeats."""

Headers = list[tuple[bytes, bytes]]


class Edge:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, settings: MockSettings) -> None:
        self._app = app
        self._settings = settings
        self._instance = (b"x-mock-instance", settings.name.encode("latin-1", "replace"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or stop it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added: Headers = [self._instance, *self._request_id(scope)]
        if header(scope, b"x-mock-echo") == b"1":
            body = await read_body(receive) or b""
            added += _received(scope, body)
            receive = _replay(body, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._guarded(scope, receive, send_with_headers)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._unauthorized(scope):
            await Outlet(scope, receive, send, NO_FAULTS).json(401, {"error": "Unauthorized"})
            return
        try:
            faults = self._faults(scope)
        except UnknownFaultError as error:
            await _refuse(scope, receive, send, self._settings, Refusal(400, str(error), "x-mock-fault"))
            return
        if faults is NO_FAULTS or await self._survives(faults, scope, receive, send):
            await self._app({**scope, FAULTS: faults}, receive, send)

    async def _survives(self, faults: Faults, scope: Scope, receive: Receive, send: Send) -> bool:
        """Commit the faults that come before any answer, once the body is here; False where one ended the request."""
        if faults.hang_s is None and faults.status is None and not faults.reset:
            return True
        body = await read_body(receive)
        if body is None:
            return False
        if faults.hang_s == math.inf:
            await left(receive)
            return False
        await asyncio.sleep(faults.hang_s or 0)
        if faults.reset:
            await abort_connection(scope, receive)
            return False
        if faults.status is not None:
            await _refuse(scope, receive, send, self._settings, Refusal(faults.status, "Fault on request."))
            return False
        await self._app({**scope, FAULTS: faults}, _replay(body, receive), send)
        return False

    def _faults(self, scope: Scope) -> Faults:
        """The request's own faults, if they are meant for this instance, else those of the instance."""
        if not scope["path"].startswith(FAULTY):
            return NO_FAULTS
        asked = parse_faults(header(scope, b"x-mock-fault").decode("latin-1"))
        return asked if asked != NO_FAULTS and asked.strikes(self._settings.name) else self._settings.faults

    def _unauthorized(self, scope: Scope) -> bool:
        key = self._settings.api_key
        if key is None or scope["method"] == "OPTIONS" or not scope["path"].startswith(GUARDED):
            return False
        return header(scope, b"authorization") != f"Bearer {key}".encode()

    def _request_id(self, scope: Scope) -> Headers:
        if not self._settings.enable_request_id_headers:
            return []
        return [(b"x-request-id", header(scope, b"x-request-id") or uuid.uuid4().hex.encode())]


async def _refuse(scope: Scope, receive: Receive, send: Send, settings: MockSettings, refusal: Refusal) -> None:
    await Outlet(scope, receive, send, NO_FAULTS).json(refusal.status, refusal.body(settings.version))


def _received(scope: Scope, body: bytes) -> Headers:
    """What arrived, for assertions: the routing headers, and the body's digest and length."""
    routing = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name.startswith(ECHOED)
    }
    return [
        (b"x-mock-received", json.dumps(routing, separators=(",", ":")).encode()),
        (b"x-mock-body-sha256", hashlib.sha256(body).hexdigest().encode()),
        (b"x-mock-body-bytes", str(len(body)).encode()),
    ]


def _replay(body: bytes, receive: Receive) -> Receive:
    """A channel that yields a body already read, then what comes after it."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return unread.pop() if unread else await receive()

    return replayed
