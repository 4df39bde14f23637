import socket

import httpx
import pytest
from starlette.types import Message

from extproc.mockvllm.connection import abort_connection


async def test_a_server_without_transport_fails_instead() -> None:
    """Under another server than uvicorn the fault becomes an error the server must handle."""

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    with pytest.raises(ConnectionAbortedError):
        await abort_connection({"type": "http"}, receive)


def test_the_client_sees_a_reset_and_not_an_end(mock: httpx.Client) -> None:
    """The peer gets RST: reading fails with ECONNRESET where an orderly end would read as empty."""
    body = b'{"messages":[]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-mock-fault: reset\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((mock.base_url.host, mock.base_url.port or 0), timeout=5) as client:
        client.sendall(head.encode() + body)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_instance_lives_on(mock: httpx.Client) -> None:
    """A reset ends one connection and nothing else."""
    with pytest.raises(httpx.NetworkError):
        mock.post("/v1/completions", json={"prompt": "a"}, headers={"x-mock-fault": "reset"})
    assert mock.get("/health").status_code == 200
