"""Notes are written soon and a few at a time, whatever becomes of one of them."""

import asyncio
import time
from pathlib import Path

from extproc.routing.estimators import EmaEstimator
from extproc.routing.exchange import Exchange, Outcome, RequestHead, ResponseHead
from extproc.routing.orca import OrcaLoads
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.values import Decision, Reason
from extproc.server.notes import SOON_S, Ended, Notes, writing
from extproc.telemetry.accesslog import AccessLog
from extproc.telemetry.ledger import Ledger

BODY = b'{"model":"m","messages":[{"role":"user","content":"%s"}],"max_tokens":16}' % (b"word " * 200)
ANSWER = b'{"usage":{"prompt_tokens":250,"completion_tokens":3}}'
HEAD = RequestHead(method="POST", path="/v1/chat/completions", content_length=len(BODY))


def router() -> Router:
    """It wants to read every answer."""
    return Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))


def exchange(of: Router) -> Exchange:
    """One whose answer has come."""
    made = Exchange(of, draw=0.0)
    made.request_headers(HEAD, end_of_stream=False)
    made.request_body(BODY, end_of_stream=True)
    made.response_headers(ResponseHead(status=200, content_type="application/json"), end_of_stream=False)
    made.response_body(ANSWER, end_of_stream=True)
    return made


def unreadable() -> Exchange:
    """One whose body says nothing, so that its answer is not wanted."""
    made = Exchange(router(), draw=0.0)
    made.request_headers(HEAD, end_of_stream=False)
    made.request_body(b"{", end_of_stream=True)
    return made


def ended(of: Exchange) -> Ended:
    """The note of an exchange that took two messages."""
    return Ended(of, [("request_headers", 1e-5), ("request_body", 2e-5)], "", 1, 2, 0.0)


def decided(of: Router) -> Decision:
    """A decision whose answer is awaited."""
    made = Exchange(of, draw=0.0)
    made.request_headers(HEAD, end_of_stream=False)
    decision = made.request_body(BODY, end_of_stream=True).decision
    assert decision is not None
    return decision


async def test_what_ended_is_written_soon() -> None:
    """Nothing at once, nor at the loop's next turns; a tenth of a second later it and its phases are counted."""
    ledger = Ledger()
    waiting = Notes(ledger)
    waiting.add(ended(unreadable()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert sum(ledger.decisions.values()) == 0
    await asyncio.sleep(3 * SOON_S)
    assert sum(ledger.decisions.values()) == 1
    assert [sum(buckets.counts) for buckets in ledger.phases.values()] == [1, 1, 0, 0]


async def test_an_answer_teaches_before_the_next_request() -> None:
    """The exchange is closed at the loop's next turn, not within the answer's own."""
    ledger, routed = Ledger(), router()
    waiting = Notes(ledger)
    waiting.add(ended(exchange(routed)))
    assert (ledger.learned, routed.observing) == (0, 1)
    await asyncio.sleep(0)
    assert (ledger.learned, routed.observing) == (1, 0)


async def test_a_decision_whose_answer_is_awaited_counts_once() -> None:
    """By itself when it was made; the exchange, when it ends, does not count it again."""
    ledger, routed = Ledger(), router()
    waiting = Notes(ledger)
    waiting.add(decided(routed))
    waiting.write()
    assert sum(ledger.decisions.values()) == 1
    waiting.add(ended(exchange(routed)))
    waiting.write()
    assert sum(ledger.decisions.values()) == 1


async def test_a_decision_whose_answer_is_not_wanted_counts_when_its_exchange_ended() -> None:
    """Here a body that nobody can read."""
    ledger = Ledger()
    waiting = Notes(ledger)
    waiting.add(ended(unreadable()))
    waiting.write()
    assert [reason for _, reason, _, _ in ledger.decisions] == [Reason.UNREADABLE]


async def test_many_are_not_left_waiting() -> None:
    """A row of sixteen is written within a few of the event loop's next turns, long before a timer would come."""
    ledger = Ledger()
    waiting = Notes(ledger)
    for _ in range(15):
        waiting.add(ended(unreadable()))
    await asyncio.sleep(0)
    assert sum(ledger.decisions.values()) == 0
    waiting.add(ended(unreadable()))
    for _ in range(40):
        await asyncio.sleep(0)
    assert sum(ledger.decisions.values()) == 16


class Slow(Ledger):
    """A ledger that takes its time."""

    def record(self, outcome: Outcome) -> None:
        """Count, in longer than a whole stint."""
        time.sleep(0.003)
        super().record(outcome)


async def test_many_notes_give_way_to_requests() -> None:
    """Between any two that take long, the event loop does other things; none is lost."""
    ledger, routed = Slow(), router()
    waiting = Notes(ledger)
    for _ in range(20):
        waiting.add(ended(exchange(routed)))
    seen = set()
    async with asyncio.timeout(5.0):
        while ledger.learned < 20:
            await asyncio.sleep(0)
            seen.add(ledger.learned)
    assert seen == set(range(1, 21))


async def test_notes_do_not_pile_up_for_ever() -> None:
    """Where the event loop has no turn to spare, each one that comes from the 4,096th on takes two off the pile."""
    ledger, routed = Ledger(), router()
    waiting, note = Notes(ledger), decided(routed)
    for _ in range(4095):
        waiting.add(note)
    assert sum(ledger.decisions.values()) == 0
    waiting.add(note)
    assert sum(ledger.decisions.values()) == 2
    for _ in range(10_000):
        waiting.add(note)
    assert sum(ledger.decisions.values()) >= 10_000


class Broken(Ledger):
    """A ledger with a bug."""

    def record_phase(self, phase: str, elapsed_s: float) -> None:
        """Fail."""
        raise ZeroDivisionError


async def test_a_bug_with_one_note_does_not_keep_the_next_from_being_written() -> None:
    """Both exchanges are closed and teach, and both failures are counted."""
    ledger, routed = Broken(), router()
    waiting = Notes(ledger)
    for _ in range(2):
        waiting.add(ended(exchange(routed)))
    waiting.write()
    assert (ledger.internal_errors, routed.observing, routed.ratios()[0].samples) == (2, 0, 2)


class BrokenLoads(OrcaLoads):
    """Loads of the pools, with a bug."""

    def heed(self, outcome: Outcome, now_s: float) -> bool:
        """Fail."""
        raise ZeroDivisionError


async def test_a_bug_of_one_keeps_no_other_from_hearing_of_it(tmp_path: Path) -> None:
    """The access log gets its line though counting fails, and though taking in the pool's load does."""
    ledger, routed = Broken(), router()
    made = Exchange(routed, draw=0.0)
    made.request_headers(HEAD, end_of_stream=False)
    made.request_body(BODY, end_of_stream=True)
    made.response_headers(ResponseHead(status=200, content_type="application/json", orca="JSON {}"), end_of_stream=True)
    with AccessLog(tmp_path / "log", 10**6, ledger) as access_log:
        waiting = Notes(ledger, access_log=access_log, orca=BrokenLoads(poll_s=2.0))
        waiting.add(ended(made))
        waiting.write()
    assert ledger.internal_errors == 2
    assert len((tmp_path / "log").read_text().splitlines()) == 1


async def test_nothing_waits_when_the_service_has_ended() -> None:
    """What was added last is written when the block is left, and what comes even later at once."""
    ledger, routed = Ledger(), router()
    waiting = Notes(ledger)
    async with writing(waiting):
        waiting.add(ended(exchange(routed)))
    assert ledger.learned == 1
    waiting.add(ended(exchange(routed)))
    assert ledger.learned == 2
