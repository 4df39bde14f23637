"""Writes one response, whole or broken as its faults ask; knows ASGI and no route."""

import asyncio
import gzip
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from extproc.mockvllm import sse
from extproc.mockvllm.connection import abort_connection
from extproc.mockvllm.faults import NO_FAULTS, Faults

_HELD_EVENTS = 3
"""Events gathered before they are cut anew: enough that one piece spans two of them."""

_APART_S = 0.001
"""Real seconds between the pieces of a cut write, so that they travel alone."""

_encode = msgspec.json.Encoder().encode


class Outlet:
    """The way out for one response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, faults: Faults) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._faults = faults
        self._sent_events = 0
        self._held: list[bytes] = []
        self._compressor = zlib.compressobj(wbits=31) if faults.gzip else None

    async def json(self, status: int, value: Any) -> None:
        """A JSON response with its length."""
        if self._faults.slow_s:
            await asyncio.sleep(self._faults.slow_s)
        content = _encode(value)
        content = gzip.compress(content, mtime=0) if self._faults.gzip else content
        await self._start(status, b"application/json", [(b"content-length", str(len(content)).encode())])
        if self._faults.die_after_events is not None:
            await self._write(content[: len(content) // 2])
            await abort_connection(self._scope, self._receive)
            return
        if self._faults.split_writes:
            await self._write_cut(content)
            content = b""
        await self._send({"type": "http.response.body", "body": content})

    async def open_events(self) -> None:
        """Begin a stream of events."""
        await self._start(200, b"text/event-stream; charset=utf-8", [])

    async def events(self, events: Sequence[bytes], failure: bytes) -> bool:
        """Write events; False where a fault ended the stream. `failure` is what an error mid-stream says."""
        if self._faults is NO_FAULTS:
            await self._write(b"".join(events))
            return True
        for event in events:
            if self._sent_events == self._faults.die_after_events:
                await abort_connection(self._scope, self._receive)
                return False
            if self._sent_events == self._faults.error_after_events:
                await self._event(failure)
                await self._event(sse.DONE)
                await self.end()
                return False
            await self._event(event)
        return True

    async def keep_alive(self) -> None:
        """Write a comment that carries nothing."""
        await self._write(self._shaped(sse.KEEP_ALIVE))

    async def end(self) -> None:
        """End the stream."""
        await self._flush()
        last = self._compressor.flush() if self._compressor else b""
        await self._send({"type": "http.response.body", "body": last})

    async def _event(self, event: bytes) -> None:
        if self._faults.no_done and event == sse.DONE:
            return
        if self._faults.slow_s:
            await asyncio.sleep(self._faults.slow_s)
        self._sent_events += 1
        if not self._faults.split_writes:
            await self._write(self._shaped(event))
            return
        self._held.append(self._shaped(event))
        if len(self._held) >= _HELD_EVENTS:
            await self._flush()

    async def _flush(self) -> None:
        held, self._held = b"".join(self._held), []
        await self._write_cut(held)

    async def _write_cut(self, content: bytes) -> None:
        for piece in sse.pieces(content):
            await self._write(piece)
            await asyncio.sleep(_APART_S)

    async def _start(self, status: int, content_type: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        encoding = [(b"content-encoding", b"gzip")] if self._faults.gzip else []
        headers = [(b"content-type", content_type), *headers, *encoding]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, content: bytes) -> None:
        if self._compressor is not None and content:
            content = self._compressor.compress(content) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if content:
            await self._send({"type": "http.response.body", "body": content, "more_body": True})

    def _shaped(self, event: bytes) -> bytes:
        return event.replace(b"\n", b"\r\n") if self._faults.crlf else event
