import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from extproc.mockvllm.settings import MockSettings

Start = Callable[[MockSettings], httpx.Client]

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4000, "ignore_eos": True}
SLOW = MockSettings(name="slow", max_model_len=8192, max_num_seqs=2, sse_keep_alive_interval_s=0.05, speed=1)


def metric(client: httpx.Client, name: str) -> float:
    """The value of one sample, found by how its line begins."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


def eventually(check: Callable[[], bool]) -> None:
    """Wait up to five seconds for something to become true."""
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_leaves_a_stream_frees_its_blocks(start: Start) -> None:
    """The abort is counted, and neither blocks nor places stay taken."""
    client = start(SLOW)
    aborts = 'vllm:request_success_total{engine="0",finished_reason="abort"'
    before = metric(client, aborts)
    with client.stream("POST", PATH, json={**ASK, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        assert metric(client, "vllm:num_requests_running") == 1
        assert metric(client, "vllm:kv_cache_usage_perc") > 0
    eventually(lambda: metric(client, aborts) == before + 1)
    assert metric(client, "vllm:num_requests_running") == 0
    assert metric(client, "vllm:kv_cache_usage_perc") == 0


def test_a_client_that_leaves_while_waiting_for_json_is_noticed(start: Start) -> None:
    """An answer nobody waits for is not generated to its end."""
    client = start(SLOW)
    aborts = 'vllm:request_success_total{engine="0",finished_reason="abort"'
    before = metric(client, aborts)
    with pytest.raises(httpx.ReadTimeout):
        client.post(PATH, json=ASK, timeout=0.1)
    eventually(lambda: metric(client, aborts) == before + 1)


@pytest.fixture
def crowd(start: Start) -> Iterator[httpx.Client]:
    """An instance whose two places are taken by streams."""
    client = start(SLOW)
    with (
        client.stream("POST", PATH, json={**ASK, "stream": True}) as one,
        client.stream("POST", PATH, json={**ASK, "stream": True}) as two,
    ):
        held = [one.iter_lines(), two.iter_lines()]
        for lines in held:
            next(lines)
        yield client


def test_a_queued_stream_gets_its_status_and_keep_alive_comments(crowd: httpx.Client) -> None:
    """While a request waits for its first token the stream is open and carries comments alone."""
    with crowd.stream("POST", PATH, json={**ASK, "stream": True}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        assert next(lines) == ": keep-alive"
        assert metric(crowd, "vllm:num_requests_waiting{") == 1


def test_tokens_are_sent_as_they_come(start: Start) -> None:
    """At real speed the first of 60 tokens arrives long before the last."""
    client = start(SLOW)
    started = time.monotonic()
    with client.stream("POST", PATH, json={**ASK, "max_tokens": 60, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        first_s = time.monotonic() - started
        chunks = sum(1 for line in lines if line.startswith("data: {"))
    assert chunks == 60
    assert first_s < 0.5 * (time.monotonic() - started)


def test_queue_limits_answer_503_before_streaming(start: Start) -> None:
    """The two limits have a message each, for streams too, and the next request is served again."""
    client = start(MockSettings(name="full", max_model_len=8192, max_num_queued_reqs=1, speed=1))
    with client.stream("POST", PATH, json={**ASK, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        for stream in (False, True):
            refused = client.post(PATH, json={**ASK, "stream": stream})
            assert refused.status_code == 503
            assert "currently busy" in refused.json()["error"]["message"]
            assert refused.json()["error"]["type"] == "Service Unavailable"
            assert "retry-after" not in refused.headers
    eventually(lambda: client.post(PATH, json={**ASK, "max_tokens": 1}).status_code == 200)
    assert metric(client, 'vllm:admission_rejections_total{engine="0",model_name="mock-model",reason="max_num_qu') >= 2


def test_the_load_is_counted_where_that_is_enabled(start: Start) -> None:
    """/load shows requests under way with --enable-server-load-tracking, else 0."""
    tracked = start(MockSettings(name="tracked", max_model_len=8192, enable_server_load_tracking=True, speed=1))
    for client, load in ((tracked, 1), (start(SLOW), 0)):
        with client.stream("POST", PATH, json={**ASK, "stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            assert client.get("/load").json() == {"server_load": load}
    eventually(lambda: tracked.get("/load").json() == {"server_load": 0})


def test_a_body_of_20_mb_arrives_whole_and_stalls_nobody(mock: httpx.Client) -> None:
    """The body is parsed beside the event loop: a health check meanwhile takes little time."""
    body = b'{"messages":[{"role":"user","content":"' + b"word " * 4_000_000 + b'"}]}'
    delays: list[float] = []
    done = threading.Event()

    def poll() -> None:
        with httpx.Client(base_url=mock.base_url, trust_env=False) as other:
            while not done.is_set():
                started = time.monotonic()
                other.get("/health")
                delays.append(time.monotonic() - started)

    thread = threading.Thread(target=poll)
    thread.start()
    headers = {"content-type": "application/json", "x-mock-echo": "1"}
    response = mock.post(PATH, content=body, headers=headers)
    done.set()
    thread.join()
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input_text"
    assert response.headers["x-mock-body-bytes"] == str(len(body))
    assert response.headers["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()
    assert max(delays) < 2.0


def test_answers_repeat_by_seed(start: Start) -> None:
    """Two instances with one seed give the same text, another seed another."""
    texts = [
        start(MockSettings(name=name, max_model_len=8192, speed=0, seed=seed)).post(PATH, json=ASK).json()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert texts[0]["choices"] == texts[1]["choices"]
    assert texts[0]["choices"] != texts[2]["choices"]
