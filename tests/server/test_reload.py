"""A settings file is applied when it changes and changes nothing when it is bad, while exchanges go on."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.assembly import build_router
from extproc.pools.card import Card
from extproc.pools.urls import Address
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.request import read_request
from extproc.routing.values import Finish, Pool, Usage
from extproc.server.modes import Modes
from extproc.server.reload import AT_START, LIVE, Reloader, Source, reloading
from extproc.server.steer import Helm
from extproc.settings import Settings
from extproc.telemetry.labels import ReloadOutcome
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import Running

APPLIED, REFUSED = ReloadOutcome.APPLIED, ReloadOutcome.REFUSED
CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}],"max_tokens":9}' % (b"some words " * 600)


class Process:
    """What a process consists of that settings reach, and the file they come from."""

    def __init__(self, path: Path, content: str = "", *, steered: bool = False, **flags: Any) -> None:
        self.path = path
        self.write(content)
        source = Source(path, flags)
        settings = source.load()
        self.running = Running(settings, 0.0)
        self.router, self.ledger, self.modes = build_router(settings), Ledger(), Modes()
        self.helm = None
        if steered:
            self.helm = Helm(settings, router=self.router, ledger=self.ledger, modes=self.modes)
        self.reloader = Reloader(
            source,
            self.running,
            router=self.router,
            modes=self.modes,
            ledger=self.ledger,
            helm=self.helm,
        )

    def write(self, content: str) -> None:
        """As editors write: another file, renamed."""
        draft = self.path.with_suffix(".new")
        draft.write_text(content)
        draft.replace(self.path)

    def remove(self) -> None:
        """As some editors begin."""
        self.path.unlink()

    async def settle(self) -> None:
        """Look until what was written has stood still."""
        await self.reloader.look()
        await self.reloader.look()

    async def become(self, content: str) -> None:
        """Write, and let it be noticed."""
        self.write(content)
        await self.settle()

    @property
    def threshold(self) -> int:
        """By which the next request is routed."""
        return self.router.policy.threshold_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the settings file."""
    return tmp_path / "dualpool.yaml"


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level that a reload sets is that of the whole process."""
    logger = logging.getLogger("extproc")
    before = logger.level
    yield
    logger.setLevel(before)


def test_each_setting_is_live_or_waits_for_a_restart() -> None:
    """None is forgotten, none is both."""
    assert set(Settings.model_fields) == LIVE | AT_START
    assert not LIVE & AT_START


async def test_a_changed_file_is_applied(path: Path) -> None:
    """Threshold, headers, shadow and level hold at once, and the attempt is told with its time."""
    process = Process(path)
    await process.become("threshold_tokens: 4096\nexplain_headers: true\nshadow: true\nlog_level: debug")
    assert (process.threshold, process.router.short_max_model_len) == (4096, 4096)
    assert (process.modes.explain, process.modes.shadow, process.ledger.shadow) == (True, True, True)
    assert logging.getLogger("extproc").level == logging.DEBUG
    assert process.running.settings.threshold_tokens == 4096
    assert process.ledger.reloads == {APPLIED: 1, REFUSED: 0}
    assert process.running.reloaded_s is not None
    assert process.running.reloaded_s > 1.7e9


async def test_a_file_that_did_not_change_is_left_alone(path: Path) -> None:
    """However often it is looked at."""
    process = Process(path, "threshold_tokens: 4096")
    for _ in range(5):
        await process.reloader.look()
    assert process.ledger.reloads.total() == 0


async def test_a_file_is_read_only_once_it_stands_still(path: Path) -> None:
    """Half a file is valid YAML too: what changed since the last look waits for the next."""
    process = Process(path, "threshold_tokens: 4096")
    process.write("")
    await process.reloader.look()
    process.write("threshold_tokens: 2048")
    await process.reloader.look()
    assert (process.threshold, process.ledger.reloads.total()) == (4096, 0)
    await process.reloader.look()
    assert (process.threshold, process.ledger.reloads[APPLIED]) == (2048, 1)


async def test_a_swapped_link_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes changes a ConfigMap: the path stays, the folder behind it is another."""
    for name, tokens in (("first", 4096), ("second", 2048)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dualpool.yaml").write_text(f"threshold_tokens: {tokens}")
    (tmp_path / "data").symlink_to("first")
    source = Source(tmp_path / "data" / "dualpool.yaml")
    router, running = build_router(source.load()), Running(source.load(), 0.0)
    reloader = Reloader(source, running, router=router, modes=Modes(), ledger=Ledger(), helm=None)
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").replace(tmp_path / "data")
    await reloader.look()
    await reloader.look()
    assert router.policy.threshold_tokens == 2048


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("threshold_tokens: -1", "threshold_tokens"),
        ("threshold_token: 4096", "did you mean threshold_tokens"),
        ("threshold_tokens: [", "not YAML"),
        ("promise: 0.001\npromise_: 1\nthreshold_tokens: 4096", "promise_"),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_so(
    path: Path, content: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even the settings in it that are good; it is said once, and counted."""
    process = Process(path, "threshold_tokens: 8000")
    await process.become(content)
    await process.settle()
    assert process.threshold == 8000
    assert process.ledger.reloads == {APPLIED: 0, REFUSED: 1}
    assert named in process.running.complaint
    (said,) = [record.getMessage() for record in caplog.records]
    assert named in said
    assert "\n" not in said


async def test_the_same_mistake_is_said_once_and_mended_ends_the_complaint(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Written again it is counted again; a good file is applied, and the complaint is gone."""
    process = Process(path)
    for _ in range(3):
        await process.become("promise: 7")
    assert (process.ledger.reloads[REFUSED], len(caplog.records)) == (3, 1)
    assert process.ledger.settings_refused
    await process.become("promise: 0.01")
    assert process.running.complaint == ""
    assert not process.ledger.settings_refused
    assert process.running.settings.promise == 0.01


async def test_a_file_that_is_gone_changes_nothing(path: Path) -> None:
    """Editors take it away for a moment; gone for longer is a mistake to be told; back again it is read."""
    process = Process(path, "threshold_tokens: 4096")
    process.remove()
    await process.reloader.look()
    assert process.ledger.reloads.total() == 0
    await process.reloader.look()
    assert (process.threshold, process.ledger.reloads[REFUSED]) == (4096, 1)
    await process.become("threshold_tokens: 2048")
    assert process.threshold == 2048


async def test_flags_and_the_environment_still_win(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that says otherwise changes nothing of what they say."""
    monkeypatch.setenv("DUALPOOL_PROMISE", "0.02")
    process = Process(path, threshold_tokens=5000)
    await process.become("threshold_tokens: 4096\npromise: 0.3\nobserve_share: 0.5")
    settings = process.running.settings
    assert (settings.threshold_tokens, settings.promise, settings.observe_share) == (5000, 0.02, 0.5)


async def test_what_needs_a_restart_is_named_and_the_rest_applied(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each set of names; put back, nothing waits any more."""
    process = Process(path)
    for tokens in (4096, 2048):
        await process.become(f"threshold_tokens: {tokens}\nlisten: 127.0.0.1:7\nestimator: ema")
    assert (process.threshold, process.running.settings.estimator) == (2048, "anytime")
    assert process.running.awaiting_restart == ("estimator", "listen")
    assert process.ledger.settings_awaiting_restart == 2
    assert [record.getMessage().split(": ")[-1] for record in caplog.records if record.levelname == "WARNING"] == [
        "estimator, listen"
    ]
    await process.become("threshold_tokens: 2048")
    assert not process.running.awaiting_restart
    assert process.ledger.settings_awaiting_restart == 0


async def test_what_was_learned_stays_and_exchanges_in_flight_teach(path: Path) -> None:
    """A promise that is changed between a decision and its answer: the answer still counts, under the new promise."""
    process = Process(path)
    router, estimator = process.router, process.router.estimator
    assert isinstance(estimator, AnytimeEstimator)
    request = read_request("/v1/chat/completions", CHAT)
    for _ in range(5):
        router.complete(router.route(request, draw=0.0), Usage(1300, 9, finish=Finish.STOP))
    in_flight = router.route(request, draw=0.0)
    await process.become("promise: 0.05")
    correction = router.complete(in_flight, Usage(1300, 9, finish=Finish.STOP))
    assert correction is not None
    assert correction.learned
    assert router.estimator is estimator
    assert (estimator.promised_share, estimator.standing()[0].samples) == (0.05, 6)


async def test_a_request_is_routed_by_the_new_rules(path: Path) -> None:
    """What a chat without a limit reserves, and which answers are read, change from one request to the next."""
    process = Process(path, "undeclared_output: long\nlearning_samples: 0\nconversation_memory: 0\nobserve_share: 0")
    request = read_request("/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    before = process.router.route(request, draw=0.5)
    assert (before.pool, before.observe) == (Pool.LONG, False)
    await process.become("undeclared_output: 100\nobserve_share: 1\nlearning_samples: 0\nconversation_memory: 0")
    after = process.router.route(request, draw=0.5)
    assert (after.pool, after.observe) == (Pool.SHORT, True)


async def test_a_moving_threshold_stays_where_it_is(path: Path) -> None:
    """Another setting changes nothing of it; another threshold, or pinning it, does at once."""
    adaptive = "adaptive_threshold: true\nshort_max_model_len: 16384\n"
    process = Process(path, adaptive + "threshold_tokens: 8192", steered=True)
    assert process.helm is not None
    process.helm._steerer.pin(6000)  # as if it had moved there
    process.helm.step()
    await process.become(adaptive + "threshold_tokens: 8192\nobserve_share: 0.5")
    assert process.threshold == 6000
    await process.become(adaptive + "threshold_tokens: 9000")
    assert process.threshold == 9000
    await process.become("short_max_model_len: 16384\nthreshold_tokens: 7000")
    assert process.threshold == 7000
    process.helm.step()
    assert process.threshold == 7000


async def test_a_threshold_above_what_the_short_pool_holds_is_not_followed(path: Path) -> None:
    """Its instances said what they hold: the file cannot ask for more, nor has more once they have left the list."""
    pool = "\nshort_pool: http://h:1"
    process = Process(path, "threshold_tokens: 4096" + pool, steered=True)
    assert process.helm is not None
    cards = process.helm._watches[Pool.SHORT]._cards
    cards[Address("http", "h", 1, "")] = Card("m", 6000)
    process.helm.step()
    await process.become("threshold_tokens: 9000" + pool)
    assert (process.threshold, process.ledger.reloads[REFUSED]) == (4096, 1)
    cards.clear()
    await process.become("threshold_tokens: 9001" + pool)
    assert (process.threshold, process.router.short_max_model_len) == (4096, 6000)
    assert process.running.complaint.startswith("threshold_tokens is 9001, and what was known last of short_pool has")
    await process.become("threshold_tokens: 5000" + pool)
    assert (process.threshold, process.running.complaint) == (5000, "")


async def test_another_short_pool_is_not_judged_by_the_one_before(path: Path) -> None:
    """Pool and threshold change together: nothing refuses it, and it holds once the new instances say that they can."""
    process = Process(path, "threshold_tokens: 4096\nshort_pool: http://h:1", steered=True)
    assert process.helm is not None
    process.helm._watches[Pool.SHORT]._cards[Address("http", "h", 1, "")] = Card("m", 6000)
    process.helm.step()
    await process.become("threshold_tokens: 9000\nshort_pool: http://other:1")
    assert (process.threshold, process.ledger.reloads[REFUSED]) == (6000, 0)
    await process.become("threshold_tokens: 9001\nshort_pool: http://other:1")
    assert (process.threshold, process.ledger.reloads[REFUSED]) == (6000, 0)
    process.helm._watches[Pool.SHORT]._cards[Address("http", "other", 1, "")] = Card("m", 16384)
    process.helm.step()
    assert process.threshold == 9001


async def test_a_context_that_is_taken_back_holds_nothing_down(path: Path) -> None:
    """Set and removed again while the service runs, and likewise a pool that had said it: the threshold is back."""
    process = Process(path, "threshold_tokens: 8192", steered=True)
    assert process.helm is not None
    await process.become("threshold_tokens: 8192\nshort_max_model_len: 4096")
    assert process.threshold == 4096
    await process.become("threshold_tokens: 8192\nshort_pool: http://h:1")
    process.helm._watches[Pool.SHORT]._cards[Address("http", "h", 1, "")] = Card("m", 6000)
    process.helm.step()
    assert process.threshold == 6000
    await process.become("threshold_tokens: 8192")
    assert (process.threshold, process.router.short_max_model_len) == (8192, 8192)


async def test_an_emptied_file_changes_nothing(path: Path) -> None:
    """A full disk leaves a file without a word: that must not end shadow mode, also when somebody asks."""
    process = Process(path, "shadow: true\nthreshold_tokens: 4096")
    await process.become("")
    await process.reloader.look(by_hand=True)
    assert (process.running.settings.shadow, process.threshold, process.ledger.reloads[REFUSED]) == (True, 4096, 2)
    assert "is empty" in process.running.complaint


async def test_a_pipe_in_its_place_is_not_waited_for(path: Path) -> None:
    """Nobody writes to it: it is refused unread, and a file that follows is applied."""
    process = Process(path, "threshold_tokens: 4096")
    process.remove()
    os.mkfifo(path)
    await process.settle()
    assert "no plain file" in process.running.complaint
    await process.become("threshold_tokens: 2048")
    assert process.threshold == 2048


async def test_a_complaint_is_bounded(path: Path) -> None:
    """Another file by mistake may have thousands of unknown names: the page and the log show some."""
    process = Process(path)
    await process.become("".join(f"zz{number}qq: 1\n" for number in range(200)))
    assert 0 < len(process.running.complaint) <= 1000


async def test_a_change_while_the_service_starts_is_not_missed(path: Path) -> None:
    """Written after the settings were loaded and before anybody watches."""
    process = Process(path, "threshold_tokens: 4096")
    source = Source(path)
    process.write("threshold_tokens: 2048")
    ledger = process.ledger
    late = Reloader(source, process.running, router=process.router, modes=process.modes, ledger=ledger, helm=None)
    await late.look()
    await late.look()
    assert process.threshold == 2048


async def test_the_threshold_can_rise_where_nobody_says_what_the_short_pool_holds(path: Path) -> None:
    """The operator's word is all that is known of it, with steering and without."""
    for steered in (True, False):
        process = Process(path, "threshold_tokens: 4096", steered=steered)
        await process.become("threshold_tokens: 9000")
        assert (process.threshold, process.router.short_max_model_len) == (9000, 9000)


async def test_a_pool_that_names_no_place_changes_nothing(path: Path) -> None:
    """It is found out when it is to be followed, before anything is."""
    process = Process(path, "threshold_tokens: 4096", steered=True)
    await process.become("threshold_tokens: 2048\nshort_pool: nowhere://x")
    assert (process.threshold, process.ledger.reloads[REFUSED]) == (4096, 1)
    assert "short_pool" in process.running.complaint


async def test_a_hangup_reads_at_once_and_harms_nothing(path: Path) -> None:
    """SIGHUP, unheard, would end the process; with a file it is read without waiting for it to stand still."""
    process = Process(path)
    async with reloading(process.reloader):
        process.write("threshold_tokens: 4096")
        os.kill(os.getpid(), signal.SIGHUP)
        while not process.ledger.reloads.total():
            await asyncio.sleep(0.01)
    assert process.threshold == 4096


async def test_after_the_watch_a_hangup_means_what_it_meant_before(path: Path) -> None:
    """Ignored from the start of the service on, it does not end one that is yet to save its state."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with reloading(Process(path).reloader):
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_without_a_file_a_hangup_changes_nothing() -> None:
    """There is nothing to read but the environment, which does not change."""
    running, ledger = Running(Settings(), 0.0), Ledger()
    reloader = Reloader(Source(), running, router=build_router(Settings()), modes=Modes(), ledger=ledger, helm=None)
    await reloader.look(by_hand=True)
    assert ledger.reloads == {APPLIED: 1, REFUSED: 0}
    await reloader.look()
    assert ledger.reloads.total() == 1


async def test_asked_by_hand_a_mistake_is_said_each_time(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who sends SIGHUP waits for an answer."""
    process = Process(path)
    process.write("promise: 7")
    for _ in range(2):
        await process.reloader.look(by_hand=True)
    assert len(caplog.records) == 2


async def test_our_own_bug_ends_nothing(path: Path) -> None:
    """Whatever raises, the watch goes on, and the refusal is counted without the error's text."""
    process = Process(path)
    process.reloader._source = None  # type: ignore[assignment]
    asked = asyncio.Event()
    asked.set()
    task = asyncio.ensure_future(process.reloader.run(asked, look_s=0.01))
    while process.ledger.reloads[REFUSED] < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    assert process.running.complaint == "internal error, AttributeError"


async def test_a_storm_of_hangups_is_not_followed_one_by_one(path: Path) -> None:
    """Each asks for the settings, and the process has better things to do: some stand for all."""
    process = Process(path)
    asked = asyncio.Event()
    task = asyncio.ensure_future(process.reloader.run(asked, look_s=60))
    asked.set()
    while not process.ledger.reloads.total():
        await asyncio.sleep(0)
    for _ in range(200):
        asked.set()
        await asyncio.sleep(0.0005)
    task.cancel()
    assert process.ledger.reloads.total() <= 2
