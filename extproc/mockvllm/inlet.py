"""Reads one request: its body, its content type, what the edge noted in the scope; knows ASGI and no route."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.types import Receive, Scope

from extproc.mockvllm.errors import Refusal, malformed
from extproc.mockvllm.faults import NO_FAULTS, Faults

FAULTS = "mock.faults"
"""Where the edge leaves the faults of a request."""

BIG_BODY_BYTES = 65_536
"""Bodies above this are parsed and counted in a thread; below, the work takes under 1 ms and a thread would too."""

T = TypeVar("T")


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, whatever its size; None where the client left before its end."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def parse(scope: Scope, body: bytes, read: Callable[[bytes], T]) -> T | Refusal:
    """What `read` makes of the body, without keeping the event loop for long."""
    if header(scope, b"content-type").split(b";")[0].strip().lower() != b"application/json":
        return malformed(["Unsupported Media Type: Only 'application/json' is allowed"])
    return await asyncio.to_thread(read, body) if len(body) > BIG_BODY_BYTES else read(body)


def header(scope: Scope, name: bytes) -> bytes:
    """A request header's value; empty where it is missing."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def faults_of(scope: Scope) -> Faults:
    """What shall go wrong with this request."""
    faults: Faults = scope.get(FAULTS, NO_FAULTS)
    return faults
