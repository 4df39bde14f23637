"""What clients may speak to Envoy beyond plain HTTP/1.1, byte by byte: with the real service, and tiny instances."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from extproc.demo.processes import LOOPBACK, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from tests.e2e.conftest import Service, Stage

pytestmark = pytest.mark.e2e

CHAT = b'{"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}'


class Instance(socketserver.StreamRequestHandler):
    """Answers in chunks with its pool's name and the request's head, without a limit on that; echoes a WebSocket."""

    def handle(self) -> None:
        """Serve a connection."""
        while head := b"".join(iter(self.rfile.readline, b"\r\n")):
            if b"upgrade: websocket" in head:
                self._echo()
                return
            if b"transfer-encoding" in head or b"content-length" in head:
                self.rfile.read(len(CHAT))
            said = self.server.pool + b"\n" + head  # type: ignore[attr-defined] # set where it is started
            self.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(said) + said)
            self.wfile.write(b"\r\n0\r\n\r\n")

    def _echo(self) -> None:
        name = self.server.pool  # type: ignore[attr-defined] # set where it is started
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
        self.wfile.write(b"x-instance: " + name + b"\r\n\r\n")
        while piece := self.connection.recv(65536):
            self.wfile.write(piece)


@contextlib.contextmanager
def instance(pool: str) -> Iterator[Address]:
    """A running instance of this pool."""
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Instance) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.pool = pool.encode()  # type: ignore[attr-defined] # told to its handlers
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Address(LOOPBACK, server.server_address[1])
        server.shutdown()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stage]:
    """An Envoy that asks the service."""
    listen, admin, grpc, metrics = (Address(LOOPBACK, port) for port in free_ports(4))
    with contextlib.ExitStack() as stack:
        short, long = (stack.enter_context(instance(pool)) for pool in ("short", "long"))
        service = Service(grpc, metrics, {"DUALPOOL_OBSERVE_SHARE": "1.0"})
        service.start()
        stack.callback(service.kill)
        options = EnvoyOptions(listen=listen, admin=admin, extproc=(grpc,), short=(short,), long=(long,))
        running = stack.enter_context(envoy(find_envoy(), bootstrap_yaml(options), concurrency=1))
        stage = Stage(f"http://{listen}", (listen.host, listen.port), running, service, running)
        stage.wait_until_asking()
        yield stage


def said_to(gateway: Stage, request: bytes) -> bytes:
    """All that is answered on a connection of its own until it is closed."""
    with socket.create_connection(gateway.address, timeout=10.0) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("host", [b"host: a\r\n", b""])
def test_a_client_may_speak_http_1_0(gateway: Stage, host: bytes) -> None:
    """It is decided as any other, and its answer ends with the connection: chunks are of HTTP/1.1."""
    length = b"content-length: %d\r\n\r\n" % len(CHAT)
    head = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\n"
    answer, _, body = said_to(gateway, head + host + length + CHAT).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"x-dualpool-reason: fits_whatever_tokenizer" in answer
    assert b"transfer-encoding" not in answer
    assert body.startswith(b"short\nPOST /v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize(("count", "header_bytes"), [(240, 1), (1, 90 * 1024)])
def test_a_request_may_have_many_headers_and_large_ones(gateway: Stage, count: int, header_bytes: int) -> None:
    """As many as vLLM takes, less those that Envoy and the service add; and tokens that carry much."""
    headers = b"".join(b"x-%d: %s\r\n" % (index, b"y" * header_bytes) for index in range(count))
    answer = said_to(gateway, b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + headers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"\r\nx-%d: " % (count - 1)) == 1


@pytest.mark.parametrize(("count", "header_bytes"), [(300, 1), (1, 100 * 1024)])
def test_beyond_that_the_connection_is_closed(gateway: Stage, count: int, header_bytes: int) -> None:
    """Without a status line: Envoy's own answer to what it cannot read is lost on its way through `ext_proc`."""
    headers = b"".join(b"x-%d: %s\r\n" % (index, b"y" * header_bytes) for index in range(count))
    with contextlib.suppress(ConnectionResetError):
        assert said_to(gateway, b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + headers + b"\r\n") == b""
    assert said_to(gateway, b"GET /v1/models HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK\r\n"), "others go on"


UPGRADE = b"host: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"


@pytest.mark.parametrize("path", [b"/v1/realtime", b"/v1/chat/completions"])
def test_a_websocket_goes_long_and_passes_untouched(gateway: Stage, path: bytes) -> None:
    """Decided by its headers alone; what is said on it passes either way, at once, and the service's call has ended."""
    with socket.create_connection(gateway.address, timeout=10.0) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\n" + UPGRADE)
        head = b"".join(iter(answers.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"x-instance: long\r\n" in head
        assert b"x-dualpool-reason: not_inference\r\n" in head
        gateway.service.settle()
        for said in (b"\x81\x05hello", b"\0" * 100_000):
            connection.sendall(said)
            assert answers.read(len(said)) == said


def test_a_websocket_needs_no_service(gateway: Stage) -> None:
    """While the service is away it goes long as well."""
    gateway.service.kill()
    try:
        with socket.create_connection(gateway.address, timeout=10.0) as connection:
            connection.sendall(b"GET /v1/realtime HTTP/1.1\r\n" + UPGRADE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    finally:
        gateway.service.start()
        gateway.wait_until_asking()
