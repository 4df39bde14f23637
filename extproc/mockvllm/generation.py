"""Serves a generating route: reads, admits, and answers whole or as a stream while watching for the client to leave."""

import asyncio

from starlette.types import Receive, Scope, Send

from extproc.mockvllm import sse
from extproc.mockvllm.connection import left
from extproc.mockvllm.dialect import Dialect
from extproc.mockvllm.errors import FAULT, Refusal
from extproc.mockvllm.inlet import faults_of, header, parse, read_body
from extproc.mockvllm.outlet import Outlet
from extproc.mockvllm.reply import Reply
from extproc.mockvllm.service import Service


class Generation:
    """One route as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect
        self._version = service.settings.version
        self._failure = sse.data(dialect.refused(FAULT, self._version))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await read_body(receive)
        if body is None:
            return
        outlet = Outlet(scope, receive, send, faults_of(scope))
        reply = await self._admit(scope, body)
        if isinstance(reply, Refusal):
            await outlet.json(reply.status, self._dialect.refused(reply, self._version))
            return
        counted = int(self._service.settings.enable_server_load_tracking)
        self._service.load.requests += counted
        try:
            await self._answer(reply, outlet, receive)
        finally:
            self._service.load.requests -= counted
            self._service.driver.abort(reply.ticket)

    async def _admit(self, scope: Scope, body: bytes) -> Reply | Refusal:
        work = await parse(scope, body, self._dialect.read)
        if isinstance(work, Refusal):
            return work
        faults = faults_of(scope)
        if faults.error_after_events is not None and not work.stream:
            return FAULT
        request_id = header(scope, b"x-request-id").decode("latin-1")
        return self._service.admit(work, faults.usage_factor, request_id or None)

    async def _answer(self, reply: Reply, outlet: Outlet, receive: Receive) -> None:
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch(reply, receive))
            await (self._stream(reply, outlet) if reply.work.stream else self._whole(reply, outlet))
            watcher.cancel()

    async def _watch(self, reply: Reply, receive: Receive) -> None:
        await left(receive)
        self._service.driver.abort(reply.ticket)

    async def _whole(self, reply: Reply, outlet: Outlet) -> None:
        while not reply.ticket.done:
            await reply.ticket.changed()
        if not reply.ticket.aborted:
            await outlet.json(200, self._dialect.answer(reply))

    async def _stream(self, reply: Reply, outlet: Outlet) -> None:
        """The status goes out at once, the first event only with the first token, as in vLLM."""
        settings = self._service.settings
        await outlet.open_events()
        events = self._dialect.opening(reply)
        done = False
        while not done:
            if not await reply.ticket.changed(settings.sse_keep_alive_interval_s):
                await outlet.keep_alive()
                continue
            if reply.ticket.aborted:
                return
            events += [self._dialect.delta(reply, delta) for delta in reply.news(settings.stream_interval)]
            done = reply.ticket.done
            events += self._dialect.closing(reply) if done else []
            if not await outlet.events(events, self._failure):
                return
            events = []
        await outlet.end()
