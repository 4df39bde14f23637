"""Starts mock instances on free loopback ports, one for each choice of settings, and stops them at the end."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn

from extproc.mockvllm.app import create_app
from extproc.mockvllm.connection import MockProtocol
from extproc.mockvllm.settings import MockSettings

Start = Callable[[MockSettings], httpx.Client]


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """A function from settings to a client of a running instance."""
    running: dict[MockSettings, httpx.Client] = {}
    servers: list[uvicorn.Server] = []
    with ExitStack() as stack:

        def started(settings: MockSettings) -> httpx.Client:
            if settings not in running:
                running[settings] = stack.enter_context(_instance(settings, servers))
            return running[settings]

        try:
            yield started
        finally:
            for server in servers:
                server.should_exit = True


@pytest.fixture
def mock(start: Start) -> httpx.Client:
    """A client of an instant instance with a context of 8192 tokens."""
    return start(MockSettings(name="short-1", max_model_len=8192, speed=0))


@contextmanager
def _instance(settings: MockSettings, servers: list[uvicorn.Server]) -> Iterator[httpx.Client]:
    config = uvicorn.Config(create_app(settings), http=MockProtocol, ws="none", log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    servers.append(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
