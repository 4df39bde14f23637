"""The read-only site of one process: `/metrics`, `/status`, a page for people, `/healthz`; knows HTTP alone.

It runs on threads of its own and must never harm routing: a few connections at a time, each for a few seconds, and
nothing a client sends is kept, logged or given back.
"""

import json
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from time import monotonic
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from extproc.telemetry.page import as_html
from extproc.telemetry.status import Status

CONNECTIONS_MAX = 16
"""At a time; scrapers and people need one or two. Another one is closed unanswered."""
_SILENCE_S = 5.0
_CONNECTION_S = 15.0
"""From this age a connection makes way for a new one, when all are taken by such as send a byte now and then."""
_LOOK_S = 0.1
"""How soon it is noticed that it is time to close."""
_SAFE = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""The page loads nothing, runs nothing and is framed by nobody."""


class Content(NamedTuple):
    """What one path answers."""

    media_type: str
    text: str


class Site:
    """Listens from the moment it is made, until `close`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        status: Callable[[], Status] | None = None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """Listen.

        Args:
            host: a name or an address, IPv6 without brackets.
            port: 0 for any that is free.
            registry: what `/metrics` shows.
            status: makes what `/status` and the page show; called on the site's threads. None shows neither.
            silence_s: how long a client may pause.

        Raises:
            OSError: the address cannot be bound.
        """
        family, address = _address_of(host, port)
        self._server = _Server(family, (address, port), silence_s)
        self._server.set_app(_application(registry, status))
        self._thread = Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="web", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening; an answer that is under way is not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _application(registry: CollectorRegistry, status: Callable[[], Status] | None) -> WSGIApplication:
    """Chooses by path, then by method, so that a wrong path is 404 whatever is asked of it."""
    metrics = make_wsgi_app(registry)
    pages = {"/healthz": lambda: Content("text/plain; charset=utf-8", "ok\n")}
    if status is not None:
        pages["/"] = lambda: Content("text/html; charset=utf-8", as_html(status()))
        pages["/status"] = lambda: Content("application/json", json.dumps(status(), indent=2) + "\n")

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path != "/metrics" and path not in pages:
            return _say(start, HTTPStatus.NOT_FOUND, "there are /, /status, /metrics and /healthz\n")
        if method not in {"GET", "HEAD"}:
            return _say(start, HTTPStatus.METHOD_NOT_ALLOWED, "this site is read-only\n", ("Allow", "GET, HEAD"))
        if path == "/metrics":
            return list(metrics({**environ, "REQUEST_METHOD": "GET"}, start))
        return _show(start, pages[path])

    return lambda environ, start: _without_body(environ, answer(environ, start))


def _show(start: StartResponse, page: Callable[[], Content]) -> Iterable[bytes]:
    try:
        media_type, text = page()
    except Exception as error:  # noqa: BLE001 - told to who asks; what is shown may change while it is read
        return _say(start, HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: try again\n")
    return _say(start, HTTPStatus.OK, text, ("Content-Type", media_type))


def _say(start: StartResponse, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = text.encode("utf-8", "backslashreplace")
    plain = [] if dict(headers).get("Content-Type") else [("Content-Type", "text/plain; charset=utf-8")]
    start(f"{status.value} {status.phrase}", [*_SAFE, *plain, *headers, ("Content-Length", str(len(body)))])
    return [body]


def _without_body(environ: WSGIEnvironment, body: Iterable[bytes]) -> Iterable[bytes]:
    return [] if environ["REQUEST_METHOD"] == "HEAD" else body


class _Handler(WSGIRequestHandler):
    """One request a connection, told to nobody."""

    server: "_Server"

    def setup(self) -> None:
        """Wait for the client no longer than it may pause."""
        super().setup()
        self.connection.settimeout(self.server.silence_s)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
        """Say nothing."""

    def get_stderr(self) -> Any:
        """What wsgiref would print of a client that left goes nowhere."""
        return _Nowhere()

    def handle(self) -> None:
        with suppress(OSError):  # the client was too slow, or left
            super().handle()


class _Nowhere:
    def write(self, _: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Nothing is held."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each of a few connections."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], silence_s: float) -> None:
        self.address_family = family
        self.silence_s = silence_s
        self._open: dict[socket.socket, float] = {}
        self._lock = Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name, which may take long and is used for nothing."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - whoever it is
        """Whether there is room; the old and slow are told to go."""
        now = monotonic()
        with self._lock:
            for connection, since in self._open.items():
                if now - since > _CONNECTION_S:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
            if len(self._open) >= CONNECTIONS_MAX:
                return False
            self._open[request] = now
        return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's affair."""


def _address_of(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, str(address[0])
