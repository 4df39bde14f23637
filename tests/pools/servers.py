"""Real HTTP servers on loopback: mock vLLM instances of any version, and servers that say what a test wants."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from extproc.mockvllm.app import create_app
from extproc.mockvllm.connection import MockProtocol
from extproc.mockvllm.settings import MockSettings
from extproc.pools.urls import Address, parse_address

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a server does with a connection."""
Serve = Callable[[Talk], Awaitable[Address]]
"""Starts a server, which the test's end stops."""
Mock = Callable[[MockSettings], Address]
"""Starts a mock instance likewise, or takes the one with these settings."""

PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 8.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:num_preemptions_total{engine="0",model_name="m"} 10.0
vllm:num_preemptions_created{engine="0",model_name="m"} 1.7e+09
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="m"} 500.0
"""
"""The part of an instance's metrics that matters, and a little that does not."""


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Replier:
    """Answers each path with the same bytes, and keeps the heads of the questions. Both may be changed."""

    def __init__(self, **replies: bytes) -> None:
        self.replies = replies
        """By the last part of the path."""
        self.asked: list[str] = []
        """Heads of requests."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; what has no answer hangs."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        reply = self.replies.get(head.split()[1].rpartition("/")[2])
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)


def vllm(max_model_len: int = 8192, *, page: bytes = PAGE, model: str = "m") -> Replier:
    """An instance as the pools see it: metrics that do not change, and a card."""
    card = b'{"object":"list","data":[{"id":"%s","max_model_len":%d}]}' % (model.encode(), max_model_len)
    return Replier(metrics=http(page), models=http(card))


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[Address]:
    """A server on a free port of loopback."""
    open_now: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            await talk(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            open_now.discard(writer)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield parse_address(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        while open_now:
            await asyncio.sleep(0.001)


@contextmanager
def instance(settings: MockSettings) -> Iterator[Address]:
    """A mock vLLM on a thread of its own."""
    config = uvicorn.Config(create_app(settings), http=MockProtocol, ws="none", log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def free_port() -> Iterator[Address]:
    """An address where nobody listens, and nobody else will while it lasts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield parse_address(f"http://127.0.0.1:{bound.getsockname()[1]}")
