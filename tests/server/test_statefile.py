"""The state file outlives restarts, never harms the service, and is never half written."""

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.state import RouterState, StateError, encode
from extproc.routing.values import Usage
from extproc.server import statefile
from extproc.server.statefile import StateFile, read_state, saving, write_state
from extproc.telemetry.labels import SaveOutcome
from extproc.telemetry.ledger import Ledger

CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}],"max_tokens":9}' % (b"some words " * 600)
SAVED, FAILED = SaveOutcome.SAVED, SaveOutcome.FAILED


def cold() -> Router:
    """A router that has learned nothing."""
    return Router(estimator=AnytimeEstimator(), policy=TokenBudgetPolicy(8192))


def taught(answers: int) -> Router:
    """A router that has seen so many answers."""
    router = cold()
    for _ in range(answers):
        decision = router.route(read_request("/v1/chat/completions", CHAT), draw=0.0)
        router.complete(decision, Usage(1300))
    return router


def samples(router: Router) -> list[int]:
    """Answers learned from, by model."""
    return [served.samples for served in router.snapshot().estimator.served if served.samples]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def names(folder: Path) -> list[str]:
    """What stands in a folder."""
    return [file.name for file in folder.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state may be kept."""
    return tmp_path / "dualpool.state"


def test_what_was_learned_is_there_after_a_restart(path: Path) -> None:
    """A state that was written teaches the next process as much."""
    write_state(path, taught(5).snapshot())
    assert samples(StateFile(path, Ledger()).restore(cold)) == [5]


def test_only_the_owner_may_read_it(path: Path) -> None:
    """Also where a file with other permissions stood before."""
    path.write_bytes(b"")
    path.chmod(0o666)
    write_state(path, RouterState())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_an_ordinary_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first start says that it is cold, and is no reason to worry."""
    caplog.set_level(logging.INFO)
    assert samples(StateFile(path, Ledger()).restore(cold)) == []
    assert [(record.levelname, "starting cold" in record.message) for record in caplog.records] == [("INFO", True)]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda raw: raw[:-1], "checksum"),
        (lambda raw: raw.replace(b"state 2 ", b"state 9 ", 1), "another version"),
        (lambda _: b"", "not a state"),
    ],
)
def test_a_file_that_cannot_be_used_is_kept_aside(
    path: Path, spoil: Callable[[bytes], bytes], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The service starts cold, says which file and why, and leaves its content for whoever wants to know."""
    spoilt = spoil(encode(taught(3).snapshot()))
    path.write_bytes(spoilt)
    assert samples(StateFile(path, Ledger()).restore(cold)) == []
    (warning,) = caplog.messages
    assert str(path) in warning
    assert why in warning
    assert not path.exists()
    assert path.with_name("dualpool.state.bad").read_bytes() == spoilt


def test_a_state_whose_parts_do_not_fit_leaves_nothing_behind(path: Path) -> None:
    """What was taken in before the part that does not fit is not kept: the start is cold."""

    class Half(Router):
        """Takes a state in by half."""

        def absorb(self, state: RouterState) -> None:
            """The first half, then the error."""
            super().absorb(state)
            raise StateError("it is damaged")

    write_state(path, taught(3).snapshot())
    built = [Half(estimator=AnytimeEstimator(), policy=TokenBudgetPolicy(1)), cold()]
    assert samples(StateFile(path, Ledger()).restore(lambda: built.pop(0))) == []
    assert not path.exists()


def test_what_cannot_be_moved_aside_is_not_written_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where even the renaming fails the file stays as it is, and nothing is saved."""
    path.write_bytes(b"something else")
    path.with_name("dualpool.state.bad").mkdir()
    ledger = Ledger()
    file = StateFile(path, ledger)
    assert samples(file.restore(cold)) == []
    asyncio.run(_saved_once(file))
    assert path.read_bytes() == b"something else"
    assert dict(ledger.state_saves) == {SAVED: 0, FAILED: 0}
    assert "nothing will be saved" in caplog.text


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A volume's mount point is no file: the operator hears of it at start."""
    with pytest.raises(ConfigurationError, match="name a file in it"):
        StateFile(tmp_path, Ledger())


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """A pipe would be read for ever, /dev/null renamed: neither is touched. A link to itself is named for that."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="no plain file"):
        StateFile(tmp_path / "pipe", Ledger())
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigurationError, match="link to itself"):
        StateFile(tmp_path / "loop", Ledger())


def test_a_link_stays_a_link(tmp_path: Path, path: Path) -> None:
    """What it points to is replaced."""
    link = tmp_path / "link"
    link.symlink_to(path)
    file = StateFile(link, Ledger())
    asyncio.run(_saved_once(file))
    assert link.is_symlink()
    assert read_state(path).estimator.served


async def _saved_once(file: StateFile) -> None:
    async with saving(file, taught(1), 60.0):
        pass


def test_drafts_of_killed_processes_are_cleared_away(path: Path) -> None:
    """What a process left that was killed in the middle of a save goes at the next start; other files stay."""
    left, other = path.with_name(".dualpool.state.4711.tmp"), path.with_name(".another.4711.tmp")
    left.touch()
    other.touch()
    StateFile(path, Ledger()).restore(cold)
    assert (left.exists(), other.exists()) == (False, True)


async def test_it_is_saved_now_and_then_and_at_the_end(path: Path) -> None:
    """Every interval while it runs; after the last exchange what that taught is saved too."""
    ledger, router = Ledger(), taught(1)
    async with saving(StateFile(path, ledger), router, 0.01):
        await until(lambda: ledger.state_saves[SAVED] >= 2)
        decision = router.route(read_request("/v1/chat/completions", CHAT), draw=0.0)
        router.complete(decision, Usage(1300))
    assert read_state(path).estimator.served[-1].samples == 2
    assert ledger.state_saves[FAILED] == 0
    assert names(path.parent) == [path.name], "no draft stays"


async def test_without_a_file_nothing_is_saved() -> None:
    """Saving is optional."""
    async with saving(None, cold(), 0.001):
        await asyncio.sleep(0.01)


async def test_a_disk_that_fails_is_counted_and_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each save that fails counts; the log has one line for each kind of failure, whatever the number."""
    ledger = Ledger()
    async with saving(StateFile(path / "missing" / "state", ledger), cold(), 0.001):
        await until(lambda: ledger.state_saves[FAILED] >= 3)
    assert ledger.state_saves[SAVED] == 0
    (warning,) = caplog.messages
    assert "No such file" in warning


async def test_a_failed_save_leaves_the_last_good_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a write costs that write alone."""
    write_state(path, taught(3).snapshot())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ledger = Ledger()
    async with saving(StateFile(path, ledger), taught(9), 60.0):
        pass
    monkeypatch.undo()
    assert ledger.state_saves == {SAVED: 0, FAILED: 1}
    assert samples(StateFile(path, Ledger()).restore(cold)) == [3]
    assert names(path.parent) == [path.name]


async def test_a_bug_in_saving_reaches_nobody(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a snapshot raises, the service runs on, and what was learned is not in the log."""

    class Broken(Router):
        """Cannot say what it has learned."""

        def snapshot(self) -> RouterState:
            """Fail."""
            raise ZeroDivisionError("a model's name")

    ledger = Ledger()
    broken = Broken(estimator=AnytimeEstimator(), policy=TokenBudgetPolicy(1))
    async with saving(StateFile(path, ledger), broken, 0.001):
        await until(lambda: ledger.state_saves[FAILED] >= 2)
    assert "ZeroDivisionError" in caplog.text
    assert "name" not in caplog.text.replace("filename", "")


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that takes nothing until the event is set."""
    released = threading.Event()
    write = statefile.write_state

    def wait_and_write(path: Path, state: RouterState) -> None:
        assert released.wait(10)
        write(path, state)

    monkeypatch.setattr(statefile, "write_state", wait_and_write)
    return released


async def test_a_hung_disk_holds_up_neither_traffic_nor_the_end(
    path: Path, hung: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a write hangs the event loop turns on, and the process leaves after a bounded wait, saying so."""
    monkeypatch.setattr(statefile, "_LAST_SAVE_S", 0.1)
    ledger, loop = Ledger(), asyncio.get_running_loop()
    before_s = loop.time()
    async with saving(StateFile(path, ledger), taught(1), 0.001):
        await asyncio.sleep(0.05)
        assert loop.time() - before_s < 2.0
    assert loop.time() - before_s < 2.0
    assert "leaving without it" in caplog.text
    assert names(path.parent) == []
    hung.set()


async def test_a_slow_disk_keeps_the_order_of_saves(path: Path, hung: threading.Event) -> None:
    """A save under way at the end is waited for, and the last one comes after it."""
    ledger, router = Ledger(), taught(1)
    async with saving(StateFile(path, ledger), router, 0.001):
        await asyncio.sleep(0.02)
        decision = router.route(read_request("/v1/chat/completions", CHAT), draw=0.0)
        router.complete(decision, Usage(1300))
        hung.set()
    assert read_state(path).estimator.served[-1].samples == 2
    assert ledger.state_saves[SAVED] == 2


async def test_cancelling_leaves_a_whole_file(path: Path) -> None:
    """However the service is ended, what stands in the file is a state."""
    write_state(path, taught(1).snapshot())
    router = taught(4)

    async def serve() -> None:
        async with saving(StateFile(path, Ledger()), router, 0.001):
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve())
        await asyncio.sleep(0.02)
        task.cancel()
    assert read_state(path).estimator.served[-1].samples == 4
    assert names(path.parent) == [path.name]
