"""What the short pool refuses or loses is answered by the long pool, once: real Envoy, real service, mock pools."""

import hashlib
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
SMALL: dict[str, Any] = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
STREAM: dict[str, Any] = {**SMALL, "stream": True, "stream_options": {"include_usage": True}}
ALL_OBSERVED = {"DUALPOOL_OBSERVE_SHARE": "1.0"}
Factory = Callable[..., AbstractContextManager[Any]]
TWICE = ("short", "long", "2")
"""Decided short, answered by the long pool, which was asked second."""


def account(answer: httpx.Response) -> tuple[str | None, ...]:
    """Where it was sent, who answered, how many were asked: by Envoy's headers, of which the mock's must not differ."""
    names = ("x-dualpool-pool", "x-dualpool-served", "x-envoy-attempt-count")
    assert answer.headers["x-mock-instance"] == answer.headers["x-dualpool-served"]
    return tuple(answer.headers.get(name) for name in names)


def events(answer: httpx.Response) -> list[str]:
    """The data of an event stream."""
    return [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]


@pytest.mark.parametrize("body", [SMALL, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("fault", ["status=400", "status=503", "reset"])
def test_a_request_the_short_pool_fails_is_answered_by_the_long_one(stage: Any, fault: str, body: Any) -> None:
    """The client sees one good answer and may see who gave it; the service counts what it reads."""
    before = stage.service.metric("dualpool_escalations_total", status_class="2xx")
    with stage.client() as client:
        answer = client.post(CHAT, json=body, headers={"x-mock-fault": f"only=short,{fault}"})
    assert (answer.status_code, account(answer)) == (200, TWICE)
    usage = json.loads(events(answer)[-2])["usage"] if "stream" in body else answer.json()["usage"]
    assert usage["completion_tokens"] > 0
    stage.service.settle()
    assert stage.service.metric("dualpool_escalations_total", status_class="2xx") == before + 1


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_of_both_pools_is_the_long_ones(stage: Any, status: int) -> None:
    """A client's own mistake is asked twice and no more, and what it gets is what the long pool says."""
    headers = {"x-mock-fault": f"status={status}"}
    with stage.client() as client:
        answer = client.post(CHAT, json=SMALL, headers=headers)
        mistaken = client.post(CHAT, json={**SMALL, "n": 0})
    assert (answer.status_code, account(answer)) == (status, TWICE)
    assert (mistaken.status_code, account(mistaken)) == (400, TWICE)
    assert "n must be at least 1" in mistaken.text


@pytest.mark.parametrize(("fault", "status"), [("status=500", 500), ("status=404", 404), ("status=429", 429)])
def test_other_errors_are_not_asked_again(stage: Any, fault: str, status: int) -> None:
    """A request that breaks an engine shall not break a second one."""
    with stage.client() as client:
        answer = client.post(CHAT, json=SMALL, headers={"x-mock-fault": fault})
    assert (answer.status_code, account(answer)) == (status, ("short", "short", "1"))


@pytest.mark.parametrize("fault", ["status=400", "status=503"])
def test_what_the_long_pool_refuses_is_final(stage: Any, fault: str) -> None:
    """On its own route nobody is asked again, whatever the client's headers ask of Envoy."""
    wish = {"x-envoy-retry-on": "5xx,retriable-4xx,retriable-status-codes", "x-envoy-max-retries": "3"}
    wish |= {"x-envoy-retriable-status-codes": "400,503", "x-mock-fault": fault}
    with stage.client() as client:
        answer = client.post(CHAT, json={**SMALL, "max_tokens": 9000}, headers=wish)
    assert account(answer) == ("long", "long", "1")


def test_a_client_chooses_neither_retries_nor_timeouts(stage: Any) -> None:
    """Envoy's own headers from outside do nothing: two attempts at most, and no clock but the operator's."""
    wish = {"x-envoy-max-retries": "9", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-attempt-count": "7"}
    with stage.client() as client:
        both = client.post(CHAT, json=SMALL, headers=wish | {"x-mock-fault": "status=503"})
        slow = client.post(CHAT, json=SMALL, headers=wish | {"x-mock-fault": "slow=0.3"})
    assert (both.status_code, account(both)) == (503, TWICE)
    assert (slow.status_code, account(slow)) == (200, ("short", "short", "1"))


@pytest.mark.parametrize("size_bytes", [60_000, 190_000])
def test_a_body_comes_whole_to_the_second_pool(stage: Any, size_bytes: int) -> None:
    """Up to the most that the service judges; beyond it requests go long at once. Token ids prove it short."""
    prompt = [10_000_000] * 7000
    padding = " " * (size_bytes - len(json.dumps({"model": "m", "prompt": prompt})))
    body = json.dumps({"model": "m", "prompt": prompt}).encode() + padding.encode()
    with stage.client() as client:
        headers = {"content-type": "application/json", "x-mock-fault": "only=short,status=503"}
        answer = client.post("/v1/completions", content=body, headers=headers)
    assert (answer.status_code, account(answer)) == (200, TWICE)
    assert answer.headers["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_body_in_chunks_comes_whole_to_the_second_pool(stage: Any, pieces: int) -> None:
    """Neither its framing nor its pace matters: it is held until the answer begins."""
    body = json.dumps(SMALL).encode()
    step = len(body) // pieces + 1
    content = (body[at : at + step] for at in range(0, len(body), step))
    with stage.client() as client:
        headers = {"content-type": "application/json", "x-mock-fault": "only=short,reset"}
        answer = client.post(CHAT, content=content, headers=headers)
    assert (answer.status_code, account(answer)) == (200, TWICE)
    assert answer.headers["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()


def test_a_body_of_unknown_size_above_the_buffer_is_not_asked_again(stage_factory: Factory) -> None:
    """Envoy lets go of what exceeds its limit: what the first pool says stands, unharmed, and it is never a 507.

    Which pool that is depends on how the body arrives: whole, it is judged and goes short; cut, it goes long.
    """
    body = json.dumps({"model": "m", "prompt": [1_000_000] * 6000}).encode()
    headers = {"content-type": "application/json", "x-mock-fault": "only=short,status=503"}
    with stage_factory(buffer_limit_bytes=32 * 1024) as tight, tight.client() as client:
        answers = [client.post("/v1/completions", content=iter([body]), headers=headers) for _ in range(5)]
    seen = {(answer.status_code, account(answer)) for answer in answers}
    assert seen <= {(503, ("short", "short", "1")), (200, ("long", "long", "1"))}


def test_an_escalated_stream_passes_event_by_event(stage_factory: Factory) -> None:
    """The client has its first events while the long pool still writes the rest, with a reader in between."""
    body = {**STREAM, "max_tokens": 20, "min_tokens": 20, "ignore_eos": True}
    fault = {"x-mock-fault": "only=short,status=503"}
    with stage_factory(settings=ALL_OBSERVED, long_flags=["--fault", "slow=0.1"]) as stage:
        with stage.client() as client, client.stream("POST", CHAT, json=body, headers=fault) as answer:
            lines = answer.iter_lines()
            first = [next(lines) for _ in range(6)]
            assert stage.service.metric("dualpool_observing") == 1, "it is still being written"
            rest = list(lines)
        assert account(answer) == TWICE
        stage.service.settle()
        assert stage.service.metric("dualpool_answers_read_total", outcome="usage") == 1
    said = [line for line in first + rest if line.startswith("data: ")]
    assert said[-1] == "data: [DONE]"
    assert json.loads(said[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_with_the_short_pool_dead_every_request_is_answered(stage_factory: Factory, death: signal.Signals) -> None:
    """At first each is refused the connection and asked again; once the pool is known to be gone, it is not tried."""
    with stage_factory(settings=ALL_OBSERVED) as stage, stage.client() as client:
        assert account(client.post(CHAT, json=SMALL)) == ("short", "short", "1")
        stage.short.process.send_signal(death)
        stage.short.process.wait()
        tally: Counter[tuple[str | None, ...]] = Counter()
        give_up_s = time.monotonic() + 60.0
        while tally["short", "long", "1"] < 5:
            assert time.monotonic() < give_up_s, "Envoy never noticed that the pool is gone"
            for body in (SMALL, STREAM):
                answer = client.post(CHAT, json=body)
                assert answer.status_code == 200
                tally[account(answer)] += 1
            time.sleep(0.2)
        stage.service.settle()
        escalated = stage.service.metric("dualpool_escalations_total", status_class="2xx")
    assert tally.keys() == {TWICE, ("short", "long", "1")}
    assert escalated == tally.total(), "the service knows of both kinds"


def test_requests_under_way_survive_the_instance_that_had_them(stage_factory: Factory) -> None:
    """Answers that had not begun when their instance died come from the long pool."""
    with stage_factory(settings=ALL_OBSERVED) as stage, ThreadPoolExecutor(8) as threads:

        def ask(_: int) -> tuple[int, tuple[str | None, ...]]:
            with stage.client() as client:
                answer = client.post(CHAT, json=SMALL, headers={"x-mock-fault": "only=short,hang"})
                return answer.status_code, account(answer)

        asked = [threads.submit(ask, index) for index in range(8)]
        give_up_s = time.monotonic() + 10.0
        while stage.service.metric("dualpool_observing") < 8:
            assert time.monotonic() < give_up_s, "not all requests arrived"
            time.sleep(0.02)
        stage.short.process.kill()
        assert [each.result() for each in asked] == [(200, TWICE)] * 8


def test_a_full_queue_sends_its_overflow_long(stage_factory: Factory) -> None:
    """503 of vLLM's own queue limit, from many clients at once: each gets a good answer, some of the long pool."""
    flags = ["--max-num-queued-reqs", "2", "--speed", "5"]
    body = {**SMALL, "max_tokens": 64, "min_tokens": 64, "ignore_eos": True}
    with stage_factory(settings=ALL_OBSERVED, short_flags=flags) as stage, ThreadPoolExecutor(24) as threads:

        def ask(index: int) -> tuple[int, tuple[str | None, ...]]:
            with stage.client() as client:
                options = {"include_usage": True}
                streamed = {"stream": True, "stream_options": options} if index % 2 else {}
                answer = client.post(CHAT, json={**body, **streamed})
                assert ("[DONE]" in answer.text) == bool(streamed)
                return answer.status_code, account(answer)

        tally = Counter(threads.map(ask, range(120)))
        stage.service.settle()
        escalated = stage.service.metric("dualpool_escalations_total", status_class="2xx")
    assert tally.keys() == {(200, ("short", "short", "1")), (200, TWICE)}
    assert escalated == tally[200, TWICE]


def test_a_hung_instance_is_hedged_where_the_operator_wants_it(stage_factory: Factory) -> None:
    """After the time named the long pool is asked as well; a slow short answer that comes first is still taken."""
    with stage_factory(settings=ALL_OBSERVED, hedge_after_s=1.0) as stage, stage.client() as client:
        slow = client.post(CHAT, json=SMALL, headers={"x-mock-fault": "hang=2"})
        stage.service.settle()
        not_needed = stage.service.metric("dualpool_escalations_total")
        hung = client.post(CHAT, json=SMALL, headers={"x-mock-fault": "only=short,hang"})
        stage.service.settle()
        needed = stage.service.metric("dualpool_escalations_total")
    assert (slow.status_code, account(slow)) == (200, ("short", "short", "2"))
    assert (hung.status_code, account(hung)) == (200, TWICE)
    assert (not_needed, needed) == (0, 1)


# A wrong estimate


MISLED = {"DUALPOOL_ESTIMATOR": "ema", "DUALPOOL_WARM_UP_SAMPLES": "10", **ALL_OBSERVED}
OVERFLOWING = {
    "model": "m",
    "max_tokens": 1500,
    "min_tokens": 1500,
    "ignore_eos": True,
    "messages": [{"role": "user", "content": PROSE * 500}],
}
"""7,500 prompt tokens in truth, so that the short pool's context of 8,192 has no room for the output."""


def mislead(client: httpx.Client) -> None:
    """Teach the estimator that prose costs 30 % less than it does."""
    for _ in range(12):
        body = {**SMALL, "messages": [{"role": "user", "content": PROSE * 20}]}
        client.post(CHAT, json=body, headers={"x-mock-fault": "wrong-usage=0.7"}).raise_for_status()


@pytest.fixture(params=["json", "stream"])
def overflowing(request: Any) -> dict[str, Any]:
    """A request that goes short by mistake."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    return OVERFLOWING | (streamed if request.param == "stream" else {})


@pytest.fixture(scope="module")
def rejecting(stage_factory: Factory) -> Iterator[Any]:
    """A short pool that answers 400 to what exceeds its context, as vLLM does up to 0.31."""
    with stage_factory(settings=MISLED, short_flags=["--vllm-version", "0.31.0"]) as running:
        yield running


def test_a_request_too_long_for_the_short_pool_costs_a_retry(rejecting: Any, overflowing: dict[str, Any]) -> None:
    """The user has the whole answer, the estimator the truth, and the promise one more that was under-routed."""
    with rejecting.client() as client:
        mislead(client)
        names = ("dualpool_misroutes_total", "dualpool_escalations_total", "dualpool_truncations_total")
        rejecting.service.settle()
        before = [rejecting.service.metric(name) for name in names]
        answer = client.post(CHAT, json=overflowing)
        rejecting.service.settle()
    usage = json.loads(events(answer)[-2])["usage"] if "stream" in overflowing else answer.json()["usage"]
    assert (answer.status_code, account(answer)) == (200, TWICE)
    assert usage["completion_tokens"] == 1500
    after = [rejecting.service.metric(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 0]
    assert rejecting.service.metric("dualpool_misroutes_total", direction="under") >= 1


def test_without_escalation_a_refusal_is_read_and_teaches(stage_factory: Factory) -> None:
    """The client has vLLM's own error; the service knows it for one of length, and sends the like of it long."""
    flags = ["--vllm-version", "0.31.0"]
    with stage_factory(settings=MISLED, short_flags=flags, escalate=False) as stage, stage.client() as client:
        mislead(client)
        answer = client.post(CHAT, json=OVERFLOWING)
        stage.service.settle()
        refused = stage.service.metric("dualpool_refusals_total", refusal="context_length")
        ratio = stage.service.metric("dualpool_bytes_per_token", model="m", category="prose")
        client.post(CHAT, json={**SMALL, "n": 0})
        stage.service.settle()
        others = stage.service.metric("dualpool_refusals_total", refusal="other")
        under = stage.service.metric("dualpool_misroutes_total", direction="under")
    assert (answer.status_code, account(answer)) == (400, ("short", "short", "1"))
    assert "maximum context length is 8192 tokens" in answer.text
    assert (refused, others, under) == (1, 1, 1)
    assert 4.0 < ratio < 7.0


def test_a_silent_truncation_is_noticed(stage_factory: Factory, overflowing: dict[str, Any]) -> None:
    """From 0.32 vLLM shortens the output instead of refusing: only usage tells, and it is counted as under-routed."""
    with stage_factory(settings=MISLED) as stage, stage.client() as client:
        mislead(client)
        answer = client.post(CHAT, json=overflowing)
        stage.service.settle()
        truncated = stage.service.metric("dualpool_truncations_total")
        under = stage.service.metric("dualpool_misroutes_total", direction="under")
    usage = json.loads(events(answer)[-2])["usage"] if "stream" in overflowing else answer.json()["usage"]
    assert (answer.status_code, account(answer)) == (200, ("short", "short", "1"))
    assert usage["total_tokens"] == 8192
    assert (truncated, under) == (1, 1)
