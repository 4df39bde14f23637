"""Starts and stops the service: listens, reports health, drains. Builds the core from settings and decides nothing."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from time import time_ns

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc import compiled
from extproc.assembly import build_router
from extproc.errors import ConfigurationError
from extproc.routing.orca import OrcaLoads
from extproc.routing.policy import certain_long_bytes
from extproc.server import wire
from extproc.server.modes import Modes
from extproc.server.notes import Notes, writing
from extproc.server.peers import Peers, sharing
from extproc.server.reload import Reloader, Source, reloading
from extproc.server.servicer import Servicer
from extproc.server.statefile import StateFile, saving
from extproc.server.steer import Helm, steering
from extproc.settings import Settings, split_host_port
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import Running, Status, status_of

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
    # Instead of a ping with every message, to learn how far to open the window: a window that is open far enough.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2**20),
)
_MB = 1_000_000
_log = logging.getLogger(__name__)


async def serve(settings: Settings, source: Source | None = None, *, worker: int = 0) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Args:
        settings: to begin with.
        source: where they came from, to be read anew when it changes; None reads nothing anew.
        worker: its place among the workers of one service; the first one keeps the state.

    Raises:
        ConfigurationError: an address cannot be bound, a file cannot be used, the short pool cannot hold the threshold.
        MissingPartError: the tokenizer or a collector needs a package that is not installed.
    """
    for warning in warnings_of(settings):
        _log.warning(warning)
    stop, ledger, source = _stop_event(), Ledger(), source or Source()
    ledger.record_settings(settings)
    file = StateFile(Path(settings.state_file), ledger, writes=worker == 0) if settings.state_file else None
    router = build_router(settings) if file is None else file.restore(lambda: build_router(settings))
    modes = Modes(explain=settings.explain_headers, shadow=settings.shadow, routed_share=settings.routed_share)
    running = Running(settings, _now_s(), str(source.path or ""), worker)
    orca = OrcaLoads(settings.pool_poll_s) if settings.orca else None
    helm = Helm(settings, router=router, ledger=ledger, modes=modes, orca=orca)
    reloader = Reloader(source, running, router=router, modes=modes, ledger=ledger, helm=helm)
    async with AsyncExitStack() as stack:
        await helm.refuse_or_fit()
        telemetry = Telemetry(ledger, router, otlp_endpoint=settings.otlp_endpoint, trace_share=settings.trace_share)
        stack.callback(telemetry.close)
        _serve_site(telemetry, settings.metrics_listen, lambda: status_of(running, router, ledger, now_s=_now_s()))
        peers = Peers(Path(settings.state_peers), router, ledger) if settings.state_peers else None
        log = _access_log(settings, ledger, stack)
        notes = Notes(ledger, access_log=log, spans=telemetry.spans, peers=peers, orca=orca)
        random = Random()  # noqa: S311 - which answers are read is no secret
        servicer = Servicer(router, ledger, random=random, modes=modes, notes=notes)
        beside = _together(
            saving(file, router, settings.state_save_s),
            sharing(peers),
            steering(helm),
            reloading(reloader),
            writing(notes),
        )
        await _serve_grpc(servicer, settings, stop, beside)


def _access_log(settings: Settings, ledger: Ledger, stack: AsyncExitStack) -> AccessLog | None:
    """Closed when everything that writes to it has ended."""
    if not settings.access_log:
        return None
    return stack.enter_context(AccessLog(Path(settings.access_log), round(settings.access_log_max_mb * _MB), ledger))


def _now_s() -> float:
    """Unix time."""
    return time_ns() / 1e9


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
    if anytime and not compiled.CAN_COMPILE:
        warnings.append(
            "no machine code may be made here (NUMBA_DISABLE_JIT, SELinux, MemoryDenyWriteExecute): "
            "the estimator's loops are interpreted, and a decision may take milliseconds"
        )
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
    collect_rarely()
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


def collect_rarely() -> None:
    """Spare requests the search for cycles: what stands at the start stays, and is never looked at again.

    gRPC leaves one cycle of eight objects for each stream. The youngest are looked at after every 5,000 new objects,
    which are still in the processor's caches then: 0.4 ms, where ten times as many take 5.6. What survives, as of
    streams that are open just then, is looked at twenty times more rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 10)


async def _drain(server: grpc.aio.Server, vitals: health.aio.HealthServicer, drain_s: float) -> None:
    """Not ready at once; exchanges in flight get `drain_s`. New ones are refused, and Envoy sends them long."""
    _log.info("draining: up to %.0f s for exchanges in flight", drain_s)
    for name in ("", READINESS, wire.SERVICE):
        await vitals.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.stop(grace=drain_s)
    _log.info("stopped")


@asynccontextmanager
async def _together(*managers: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    """All of them, left in the reverse order."""
    async with AsyncExitStack() as stack:
        for manager in managers:
            await stack.enter_async_context(manager)
        yield


def _bind(server: grpc.aio.Server, listen: str) -> str:
    host, _, _ = listen.rpartition(":")
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on {listen}: is the port taken, or the address not this host's?"
        ) from error


def _serve_site(telemetry: Telemetry, listen: str, status: Callable[[], Status]) -> None:
    if not listen:
        return
    host, port = split_host_port(listen)
    try:
        telemetry.serve(host, port, status)
    except OSError as error:
        raise ConfigurationError(f"cannot serve metrics on {listen}: {error.strerror}") from error


def _stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
