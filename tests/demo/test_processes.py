import socket
import sys
import time
from pathlib import Path

import pytest

from extproc.demo.processes import Child, ChildFailedError, child, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy

SERVES = """
import http.server, sys
print("hello", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"


def python(program: str, *arguments: object) -> list[str]:
    """A command that runs a few lines of Python."""
    return [sys.executable, "-c", program, *map(str, arguments)]


def is_listening(port: int) -> bool:
    """Whether anything accepts there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_free_ports_are_free_and_all_different() -> None:
    """Each can be listened on at once."""
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(is_listening(port) for port in ports)


@pytest.mark.parametrize("scheme", ["http", "tcp"])
def test_the_block_begins_when_it_answers_and_the_child_ends_with_it(scheme: str) -> None:
    """Inside, the child serves; outside, it is gone and so is its output."""
    (port,) = free_ports(1)
    with child("server", python(SERVES, port), answers_at=f"{scheme}://127.0.0.1:{port}/") as started:
        assert is_listening(port)
        assert "hello" in started.tail()
    assert not is_listening(port)
    assert started.process.returncode is not None
    assert not started.log.exists()


def test_what_is_no_program_is_said_to_be_none(tmp_path: Path) -> None:
    """A file that cannot be run is the person's mistake, named with the reason."""
    path = tmp_path / "envoy"
    path.write_text("no program")
    with (
        pytest.raises(ChildFailedError, match=rf"server: {path} cannot be run: Permission denied"),
        child("server", [str(path)], answers_at="tcp://127.0.0.1:1"),
    ):
        pytest.fail("it was run")
    path.chmod(0o700)
    with (
        pytest.raises(ChildFailedError, match=rf"server: {path} cannot be run: Exec format error"),
        child("server", [str(path)], answers_at="tcp://127.0.0.1:1"),
    ):
        pytest.fail("it was run")


def test_a_child_that_ends_early_tells_why() -> None:
    """The error carries the end of what it said, without waiting for the timeout."""
    (port,) = free_ports(1)
    command = python("import sys; sys.exit('no such setting')")
    with (
        pytest.raises(ChildFailedError, match=r"server ended with status 1 before it answered:\nno such setting"),
        child("server", command, answers_at=f"tcp://127.0.0.1:{port}"),
    ):
        pytest.fail("it never answered")


def test_a_child_that_never_answers_is_stopped() -> None:
    """Patience ends, and the child with it."""
    (port,) = free_ports(1)
    command = python("import time; time.sleep(60)")
    with (
        pytest.raises(ChildFailedError, match="did not answer within"),
        child("server", command, answers_at=f"http://127.0.0.1:{port}/", timeout_s=0.3),
    ):
        pytest.fail("it never answered")


def test_a_child_that_will_not_end_is_killed() -> None:
    """One that ignores the polite signal gets the other, after the time given."""
    (port,) = free_ports(1)
    with child("server", python(IGNORES_SIGTERM, port), answers_at=f"tcp://127.0.0.1:{port}") as started:
        before_s = time.monotonic()
        assert started.stop(timeout_s=0.2) == -9
        assert time.monotonic() - before_s < 5.0
        assert started.stop() == -9


def test_a_childs_environment_can_be_given_whole() -> None:
    """Nothing of ours leaks into a child whose environment is given."""
    program = "import os, sys; sys.exit(','.join(sorted(k for k in os.environ if k.startswith('DUAL'))))"
    with (
        pytest.raises(ChildFailedError, match="DUALPOOL_LISTEN"),
        child("server", python(program), answers_at="tcp://127.0.0.1:1", environment={"DUALPOOL_LISTEN": "x"}),
    ):
        pytest.fail("it never answered")


ADMIN_ONLY = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}"


@pytest.mark.e2e
def test_several_envoys_run_beside_each_other() -> None:
    """Each is ready inside its block, whatever else runs on the machine."""
    one, other = free_ports(2)
    binary = find_envoy()
    with (
        envoy(binary, ADMIN_ONLY % one, concurrency=1) as first,
        envoy(binary, ADMIN_ONLY % other, concurrency=1) as second,
    ):
        assert is_running(first)
        assert is_running(second)
        assert is_listening(one)
        assert is_listening(other)


def is_running(started: Child) -> bool:
    """Whether it has not ended."""
    return started.process.poll() is None


@pytest.mark.e2e
def test_an_envoy_that_refuses_its_configuration_says_so() -> None:
    """Envoy's own complaint reaches whoever started it."""
    (port,) = free_ports(1)
    broken = f"{ADMIN_ONLY % port}\nstatic_resources: {{listeners: 7}}"
    with pytest.raises(ChildFailedError, match="listeners"), envoy(find_envoy(), broken):
        pytest.fail("it never answered")
