"""Starts and stops the service: listens, reports health, drains. Builds the core from settings and decides nothing."""

import asyncio
import logging
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.assembly import build_router
from extproc.errors import ConfigurationError
from extproc.routing.exchange import certain_long_bytes
from extproc.server import wire
from extproc.server.servicer import Servicer
from extproc.server.statefile import StateFile, saving
from extproc.settings import Settings, split_host_port
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger

LIVENESS, READINESS = "liveness", "readiness"
MAX_MESSAGE_BYTES = 16 * 2**20
"""Well above any body Envoy's buffer limit lets through; gRPC's own default of 4 MiB would fail such requests."""
_MAX_STREAMS = 65_536
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", _MAX_STREAMS),
    # Two services on one address would share its connections by chance: fail at start instead.
    ("grpc.so_reuseport", 0),
    # Envoy's keepalive pings come every 30 s, also while no stream is open.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises:
        ConfigurationError: an address cannot be bound, a file cannot be used.
        MissingPartError: the tokenizer needs a package that is not installed.
    """
    for warning in warnings_of(settings):
        _log.warning(warning)
    stop, ledger = _stop_event(), Ledger()
    file = StateFile(Path(settings.state_file), ledger) if settings.state_file else None
    router = build_router(settings) if file is None else file.restore(lambda: build_router(settings))
    telemetry = Telemetry(ledger, router)
    random = Random()  # noqa: S311 - which answers are read is no secret
    servicer = Servicer(router, ledger, random=random, explain=settings.explain_headers)
    try:
        _serve_metrics(telemetry, settings.metrics_listen)
        await _serve_grpc(servicer, settings, stop, saving(file, router, settings.state_save_s))
    finally:
        telemetry.close()


def warnings_of(settings: Settings) -> list[str]:
    """What an operator should know of settings that are possible, but hardly meant."""
    warnings = []
    anytime = settings.estimator == "anytime"
    reads_some = settings.learning_samples or settings.observe_share or settings.undeclared_output == "learned"
    if settings.estimator != "fixed" and not (reads_some or (anytime and settings.conversation_memory)):
        warnings.append(
            "learning_samples and observe_share are 0: nothing is learned, "
            + ("margins stay as wide as at first" if anytime else "all that might not fit goes long")
        )
    if settings.tokenizer_json and not anytime:
        warnings.append(f"tokenizer_json is used by estimator anytime alone, and estimator is {settings.estimator}")
    return warnings


async def _serve_grpc(
    servicer: Servicer, settings: Settings, stop: asyncio.Event, kept: AbstractAsyncContextManager[None]
) -> None:
    """Serve until it is time to stop, with `kept` entered for as long as anything is learned."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((servicer.handler(),))
    vitals = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(vitals, server)
    address = _bind(server, settings.listen)
    await server.start()
    for name in (LIVENESS, READINESS, wire.SERVICE):
        await vitals.set(name, health_pb2.HealthCheckResponse.SERVING)
    _log.info(
        "ready on %s: budgets up to %d tokens go short, bodies above %d bytes long unread",
        address,
        settings.threshold_tokens,
        certain_long_bytes(settings.threshold_tokens),
    )
    async with kept:
        await stop.wait()
        await _drain(server, vitals, settings.drain_s)


async def _drain(server: grpc.aio.Server, vitals: health.aio.HealthServicer, drain_s: float) -> None:
    """Not ready at once; exchanges in flight get `drain_s`. New ones are refused, and Envoy sends them long."""
    _log.info("draining: up to %.0f s for exchanges in flight", drain_s)
    for name in ("", READINESS, wire.SERVICE):
        await vitals.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.stop(grace=drain_s)
    _log.info("stopped")


def _bind(server: grpc.aio.Server, listen: str) -> str:
    host, _, _ = listen.rpartition(":")
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on {listen}: is the port taken, or the address not this host's?"
        ) from error


def _serve_metrics(telemetry: Telemetry, listen: str) -> None:
    if not listen:
        return
    host, port = split_host_port(listen)
    try:
        telemetry.serve(host, port)
    except OSError as error:
        raise ConfigurationError(f"cannot serve metrics on {listen}: {error.strerror}") from error


def _stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
