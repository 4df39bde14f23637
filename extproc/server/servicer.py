"""Carries each gRPC stream's messages to an exchange and back; knows neither pools nor protobuf fields.

Whatever goes wrong here, ending the stream without a word lets Envoy go on alone: unrouted requests take the default
route, which is the long pool.
"""

import logging
from random import Random
from traceback import extract_tb
from typing import Any

import grpc

from extproc.routing.exchange import Exchange
from extproc.routing.router import Router
from extproc.server import wire
from extproc.telemetry.ledger import Ledger

_log = logging.getLogger(__name__)


class Servicer:
    """The ext_proc service of one process. Runs on one event loop."""

    def __init__(self, router: Router, ledger: Ledger, *, random: Random, explain: bool) -> None:
        self._router = router
        self._ledger = ledger
        self._random = random
        self._explain = explain

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers: one bidirectional method, whose messages are bytes both ways."""
        process: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self._process)
        return grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: process})

    async def _process(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """One exchange. Envoy cancels the stream at the end of a request: that is ordinary, and still commits."""
        exchange = Exchange(self._router, draw=self._random.random())
        self._ledger.streams += 1
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                try:
                    answer, reply = wire.answer(exchange, message, explain=self._explain)
                except Exception as error:  # noqa: BLE001 - our bug must not become the user's error
                    self._confess(error)
                    return
                if reply.decision is not None:
                    self._ledger.record_decision(reply.decision)
                if answer:
                    await context.write(answer)
                if reply.last:
                    return
        finally:
            self._ledger.streams -= 1
            self._close(exchange)

    def _close(self, exchange: Exchange) -> None:
        try:
            self._ledger.record(exchange.close())
        except Exception as error:  # noqa: BLE001 - learning must not break traffic
            self._confess(error)

    def _confess(self, error: Exception) -> None:
        """Count a bug, and log where it is at the 1st, 10th, 100th …: never its text, which may quote a request."""
        self._ledger.record_internal_error()
        count = self._ledger.internal_errors
        if str(count).rstrip("0") == "1":
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(extract_tb(error.__traceback__)))
            _log.error("internal error %d: %s at %s", count, type(error).__name__, where)
