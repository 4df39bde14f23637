"""A bare Python processor: decodes each message and answers canned bytes; estimates nothing.

It asks for every body and routes everything long, so it does the same conversation as the service without the thinking:
as one would write it with `grpc.aio`, or tuned as the service is, whose last answer leaves together with the status.

python -m extproc.bench.floor HOST:PORT
python -m extproc.bench.floor tuned HOST:PORT
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.routing.exchange import Action
from extproc.routing.values import Pool
from extproc.server import wire
from extproc.server.app import MAX_MESSAGE_BYTES, READINESS, SERVER_OPTIONS

_ASK_BODY = wire.CANNED["request_headers", Action.ASK_BODY]
_ROUTE = wire.CANNED_ROUTES["request_body", Pool.LONG]
_BARE_OPTIONS = (("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),)


async def serve_floor(listen: str, *, tuned: bool) -> None:
    """Answer Envoy until SIGTERM."""
    if tuned:
        process: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(_process_tuned)
    else:
        process = grpc.stream_stream_rpc_method_handler(_process)
    handler = grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: process})
    await serve_until_told(listen, handler, options=SERVER_OPTIONS if tuned else _BARE_OPTIONS)


async def serve_until_told(
    listen: str,
    handler: grpc.GenericRpcHandler,
    began: Callable[[], object] = gc.collect,
    options: Sequence[tuple[str, int]] = SERVER_OPTIONS,
) -> None:
    """Answer gRPC until SIGTERM, as the service does.

    Args:
        listen: host and port.
        handler: what answers.
        began: called once it is ready.
        options: of the gRPC server.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((handler,))
    # Envoy skips a processor that does not say it is ready.
    vitals = health.aio.HealthServicer()
    await vitals.set(READINESS, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(vitals, server)
    server.add_insecure_port(listen)
    await server.start()
    began()
    await stop.wait()
    await server.stop(grace=None)


async def _process(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        if wire.parse(message).WhichOneof("request") == "request_headers":
            await context.write(_ASK_BODY)
        else:
            await context.write(_ROUTE)
            return


async def _process_tuned(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    while (message := await context.read()) is not grpc.aio.EOF:
        if wire.parse(message).WhichOneof("request") != "request_headers":
            return _ROUTE
        await context.write(_ASK_BODY)
    return b""


if __name__ == "__main__":
    import sys

    import uvloop

    uvloop.run(serve_floor(sys.argv[-1], tuned="tuned" in sys.argv))
