"""Carries each gRPC stream's messages to an exchange and back; knows neither pools nor protobuf fields.

Whatever goes wrong here, letting the request pass lets Envoy go on alone: unrouted requests take the default route,
which is the long pool.
"""

import asyncio
from random import Random
from time import monotonic, perf_counter, time_ns
from typing import Any

import grpc

from extproc.routing.exchange import Exchange
from extproc.routing.router import Router
from extproc.server import wire
from extproc.server.confession import Confessing, confess
from extproc.server.modes import Modes
from extproc.server.notes import Ended, Notes
from extproc.telemetry.ledger import Ledger

_NOTHING = b""
"""Where there is nothing to answer: a message of no kind, which Envoy passes over."""
_PHASES = 4
"""Messages whose time is noted with their exchange: all but the chunks of a streamed answer, which may be thousands."""
_RESET_S = 0.01
"""How long the cancellation may take that follows where Envoy has reset a stream."""


class Servicer:
    """The ext_proc service of one process. Runs on one event loop."""

    def __init__(
        self, router: Router, ledger: Ledger, *, random: Random, modes: Modes | None = None, notes: Notes | None = None
    ) -> None:
        """A service that has seen no stream yet.

        Args:
            router: who decides.
            ledger: who counts streams, and bugs.
            random: of which answers are read.
            modes: what is done beside routing; read anew for each exchange.
            notes: who writes down what exchanges came to; by default the ledger alone hears of it.
        """
        self._router = router
        self._ledger = ledger
        self._random = random
        self._modes = modes or Modes()
        self.notes = notes or Notes(ledger)
        """What is still to be written down."""

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers: one bidirectional method, whose messages are bytes both ways.

        To grpcio it is a method of one answer, so that the last answer leaves in one batch with the RPC's status; those
        before it are written as they come. On the wire both kinds of method are the same.
        """
        process: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(self._process)
        return grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: process})

    async def _process(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """One exchange; returns its last answer. Envoy cancels the stream at the end of a request: that is ordinary."""
        modes, random = self._modes, self._random.random
        explain, shadow = modes.explain, modes.shadow or (modes.routed_share < 1.0 and random() >= modes.routed_share)
        exchange = Exchange(self._router, draw=random(), shadow=shadow)
        arrived_ns, traceparent = time_ns(), ""
        phases: list[tuple[str, float]] = []
        decided = False
        self._ledger.streams += 1
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                started_s = perf_counter()
                try:
                    answer = wire.answer(exchange, message, explain=explain, shadow=shadow)
                except Exception as error:  # noqa: BLE001 - our bug must not become the user's error
                    confess(self._ledger, error)
                    if not decided:
                        exchange.lose()
                    return wire.passing(message)
                reply, traceparent = answer.reply, traceparent or answer.traceparent
                if len(phases) < _PHASES:
                    phases.append((answer.phase, perf_counter() - started_s))
                else:
                    self._time(answer.phase, perf_counter() - started_s)
                if reply.last:
                    return answer.message
                if reply.decision is not None:
                    decided = True
                    self.notes.add(reply.decision)
                if answer.message:
                    await context.write(answer.message)
            await asyncio.sleep(_RESET_S)
        except grpc.aio.BaseError:
            # Envoy is gone in the middle of a call. Anything sent now would fail, and what fails is never freed.
            raise asyncio.CancelledError from None
        finally:
            self._ledger.streams -= 1
            self.notes.add(Ended(exchange, phases, traceparent, arrived_ns, time_ns(), monotonic()))
        return _NOTHING

    def _time(self, phase: str, elapsed_s: float) -> None:
        with Confessing(self._ledger):
            self._ledger.record_phase(phase, elapsed_s)
