"""Two workers behind a real Envoy share the requests and what they learn, and one that is killed is not missed."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.demo.processes import LOOPBACK, Child, child, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.server.notes import SOON_S

pytestmark = pytest.mark.e2e

DUALPOOL = (sys.executable, "-m", "extproc")


@dataclass
class Workers:
    """The deployment: Envoy, one mock for each pool, and a service of two processes."""

    url: str
    service: Child
    metrics: list[Address]

    def status(self, number: int) -> dict[str, Any]:
        """What a worker says of itself; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics[number]}/status", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:
            return {}
        return found

    def decided(self) -> list[int]:
        """Requests each worker has decided, once all are counted."""
        before, now = None, None
        while now is None or now != before:
            time.sleep(2 * SOON_S)
            before, now = now, [int(self.status(number)["decisions"]["total"]) for number in (0, 1)]
        return now

    def samples(self, number: int) -> int:
        """Answers a worker has learned from, its own and the other's."""
        return sum(model["samples"] for model in self.status(number)["models"])

    def ask(self, client: httpx.Client, words: int) -> None:
        """One chat, which must have a good answer."""
        message = {"role": "user", "content": "some words " * words}
        answer = client.post("/v1/chat/completions", json={"model": "m", "messages": [message], "max_tokens": 4})
        assert answer.status_code == 200


def eventually(true: Callable[[], object]) -> None:
    """Wait until it is so; the test's own time limit ends it otherwise."""
    while not true():
        time.sleep(0.05)


def neighbours() -> list[Address]:
    """Two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind((LOOPBACK, 0))
            port = int(first.getsockname()[1])
            second.bind((LOOPBACK, port + 1))
            return [Address(LOOPBACK, port), Address(LOOPBACK, port + 1)]


def instance(name: str, address: Address, max_model_len: int) -> contextlib.AbstractContextManager[Child]:
    """A stand-in for vLLM."""
    command = [*DUALPOOL, "mock-vllm", "--host", address.host, "--port", str(address.port), "--name", name]
    command += ["--max-model-len", str(max_model_len), "--speed", "instant"]
    return child(name, command, answers_at=f"http://{address}/health")


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Both workers ready, and Envoy asking them."""
    listen, admin, short, long = (Address(LOOPBACK, port) for port in free_ports(4))
    grpc, metrics = neighbours(), neighbours()
    command = [*DUALPOOL, "serve", "--workers", "2", "--listen", str(grpc[0]), "--metrics-listen", str(metrics[0])]
    command += ["--state-file", str(tmp_path / "state")]
    environment = {**os.environ, "DUALPOOL_OBSERVE_SHARE": "1.0"}
    config = EnvoyOptions(listen=listen, admin=admin, extproc=tuple(grpc), short=(short,), long=(long,))
    with contextlib.ExitStack() as stack:
        stack.enter_context(instance("short", short, 8192))
        stack.enter_context(instance("long", long, 131_072))
        at = f"http://{metrics[1]}/healthz"
        service = stack.enter_context(child("service", command, answers_at=at, environment=environment))
        stack.enter_context(envoy(find_envoy(), bootstrap_yaml(config), concurrency=1))
        found = Workers(f"http://{listen}", service, metrics)
        eventually(lambda: found.status(0) and found.status(1))
        eventually(lambda: "x-dualpool-pool" in httpx.get(f"{found.url}/v1/models").headers)
        yield found


def test_workers_share_requests_and_lessons(workers: Workers) -> None:
    """Each decides some, both have learned from all, and say the same of the same text."""
    before = workers.decided()
    with httpx.Client(base_url=workers.url, timeout=30) as client:
        for index in range(60):
            workers.ask(client, 300 + index)
    eventually(lambda: workers.samples(0) == workers.samples(1) == 60)
    decided = [after - earlier for after, earlier in zip(workers.decided(), before, strict=True)]
    assert sum(decided) == 60
    assert min(decided) > 10
    statuses = [workers.status(number) for number in (0, 1)]
    assert [status["lessons"]["lost"] for status in statuses] == [0, 0]
    ratios = [status["ratios"][0]["bytes_per_token"] for status in statuses]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.01)


def test_a_killed_worker_is_not_missed(workers: Workers, tmp_path: Path) -> None:
    """Requests go on while it is away, and it comes back; at the end what both learned is in one file."""
    children = Path(f"/proc/{workers.service.pid}/task/{workers.service.pid}/children")
    before = children.read_text().split()
    with httpx.Client(base_url=workers.url, timeout=30) as client:
        for index in range(20):
            workers.ask(client, 300 + index)
        os.kill(int(before[1]), signal.SIGKILL)
        for index in range(40):
            workers.ask(client, 300 + index)
        eventually(lambda: workers.status(1) and len(children.read_text().split()) == 2)
        for index in range(20):
            workers.ask(client, 300 + index)
    eventually(lambda: workers.samples(1) > 0)
    learned = workers.samples(0)
    assert learned > 40
    assert workers.service.stop() == 0
    assert (tmp_path / "state").stat().st_size > 1000
