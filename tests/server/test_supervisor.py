"""Workers are kept running, get the signals of their supervisor, and end with it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.server.supervisor import Supervisor, Worker, meeting_place, raised, supervise, workers_of
from extproc.settings import Settings

QUIETLY = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); print('up', flush=True)\n"
"""A worker that ends well when it is told to."""


def worker(folder: Path, number: int, then: str, before: str = "") -> Worker:
    """A worker that notes each start in a file of its own."""
    note = f"open({str(folder / str(number))!r}, 'a').write('started\\n')\n"
    return Worker(number, [sys.executable, "-c", f"{before}{QUIETLY}{note}{then}"])


def starts(folder: Path, number: int) -> int:
    """How often a worker was started."""
    path = folder / str(number)
    return len(path.read_text().splitlines()) if path.exists() else 0


async def until(true: Callable[[], object]) -> None:
    """Let the loop run until it is so."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


WAIT = "while True: time.sleep(1)"


async def test_all_run_until_they_are_stopped(tmp_path: Path) -> None:
    """Each is started once; told to stop, all end well and so does the supervisor."""
    supervisor = Supervisor([worker(tmp_path, number, WAIT) for number in range(3)], drain_s=5)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: all(starts(tmp_path, number) for number in range(3)))
    supervisor.stop()
    assert await task == 0
    assert [starts(tmp_path, number) for number in range(3)] == [1, 1, 1]


async def test_one_that_dies_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Alone, and later each time; the log has its status."""
    workers = [worker(tmp_path, 0, WAIT), worker(tmp_path, 1, "exit(7)")]
    supervisor = Supervisor(workers, drain_s=5, first_delay_s=0.01)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: starts(tmp_path, 1) >= 3)
    supervisor.stop()
    assert await task in (0, 7)
    assert starts(tmp_path, 0) == 1
    delays = [record.getMessage() for record in caplog.records]
    assert delays[:2] == [
        "worker 1 ended with status 7: starting it again in 0.0 s",
        "worker 1 ended with status 7: starting it again in 0.0 s",
    ]


async def test_one_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """A signal is a death like any other."""
    supervisor = Supervisor([worker(tmp_path, 0, WAIT)], drain_s=5, first_delay_s=0.01)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: starts(tmp_path, 0) == 1 and supervisor._processes)  # it may be quicker than we are told
    supervisor.signal(signal.SIGKILL)
    await until(lambda: starts(tmp_path, 0) == 2)
    supervisor.stop()
    assert await task == 0


async def test_one_that_cannot_start_as_told_ends_all(tmp_path: Path) -> None:
    """A taken port or a bad setting is the operator's to mend: said at start, with the status of one process."""
    workers = [worker(tmp_path, 0, WAIT), worker(tmp_path, 1, "exit(2)")]
    assert await Supervisor(workers, drain_s=5).run() == 2
    assert starts(tmp_path, 1) == 1


async def test_one_that_cannot_be_started_harms_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The system has no process to give, say: it is tried again later, and the others serve on."""
    workers = [worker(tmp_path, 0, WAIT), Worker(1, [str(tmp_path / "not there")])]
    supervisor = Supervisor(workers, drain_s=5, first_delay_s=0.01)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: caplog.text.count("worker 1 cannot be started") >= 2 and starts(tmp_path, 0))
    supervisor.stop()
    assert await task == 126
    assert starts(tmp_path, 0) == 1


async def test_the_worst_status_is_told(tmp_path: Path) -> None:
    """Whoever looks at it alone knows that something did not end well."""
    badly = f"signal.signal(signal.SIGTERM, lambda *_: exit(3))\nopen({str(tmp_path / 'bad')!r}, 'w')\n"
    workers = [worker(tmp_path, 0, WAIT), worker(tmp_path, 1, badly + WAIT)]
    supervisor = Supervisor(workers, drain_s=5)
    task = asyncio.ensure_future(supervisor.run())
    await until(lambda: starts(tmp_path, 0) and (tmp_path / "bad").exists())
    supervisor.stop()
    assert await task == 3


async def test_one_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    """After the time for draining and a little more."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += f"open({str(tmp_path / 'deaf')!r}, 'w')\n"
    supervisor = Supervisor([worker(tmp_path, 0, deaf + WAIT)], drain_s=0, beside_drain_s=0.1)
    task = asyncio.ensure_future(supervisor.run())
    await until((tmp_path / "deaf").exists)
    supervisor.stop()
    assert await task == 128 + signal.SIGKILL


async def test_signals_are_passed_on(tmp_path: Path) -> None:
    """A hangup reaches the workers and ends nobody; the request to stop ends all."""
    heard = f"signal.signal(signal.SIGHUP, lambda *_: open({str(tmp_path / 'heard')!r}, 'w'))\n"
    heard += "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})\n"
    supervisor = Supervisor([worker(tmp_path, 0, WAIT, before="import signal\n" + heard)], drain_s=5)
    task = asyncio.ensure_future(supervise(supervisor))
    await until(lambda: starts(tmp_path, 0) == 1 and supervisor._processes)
    os.kill(os.getpid(), signal.SIGHUP)
    await until((tmp_path / "heard").exists)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task == 0
    assert starts(tmp_path, 0) == 1


async def test_a_hangup_ends_no_worker_that_starts(tmp_path: Path) -> None:
    """It waits until the worker has said what it is to mean, and is then forgotten by one that ignores it."""
    ready = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    ready += "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})\n"
    early = f"import time, os\nopen({str(tmp_path / 'early')!r}, 'w')\n"
    early += f"while not os.path.exists({str(tmp_path / 'sent')!r}): time.sleep(0.01)\n"
    supervisor = Supervisor([worker(tmp_path, 0, WAIT, before=early + ready)], drain_s=5)
    task = asyncio.ensure_future(supervise(supervisor))
    await until(lambda: (tmp_path / "early").exists() and supervisor._processes)
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    supervisor.signal(signal.SIGHUP)
    (tmp_path / "sent").touch()
    await until(lambda: starts(tmp_path, 0))
    supervisor.stop()
    assert await task == 0
    assert starts(tmp_path, 0) == 1


@pytest.mark.parametrize(
    ("address", "by", "expected"),
    [("127.0.0.1:50051", 3, "127.0.0.1:50054"), ("[::1]:9464", 1, "[::1]:9465"), ("", 2, "")],
)
def test_each_worker_has_the_next_ports(address: str, by: int, expected: str) -> None:
    """On the same host; what is off stays off."""
    assert raised(address, by) == expected


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.1:65535"])
def test_ports_that_are_not_there_are_an_error(address: str) -> None:
    """Neither chosen by the system nor above the last."""
    with pytest.raises(ConfigurationError, match=address):
        raised(address, 1)


def test_a_worker_is_the_same_command_with_ports_of_its_own(tmp_path: Path) -> None:
    """The flags go to each; they meet in one folder."""
    settings = Settings(listen="0.0.0.0:6000", metrics_listen="")
    first, second = workers_of(settings, ["--promise", "0.01"], 2, tmp_path)
    flags = ["--promise", "0.01", "--listen", "0.0.0.0:6001", "--metrics-listen", "", "--worker", "1"]
    assert second.command[-len(flags) :] == flags
    assert first.environment == second.environment == {"DUALPOOL_STATE_PEERS": str(tmp_path)}


def test_the_meeting_place_is_the_service_s_alone() -> None:
    """Made for it and gone with it, unless the operator has named one."""
    with meeting_place(Settings()) as folder:
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    with meeting_place(Settings(state_peers="/somewhere")) as named:
        assert named == Path("/somewhere")


# The command


class Service:
    """A running `dualpool serve --workers 2`."""

    def __init__(self, process: subprocess.Popen[bytes], metrics: list[int]) -> None:
        self.process = process
        self._metrics = metrics

    def status(self, number: int) -> dict[str, Any]:
        """What a worker says of itself; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics[number]}/status", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:
            return {}
        return found

    def children(self) -> set[int]:
        """Processes it has started."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(map(int, path.read_text().split()))


def eventually(true: Callable[[], object]) -> None:
    """Wait until it is so; the test's own time limit ends it otherwise."""
    while not true():
        time.sleep(0.05)


@contextmanager
def service(*arguments: str) -> Iterator[Service]:
    """Two workers on neighbouring ports, ready."""
    listen, metrics = _neighbours(), _neighbours()
    command = [sys.executable, "-m", "extproc", "serve", "--workers", "2", "--listen", f"127.0.0.1:{listen}"]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        found = Service(process, [metrics, metrics + 1])
        children: set[int] = set()
        try:
            eventually(lambda: found.status(0) and found.status(1))
            children = found.children()
            yield found
        finally:
            process.kill()
            eventually(lambda: not any(map(_is_alive, children)))


def _is_alive(process: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def _neighbours() -> int:
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            second.bind(("127.0.0.1", port + 1))
            return port


def test_the_command_serves_with_workers(tmp_path: Path) -> None:
    """Each answers on its ports; a killed one comes again; a changed file and a hangup reach all; SIGTERM ends well."""
    config = tmp_path / "dualpool.yaml"
    config.write_text("threshold_tokens: 4096\n")
    with service("--config", str(config)) as running:
        assert [running.status(number)["worker"] for number in (0, 1)] == [0, 1]
        before = running.children()
        os.kill(max(before), signal.SIGKILL)
        eventually(lambda: len(running.children() - before) == 1 and running.status(0) and running.status(1))
        config.write_text("threshold_tokens: 2048\n")
        eventually(lambda: all(running.status(number)["threshold"]["tokens"] == 2048 for number in (0, 1)))
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: running.status(0)["settings"]["applied"] == 2)
        running.process.terminate()
        assert running.process.wait(timeout=30) == 0


def test_a_hangup_while_workers_start_ends_none() -> None:
    """However early it comes, and whatever the service is at, the workers stay those that were started first."""
    listen, metrics = _neighbours(), _neighbours()
    command = [sys.executable, "-m", "extproc", "serve", "--workers", "2", "--listen", f"127.0.0.1:{listen}"]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        found = Service(process, [metrics, metrics + 1])
        eventually(found.children)
        while not (found.status(0) and found.status(1)):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        process.terminate()
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0
    assert "ended with status" not in said


def test_workers_end_with_who_started_them() -> None:
    """Killed, it cannot tell them; they notice, and drain."""
    with service() as running:
        children = running.children()
        assert len(children) == 2
        running.process.kill()
        eventually(lambda: not any(map(_is_alive, children)))


def test_ports_for_all_workers_are_looked_at_first() -> None:
    """A port that the system is to choose has no next one: one line, before any worker is started."""
    command = [sys.executable, "-m", "extproc", "serve", "--workers", "2", "--metrics-listen", "127.0.0.1:0"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "must leave room" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_taken_port_ends_all() -> None:
    """As it would a single process."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "extproc", "serve", "--workers", "2", "--listen", listen]
        command += ["--metrics-listen", ""]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert listen in run.stderr
    assert "Traceback" not in run.stderr
