"""What happens when the service dies, hangs or comes back: requests go long meanwhile, and none is lost."""

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
MESSAGE_TIMEOUT_S = 1.0
SMALL = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
TEACHING = SMALL | {"messages": [{"role": "user", "content": "hello there " * 2000}]}
"""Goes long for want of a ratio, and is answered with the usage that gives one."""
Factory = Callable[..., AbstractContextManager[Any]]


@dataclass
class Tally:
    """What clients saw while something happened."""

    pools: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


@contextmanager
def load(url: str, tally: Tally, clients: int = 4) -> Iterator[None]:
    """Clients that send small requests one after another for as long as the block lasts."""
    stop = threading.Event()
    threads = [threading.Thread(target=_client, args=(url, tally, stop)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _client(url: str, tally: Tally, stop: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=20.0) as client:
        while not stop.is_set():
            started = time.monotonic()
            try:
                answer = client.post(CHAT, json=SMALL)
            except httpx.HTTPError as error:
                tally.failures.append(type(error).__name__)
                continue
            tally.slowest_s = max(tally.slowest_s, time.monotonic() - started)
            tally.pools[answer.headers.get("x-mock-instance", "none")] += 1
            if answer.status_code != 200:
                tally.failures.append(str(answer.status_code))


def test_killing_and_restarting_the_service_loses_no_request(stage_factory: Factory) -> None:
    """Under load the service is killed and started again twice: every request succeeds, going long meanwhile."""
    with stage_factory() as stage:
        before, during, after = Tally(), Tally(), Tally()
        everything = Tally()
        with load(stage.url, everything):
            for _ in range(2):
                with load(stage.url, before, clients=1):
                    time.sleep(0.7)
                stage.service.kill()
                with load(stage.url, during, clients=1):
                    time.sleep(0.7)
                stage.service.start()
                stage.wait_until_asking()
            with load(stage.url, after, clients=1):
                time.sleep(0.7)
    assert [tally.failures for tally in (before, during, after, everything)] == [[], [], [], []]
    assert during.pools.keys() == {"long"}
    assert before.pools["short"] > 0
    assert after.pools["short"] > 0
    assert sum(everything.pools.values()) > 100


def test_a_hung_service_costs_at_most_the_message_timeout(stage_factory: Factory) -> None:
    """A stopped process answers nothing: requests wait the timeout at most, go long, and soon stop waiting at all."""
    with stage_factory(message_timeout_s=MESSAGE_TIMEOUT_S) as stage:
        process = stage.service.running.process
        hung, later = Tally(), Tally()
        process.send_signal(signal.SIGSTOP)
        try:
            with load(stage.url, hung):
                time.sleep(20.0)
            with load(stage.url, later):
                time.sleep(1.0)
        finally:
            process.send_signal(signal.SIGCONT)
    assert hung.failures == later.failures == []
    assert hung.pools.keys() | later.pools.keys() == {"long"}
    assert hung.slowest_s < MESSAGE_TIMEOUT_S + 0.5
    assert later.slowest_s < MESSAGE_TIMEOUT_S / 2, "the health check takes a hung service out of the way"


def test_draining_sends_requests_long_without_loss(stage_factory: Factory) -> None:
    """SIGTERM under load: the service exits with 0 and every request is answered."""
    with stage_factory() as stage:
        tally = Tally()
        with load(stage.url, tally):
            time.sleep(0.5)
            stage.service.running.process.terminate()
            assert stage.service.running.process.wait(timeout=15) == 0
            time.sleep(0.5)
    assert tally.failures == []
    assert tally.pools["short"] > 0
    assert tally.pools["long"] > 0


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_losing_the_service_in_mid_stream_leaves_the_stream_whole(stage_factory: Factory, fate: signal.Signals) -> None:
    """An answer that was being read reaches its client to the end when the reader dies or hangs."""
    body = SMALL | {"max_tokens": 20, "min_tokens": 20, "ignore_eos": True, "stream": True}
    body["messages"] = [{"role": "user", "content": "hello " * 200}]
    body["stream_options"] = {"include_usage": True}
    with stage_factory(settings={"DUALPOOL_OBSERVE_SHARE": "1.0"}) as stage:
        lines = []
        with (
            httpx.Client(base_url=stage.url, timeout=20.0) as client,
            client.stream("POST", CHAT, json=body, headers={"x-mock-fault": "slow=0.1"}) as answer,
        ):
            for line in answer.iter_lines():
                lines.append(line)
                if len(lines) == 8:
                    assert stage.service.metric("dualpool_observing") == 1
                    stage.service.running.process.send_signal(fate)
    events = [line for line in lines if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 20


def test_envoys_own_replies_teach_nothing(stage_factory: Factory) -> None:
    """With the short pool dead and none to stand in, Envoy answers: that teaches nothing, while a real answer does."""
    with stage_factory(settings={"DUALPOOL_OBSERVE_SHARE": "1.0"}, escalate=False) as stage:
        stage.short.process.kill()
        stage.short.process.wait()
        with stage.client() as client:
            for _ in range(3):
                answer = client.post(CHAT, json=SMALL)
                assert (answer.status_code, answer.headers["x-dualpool-pool"]) == (503, "short")
                assert "x-mock-instance" not in answer.headers
            stage.service.settle()
            names = ("answers_read_total", "learned_total", "bytes_per_token_samples", "internal_errors_total")
            taught = [stage.service.metric(f"dualpool_{name}") for name in names]
            observing = stage.service.metric("dualpool_observing")
            client.post(CHAT, json=TEACHING).raise_for_status()
        stage.service.settle()
        assert (taught, observing) == ([0, 0, 0, 0], 0)
        assert stage.service.metric("dualpool_decisions_total", pool="short") == 3
        assert stage.service.metric("dualpool_learned_total") == 1


async def test_streams_stay_bounded_while_thousands_of_answers_stream(stage_factory: Factory) -> None:
    """2,000 event streams at once hold no more gRPC streams than answers may be observed."""
    bound, answers = 32, 2000
    settings = {"DUALPOOL_OBSERVE_SHARE": "1.0", "DUALPOOL_MAX_OBSERVED": str(bound)}
    with stage_factory(settings=settings) as stage:
        held: list[float] = []
        async with asyncio.TaskGroup() as group:
            gate = asyncio.Semaphore(100)
            tasks = [group.create_task(_stream(stage.address, gate)) for _ in range(answers)]
            while not all(task.done() for task in tasks):
                held.append(await asyncio.to_thread(stage.service.metric, "dualpool_streams"))
                held.append(await asyncio.to_thread(stage.service.metric, "dualpool_observing"))
                await asyncio.sleep(0.2)
        at_once = max(_overlap([task.result() for task in tasks]))
        assert all(task.result()[2] for task in tasks)
        assert await asyncio.to_thread(stage.service.metric, "dualpool_streams") == 0
    assert at_once > 1000
    assert 0 < max(held[1::2]) <= bound
    assert max(held[::2]) <= bound + 100, "besides the observed ones only those being decided"


async def _stream(address: tuple[str, int], gate: asyncio.Semaphore) -> tuple[float, float, bool]:
    """One slow event stream: when it began to stream, when it ended, and whether it came to its end."""
    body = SMALL | {"max_tokens": 2, "min_tokens": 2, "ignore_eos": True, "stream": True}
    body["messages"] = [{"role": "user", "content": "hello " * 200}]
    body["stream_options"] = {"include_usage": True}
    raw = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nx-mock-fault: slow=5\r\ncontent-length: {len(raw)}\r\n"
    async with gate:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head.encode() + b"content-type: application/json\r\nconnection: close\r\n\r\n" + raw)
        answer = await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
    rest = await reader.read()
    writer.close()
    return began, time.monotonic(), answer.startswith(b"HTTP/1.1 200") and b"[DONE]" in rest


def _overlap(spans: list[tuple[float, float, bool]]) -> Iterator[int]:
    """How many answers stream at the beginning of each."""
    ends = sorted(end for _, end, _ in spans)
    for index, began in enumerate(sorted(began for began, _, _ in spans)):
        yield index + 1 - sum(end <= began for end in ends)
