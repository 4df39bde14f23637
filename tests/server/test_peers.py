"""Workers that share a folder learn from each other's answers, and none can harm another."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from extproc.errors import ConfigurationError
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.estimators import EmaEstimator, Estimator
from extproc.routing.exchange import Exchange, Outcome, RequestHead, ResponseHead
from extproc.routing.lessons import LESSONS_MAX, encode, taught_by
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request, read_request
from extproc.routing.router import Router
from extproc.routing.state import RouterState
from extproc.server import peers as peers_module
from extproc.server.peers import Peers, sharing
from extproc.telemetry.labels import LessonOutcome
from extproc.telemetry.ledger import Ledger

SENT, TAKEN, LOST = LessonOutcome.SENT, LessonOutcome.TAKEN, LessonOutcome.LOST
PATH = "/v1/chat/completions"


def body(words: int) -> bytes:
    """A chat of so many words."""
    message = {"role": "user", "content": "some words " * words}
    return json.dumps({"model": "m", "messages": [message], "max_tokens": 9}).encode()


def question() -> Request:
    """What both are asked to estimate."""
    return read_request(PATH, body(900))


class Worker:
    """A router, its ledger, and its way to the others."""

    def __init__(self, folder: Path, estimator: Estimator) -> None:
        self.router = Router(estimator=estimator, policy=TokenBudgetPolicy(8192))
        self.ledger = Ledger()
        self.peers = Peers(folder, self.router, self.ledger)

    def serve(self, words: int = 600) -> Outcome:
        """One exchange whose answer is read, and told to the others."""
        exchange = Exchange(self.router, draw=0.0)
        exchange.request_headers(RequestHead("POST", PATH), end_of_stream=False)
        exchange.request_body(body(words), end_of_stream=True)
        exchange.response_headers(ResponseHead(200, "application/json"), end_of_stream=False)
        answer = {"usage": {"prompt_tokens": 3 * words, "completion_tokens": 5}}
        exchange.response_body(json.dumps(answer).encode(), end_of_stream=True)
        outcome = exchange.close()
        self.peers.tell(outcome)
        return outcome

    def count(self, outcome: LessonOutcome) -> int:
        """Lessons that came to this."""
        return self.ledger.peer_lessons[outcome]


@asynccontextmanager
async def workers(
    folder: Path, count: int, make: Callable[[], Estimator] = AnytimeEstimator
) -> AsyncIterator[list[Worker]]:
    """So many in one folder, each sharing."""
    async with AsyncExitStack() as stack:
        found = [Worker(folder, make()) for _ in range(count)]
        for worker in found:
            await stack.enter_async_context(sharing(worker.peers))
        yield found


def sockets(folder: Path) -> int:
    """Left in a folder."""
    return len(list(folder.iterdir()))


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until it is so."""
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


def learned(router: Router) -> RouterState:
    """What answers taught it: where rooms lie it counts of the requests it routes itself."""
    state = router.snapshot()
    served = [replace(served, positions={}) for served in state.estimator.served]
    return replace(state, estimator=replace(state.estimator, served=served))


@pytest.mark.parametrize("make", [AnytimeEstimator, EmaEstimator])
async def test_what_one_is_taught_the_others_estimate_alike(tmp_path: Path, make: type[Estimator]) -> None:
    """Three workers, one of which sees all traffic: all come to the same state and the same estimate."""
    async with workers(tmp_path, 3, make) as (taught, *others):
        for index in range(80):
            taught.serve(500 + 5 * index)
        await until(lambda: all(worker.count(TAKEN) == 80 for worker in others))
        estimates = {worker.router.estimator.estimate(question(), 3000) for worker in (taught, *others)}
        assert len(estimates) == 1
        assert {learned(worker.router) == learned(taught.router) for worker in others} == {True}
        assert (taught.count(SENT), taught.count(TAKEN), taught.count(LOST)) == (160, 0, 0)


async def test_each_learns_from_all(tmp_path: Path) -> None:
    """Traffic spread over two: both have learned all of it, and nobody hears its own lessons."""
    async with workers(tmp_path, 2) as both:
        for index in range(40):
            both[index % 2].serve()
        await until(lambda: all(worker.count(TAKEN) == 20 for worker in both))
        samples = [served.samples for worker in both for served in worker.router.snapshot().estimator.served]
        assert samples.count(40) == 2


async def test_what_is_left_at_the_end_is_sent(tmp_path: Path) -> None:
    """A worker that drains tells its last lesson before it leaves, and leaves nothing behind."""
    listener = Worker(tmp_path, AnytimeEstimator())
    async with sharing(listener.peers):
        async with workers(tmp_path, 1) as (leaving,):
            leaving.serve()
        await until(lambda: listener.count(TAKEN) == 1)
        assert sockets(tmp_path) == 1
    assert sockets(tmp_path) == 0


async def test_a_killed_worker_is_forgotten(tmp_path: Path) -> None:
    """Its socket is still there and nobody listens: what was for it is lost, once, and the socket removed."""
    async with workers(tmp_path, 2) as (first, second):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(tmp_path / "killed.sock"))
        first.serve()
        await until(lambda: second.count(TAKEN) == 1)
        assert (first.count(SENT), first.count(LOST)) == (1, 1)
        assert not (tmp_path / "killed.sock").exists()
        first.serve()
        await until(lambda: second.count(TAKEN) == 2)
        assert first.count(LOST) == 1


async def test_what_is_no_socket_keeps_lessons_from_nobody(tmp_path: Path) -> None:
    """A folder of such a name cannot be told anything, nor removed; whoever comes after it learns all the same."""
    (tmp_path / "0.sock").mkdir()
    (tmp_path / "zz.sock").mkdir()
    async with workers(tmp_path, 3) as (first, second, third):
        first.serve()
        await until(lambda: second.count(TAKEN) == third.count(TAKEN) == 1)
        assert (first.count(SENT), first.count(LOST)) == (2, 2)


async def test_a_worker_that_hangs_delays_nobody(tmp_path: Path) -> None:
    """Its queue fills and what is more is lost; the others learn all."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hanging:
        hanging.bind(str(tmp_path / "hanging.sock"))
        async with workers(tmp_path, 2) as (first, second):
            for round_ in range(1, 41):
                first.serve()
                first.peers._send()
                await until(lambda round_=round_: second.count(TAKEN) == round_)  # type: ignore[misc]
            assert first.count(LOST) > 0
            assert first.count(SENT) + first.count(LOST) == 80


@pytest.mark.parametrize("message", [b"", b"not lessons", b"\x90" * 70_000])
async def test_what_is_no_lesson_is_refused(tmp_path: Path, message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, said once without its content, and the next lesson is learned."""
    async with workers(tmp_path, 2) as (first, second):
        path = str(second.peers._path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(message, path)
            stranger.sendto(message, path)
        first.serve()
        await until(lambda: second.count(TAKEN) == 1)
        assert second.count(LOST) == 2
        assert [record.getMessage() for record in caplog.records] == [
            "a message of another worker cannot be used (LessonError); going on, without saying so again"
        ]


async def test_a_lesson_of_another_estimator_is_not_learned(tmp_path: Path) -> None:
    """Workers that differ, as in the middle of a change of settings: it is lost, and nothing breaks."""
    async with workers(tmp_path, 1) as (anytime,), workers(tmp_path, 1, EmaEstimator) as (ema,):
        ema.serve()
        await until(lambda: anytime.count(LOST) == 1)
        assert anytime.router.ratios() == []


async def test_a_burst_is_learned_in_turns(tmp_path: Path) -> None:
    """More lessons in one message than are learned at once: all are, and none twice."""
    async with workers(tmp_path, 1) as (worker,):
        teacher = Worker(tmp_path, AnytimeEstimator())
        taught = taught_by(teacher.router, teacher.serve())
        assert taught is not None
        teacher.peers._socket.sendto(encode([taught] * LESSONS_MAX), str(worker.peers._path))
        await until(lambda: worker.count(TAKEN) == LESSONS_MAX)
        teacher.peers.close()
        await until(lambda: worker.count(TAKEN) == LESSONS_MAX + 1)
        assert worker.count(LOST) == 0


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """More than can be kept until it is sent is lost rather than held."""
    worker = Worker(tmp_path, EmaEstimator())
    outcome = worker.serve()
    for _ in range(peers_module._UNSENT_MAX + 5):
        worker.peers.tell(outcome)
    assert worker.count(LOST) == 6
    worker.peers.close()
    assert worker.count(SENT) == 0, "nobody is there"


async def test_nobody_else_may_speak_to_it(tmp_path: Path) -> None:
    """The folder that is made and the socket in it are their owner's alone."""
    folder = tmp_path / "made" / "here"
    async with workers(folder, 1) as (worker,):
        assert folder.stat().st_mode & 0o077 == 0
        assert worker.peers._path.stat().st_mode & 0o077 == 0


async def test_a_folder_that_cannot_be_used_is_an_error_at_start(tmp_path: Path) -> None:
    """A file in its place, or a path longer than sockets may have."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / ("x" * 100)):
        with pytest.raises(ConfigurationError, match="state_peers"):
            Worker(folder, EmaEstimator())


async def test_alone_nothing_is_shared() -> None:
    """Without a folder there is nobody to tell."""
    async with sharing(None):
        pass
