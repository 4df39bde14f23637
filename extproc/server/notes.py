"""Writes down what exchanges came to, shortly after they ended and several at a time; knows who wants to hear of them.

Nothing here is in the way of a request. Done for one exchange alone it costs a multiple: nothing of it is in the
processor's caches when a message has just been answered, and for the second of a row all of it is.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple

from extproc.routing.exchange import Exchange, Outcome
from extproc.routing.orca import OrcaLoads
from extproc.routing.values import Decision
from extproc.server.confession import Confessing
from extproc.server.peers import Peers
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.spans import Spans

_MANY = 16
"""Notes that are enough to be written."""
_MOST = 4096
"""Notes from which two are written for each one that comes: whatever holds it up, no more wait than that."""
SOON_S = 0.1
"""How long fewer may wait for others: counters are behind by no more than this. A timer that is due in less than the
kernel's own ticks would cost every wait of the event loop more than the notes do."""
_STINT_S = 0.002
"""How long requests may wait for what is written down: learning from an answer takes up to a millisecond."""


class Ended(NamedTuple):
    """An exchange that is over, and what was noticed of it."""

    exchange: Exchange
    phases: list[tuple[str, float]]
    """Of its first messages: the kind, and seconds until the answer was there."""
    traceparent: str
    """The caller's trace; empty where it named none."""
    arrived_ns: int
    """Since 1970."""
    ended_ns: int
    ended_s: float
    """By the monotonic clock."""


class Notes:
    """What is still to be written down. Belongs to one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        access_log: AccessLog | None = None,
        spans: Spans | None = None,
        peers: Peers | None = None,
        orca: OrcaLoads | None = None,
    ) -> None:
        """Nothing yet.

        Args:
            ledger: who counts.
            access_log: who writes down each exchange, if anybody does.
            spans: who tells a collector of some, if anybody does.
            peers: who tells other workers what was learned, if there are any.
            orca: who takes in what answers say of their pool's load, if that is wanted.
        """
        self._ledger = ledger
        self._confessing = Confessing(ledger)
        self._access_log = access_log
        self._spans = spans
        self._peers = peers
        self._orca = orca
        self._waiting: deque[Ended | Decision] = deque()
        self._timed = False
        self._writing = False
        self._over = False

    def add(self, note: Ended | Decision) -> None:
        """Take in an exchange that ended, or a decision whose answer may stream for an hour.

        What teaches is written at the event loop's next turn: an agent's next call may come within milliseconds, and
        starts from what this answer said.
        """
        self._waiting.append(note)
        waiting = len(self._waiting)
        if self._over:
            self.write()
        elif waiting >= _MOST:
            self._write_one(self._waiting.popleft())
            self._write_one(self._waiting.popleft())
        elif waiting == _MANY or (isinstance(note, Ended) and note.exchange.teaches):
            self._write_soon()
        elif not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(SOON_S, self._write_in_time)

    def write(self) -> None:
        """Write down all that waits, at once."""
        while self._waiting:
            self._write_one(self._waiting.popleft())

    def end(self) -> None:
        """Write down all that waits, and from now on what comes as it comes: nobody will call again."""
        self._over = True
        self.write()

    def _write_in_time(self) -> None:
        self._timed = False
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write_for_a_while)

    def _write_for_a_while(self) -> None:
        until_s = perf_counter() + _STINT_S
        while self._waiting and perf_counter() < until_s:
            self._write_one(self._waiting.popleft())
        self._writing = False
        if self._waiting:
            self._write_soon()

    def _write_one(self, note: Ended | Decision) -> None:
        outcome = None
        with self._confessing:
            if isinstance(note, Decision):
                self._ledger.record_decision(note)
            else:
                outcome = note.exchange.close()
        if outcome is not None and isinstance(note, Ended):
            with self._confessing:
                self._count(note, outcome)
            self._tell(note, outcome)

    def _count(self, ended: Ended, outcome: Outcome) -> None:
        """A decision that was awaited has been counted when it was made."""
        self._ledger.record(outcome)
        decision = outcome.decision
        if decision is not None and not decision.observe:
            self._ledger.record_decision(decision)
        for phase, elapsed_s in ended.phases:
            self._ledger.record_phase(phase, elapsed_s)

    def _tell(self, ended: Ended, outcome: Outcome) -> None:
        """A bug in telling one keeps no other from hearing of it."""
        if self._peers is not None:
            with self._confessing:
                self._peers.tell(outcome)
        if self._orca is not None and outcome.orca:
            with self._confessing:
                self._orca.heed(outcome, ended.ended_s)
        if self._access_log is not None:
            with self._confessing:
                self._access_log.record(outcome, arrived_ns=ended.arrived_ns)
        if self._spans is not None:
            with self._confessing:
                self._spans.record(
                    outcome, traceparent=ended.traceparent, arrived_ns=ended.arrived_ns, ended_ns=ended.ended_ns
                )


@asynccontextmanager
async def writing(notes: Notes) -> AsyncIterator[None]:
    """Whatever still waits at the end of the block is written down, and what comes later at once."""
    try:
        yield
    finally:
        await asyncio.sleep(0)  # streams that were just cut off add theirs
        notes.end()
