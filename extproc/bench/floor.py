"""The cheapest Python processor there can be: decodes each message and answers canned bytes; estimates nothing.

It asks for every body and routes everything long, so it does the same conversation as the service without the thinking.
"""

import asyncio
import signal
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.routing.exchange import Action
from extproc.routing.values import Pool
from extproc.server import wire
from extproc.server.app import READINESS, SERVER_OPTIONS

_ASK_BODY = wire.CANNED["request_headers", Action.ASK_BODY]
_ROUTE = wire.CANNED_ROUTES["request_body", Pool.LONG]


async def serve_floor(listen: str) -> None:
    """Answer Envoy until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    process: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: process}),))
    # Envoy skips a processor that does not say it is ready.
    vitals = health.aio.HealthServicer()
    await vitals.set(READINESS, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(vitals, server)
    server.add_insecure_port(listen)
    await server.start()
    await stop.wait()
    await server.stop(grace=None)


async def _process(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        if wire.parse(message).WhichOneof("request") == "request_headers":
            await context.write(_ASK_BODY)
        else:
            await context.write(_ROUTE)
            return


if __name__ == "__main__":
    import sys

    import uvloop

    uvloop.run(serve_floor(sys.argv[1]))
