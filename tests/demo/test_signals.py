import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.demo.signals import interruptible, signals_held


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A test that ends as a program does leaves signals ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])

PROGRAM = """
import asyncio, sys
from extproc.demo.processes import child, free_ports
from extproc.demo.signals import interruptible

SERVER = "import http.server, sys; http.server.test(port=int(sys.argv[1]), bind='127.0.0.1')"

def server():
    (port,) = free_ports(1)
    command = [sys.executable, "-c", SERVER, str(port)]
    return child("server", command, answers_at=f"tcp://127.0.0.1:{port}")

def never():
    return child("never", [sys.executable, "-c", "import time; time.sleep(60)"], answers_at="tcp://127.0.0.1:1")

async def traffic(first):
    print(first.pid, flush=True)
    await asyncio.sleep(60)

with interruptible(), server() as first:
    if sys.argv[1] == "running":
        asyncio.run(traffic(first))
    print(first.pid, flush=True)
    with never():
        pass
"""


@BOTH
def test_the_block_ends_with_130(number: signal.Signals) -> None:
    """Either signal, and none after it changes that."""
    with pytest.raises(SystemExit, match="130"), interruptible():
        signal.raise_signal(number)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


@BOTH
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    """It takes effect then, and not twice."""
    passed: list[int] = []
    with pytest.raises(SystemExit, match="130"), interruptible():
        _signal_while_held(number, passed)
    assert passed == [1, 2]


def _signal_while_held(number: signal.Signals, passed: list[int]) -> None:
    with signals_held():
        signal.raise_signal(number)
        passed.append(1)
        signal.raise_signal(number)
        passed.append(2)
    passed.append(3)


def test_without_a_signal_nothing_happens() -> None:
    """Both blocks are passed through, and what was set before is set again."""
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    with interruptible(), signals_held():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) != before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@BOTH
@pytest.mark.parametrize("moment", ["starting", "running"])
def test_no_program_is_left(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    """While one is being started as while all run, the others are stopped, and a second signal hinders nothing."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server = int(program.stdout.readline())
        program.send_signal(number)
        program.send_signal(number)
        _, errors = program.communicate(timeout=20)
    assert (program.returncode, errors) == (130, "")
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
