"""Composes a mock instance and serves it; the one place where its parts meet."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.errors import ConfigurationError
from extproc.mockvllm.chat import Chat
from extproc.mockvllm.completions import Completions
from extproc.mockvllm.connection import MockProtocol
from extproc.mockvllm.edge import Edge
from extproc.mockvllm.generation import Generation
from extproc.mockvllm.lookups import Lookup, count_tokens, embeddings, tokenize
from extproc.mockvllm.messages import Messages
from extproc.mockvllm.responses import Responses
from extproc.mockvllm.service import Service, build
from extproc.mockvllm.settings import MockSettings
from extproc.mockvllm.status import status_routes

GRACE_S = 5
"""Real seconds that requests under way get after SIGTERM; some faults hang for ever."""

KEEP_ALIVE_S = 300
"""Idle connections outlive what proxies keep. vLLM closes after 5 s, which races with a proxy's reuse of it."""


def create_app(settings: MockSettings) -> Starlette:
    """The instance as an ASGI application; its lifespan must run, for the engine steps inside it."""
    service = build(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            steps = tasks.create_task(service.driver.run())
            yield
            steps.cancel()

    return Starlette(
        routes=[*_generating(service), *_looking_up(service), *status_routes(service)],
        middleware=[Middleware(Edge, settings=settings)],
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route},
    )


def serve(settings: MockSettings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; prints one line once requests are taken. Port 0 takes a free one.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    shown = f"[{host}]" if ":" in host else host
    with _listen(host, port, shown) as listener:
        url = f"http://{shown}:{listener.getsockname()[1]}"
        ready = f"mock vLLM {settings.name} on {url} max_model_len={settings.max_model_len}\n"
        _Server(_config(settings), ready).run(sockets=[listener])


def _listen(host: str, port: int, shown: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {shown}:{port}: is the port taken, or the address not this host's?"
        ) from error


async def _no_route(_request: Request, error: Exception) -> Response:
    """404 and 405 as FastAPI words them."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _generating(service: Service) -> list[Route]:
    settings, tokenizer = service.settings, service.tokenizer
    return [
        Route("/v1/chat/completions", Generation(service, Chat(settings, tokenizer)), methods=["POST"]),
        Route("/v1/completions", Generation(service, Completions(settings, tokenizer)), methods=["POST"]),
        Route("/v1/responses", Generation(service, Responses(tokenizer)), methods=["POST"]),
        Route("/v1/messages", Generation(service, Messages(tokenizer)), methods=["POST"]),
    ]


def _looking_up(service: Service) -> list[Route]:
    return [
        Route("/tokenize", Lookup(service, tokenize), methods=["POST"]),
        Route("/v1/embeddings", Lookup(service, embeddings), methods=["POST"]),
        Route("/v1/messages/count_tokens", Lookup(service, count_tokens), methods=["POST"]),
    ]


def _config(settings: MockSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings),
        http=MockProtocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's server; says when it is ready, and takes a signal for a wish to stop, not for a failure."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(self._ready)
        sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Stop; a second signal stops at once. uvicorn's own would raise the signal again at the end."""
        self.force_exit = self.should_exit
        self.should_exit = True
