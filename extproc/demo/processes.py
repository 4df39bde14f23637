"""Starts programs on loopback, waits until they answer, and stops them; must not know what they are for.

A child's output goes to a file: it is shown only if the child fails to start.
"""

import contextlib
import http.client
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from extproc.demo.signals import signals_held
from extproc.errors import DualpoolError

LOOPBACK: Final = "127.0.0.1"
POLL_S: Final = 0.02
TAIL_LINES: Final = 20


class ChildFailedError(DualpoolError):
    """A program did not start, or did not answer in time; the message carries the end of its output."""


@dataclass(frozen=True, slots=True)
class Child:
    """A program of ours that is running."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    """Its standard output and error; gone when the child is stopped."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it, politely and then not; its exit status. Does nothing to one that has ended."""
        with signals_held():
            self.process.terminate()
            try:
                return self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                return self.process.wait()

    def tail(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


@contextlib.contextmanager
def child(
    name: str,
    command: Sequence[str],
    *,
    answers_at: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Iterator[Child]:
    """Run a program for as long as the block lasts, which begins once it answers.

    `answers_at` is an `http://` URL that must answer 200, or `tcp://HOST:PORT` that must accept. `environment` replaces
    the whole environment. Raises ChildFailedError if it cannot be run, or ends or `timeout_s` passes before that.
    """
    with tempfile.TemporaryDirectory(prefix="dualpool-") as folder, contextlib.ExitStack() as stack:
        with signals_held():
            started = _start(name, command, Path(folder) / "output.log", environment)
            stack.callback(started.stop)
        _wait_until_it_answers(started, answers_at, timeout_s)
        yield started


@contextlib.contextmanager
def envoy(
    binary: Path, bootstrap_yaml: str, *, concurrency: int = 2, log_level: str = "warning", timeout_s: float = 30.0
) -> Iterator[Child]:
    """Run Envoy with this configuration for as long as the block lasts, which begins once it takes requests."""
    admin = yaml.safe_load(bootstrap_yaml)["admin"]["address"]["socket_address"]
    with tempfile.TemporaryDirectory(prefix="dualpool-") as folder:
        config = Path(folder) / "envoy.yaml"
        config.write_text(bootstrap_yaml)
        command = [str(binary), "--config-path", str(config), "--concurrency", str(concurrency)]
        # Hot restart is what makes two Envoys on one machine meet; none of ours is ever restarted that way.
        command += ["--log-level", log_level, "--disable-hot-restart"]
        ready = f"http://{admin['address']}:{admin['port_value']}/ready"
        with child("envoy", command, answers_at=ready, timeout_s=timeout_s) as started:
            yield started


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on, all different. Another program may still take one first."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((LOOPBACK, 0))
        return [sock.getsockname()[1] for sock in sockets]


def _start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None) -> Child:
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - which programs to run is the caller's whole purpose
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            raise ChildFailedError(f"{name}: {command[0]} cannot be run: {error.strerror}") from error
    return Child(name, process, log)


def _wait_until_it_answers(started: Child, answers_at: str, timeout_s: float) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not _answers(answers_at):
        status = started.process.poll()
        if status is not None:
            raise ChildFailedError(f"{started.name} ended with status {status} before it answered:\n{started.tail()}")
        if time.monotonic() > give_up_s:
            raise ChildFailedError(f"{started.name} did not answer within {timeout_s:g} s:\n{started.tail()}")
        time.sleep(POLL_S)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    host, port = parts.hostname or LOOPBACK, parts.port or 0
    try:
        if parts.scheme == "tcp":
            socket.create_connection((host, port), timeout=1.0).close()
            return True
        return _get_status(host, port, parts.path) == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _get_status(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    with contextlib.closing(connection):
        connection.request("GET", path or "/")
        return connection.getresponse().status
