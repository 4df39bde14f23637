"""Drives the engine in real time and tells waiting requests what came; the only module that sleeps for the model.

Model time runs `speed` times as fast as real time. At speed 0 it only jumps by the length of each step, and nothing
sleeps. One task owns the engine; requests on the same loop submit, wait and abort.
"""

import asyncio
import math
import time
from collections.abc import Sequence as ReadOnlyList
from dataclasses import dataclass, field

from extproc.mockvllm.engine import Engine
from extproc.mockvllm.metrics import Metrics
from extproc.mockvllm.sequence import Outcome, Sequence

TICK_S = 0.002
"""Real seconds of decoding taken in one go: what a timer can resolve, so that high speeds cost no more wake-ups."""

_LATE_S = 0.02


@dataclass(slots=True, eq=False)
class Ticket:
    """A request's sequences in the engine, and the bell that rings for it."""

    sequences: list[Sequence]
    max_tokens: int
    """The resolved output limit of one sequence, for the metrics."""
    streams: bool
    """Ring for every token, and not only at the end."""
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> bool:
        """Whether every sequence has ended."""
        return all(sequence.outcome is not None for sequence in self.sequences)

    @property
    def aborted(self) -> bool:
        """Whether the client left before the end."""
        return any(sequence.outcome is Outcome.ABORT for sequence in self.sequences)

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait for news; False where none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True

    def ring(self) -> None:
        """Wake the request if it wants to know."""
        if self.streams or self.done:
            self._bell.set()


class Driver:
    """Owns the engine, its clock and the tickets in it."""

    def __init__(self, engine: Engine, metrics: Metrics, speed: float) -> None:
        self.engine = engine
        self._metrics = metrics
        self._speed = speed
        self._started_s = time.monotonic()
        self._due_s = self._started_s
        self._jumped_s = 0.0
        self._work = asyncio.Event()
        self._tickets: dict[Sequence, Ticket] = {}

    @property
    def now_s(self) -> float:
        """Model seconds since the start."""
        return (time.monotonic() - self._started_s) * self._speed if self._speed else self._jumped_s

    async def run(self) -> None:
        """Step the engine whenever it has work, until cancelled."""
        horizon_s = TICK_S * self._speed if self._speed else math.inf
        while True:
            if not self.engine.busy:
                self._work.clear()
                await self._work.wait()
                self._due_s = time.monotonic()
            step = self.engine.schedule(self.now_s, horizon_s=horizon_s)
            await self._pass(step.duration_s)
            progress = self.engine.complete(step, self.now_s)
            self._metrics.record(self.engine, step, progress)
            self._deliver(progress.advanced, progress.finished)

    def submit(self, ticket: Ticket) -> None:
        """Queue the ticket's sequences."""
        for sequence in ticket.sequences:
            self._tickets[sequence] = ticket
            self.engine.submit(sequence)
        self._metrics.admitted(len(ticket.sequences), ticket.max_tokens)
        self._work.set()

    def abort(self, ticket: Ticket) -> None:
        """Drop what of the ticket is not finished; its blocks are free at once."""
        if ticket.done:
            return
        for sequence in ticket.sequences:
            if self.engine.abort(sequence, self.now_s):
                self._tickets.pop(sequence)
                self._metrics.finished(sequence)
        self._metrics.refresh(self.engine)
        ticket.ring()

    async def _pass(self, duration_s: float) -> None:
        """Let a step take its time; a timer that rang late is made up for, a loop that was too busy is not."""
        if not self._speed:
            self._jumped_s += duration_s
            await asyncio.sleep(0)
            return
        now_s = time.monotonic()
        self._due_s = max(self._due_s, now_s - _LATE_S) + duration_s / self._speed
        await asyncio.sleep(max(0.0, self._due_s - now_s))

    def _deliver(self, advanced: ReadOnlyList[Sequence], finished: ReadOnlyList[Sequence]) -> None:
        for sequence in advanced:
            self._tickets[sequence].ring()
        for sequence in finished:
            self._tickets.pop(sequence)
