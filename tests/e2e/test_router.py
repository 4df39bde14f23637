"""Requests through a real Envoy land where the decision says, whole and unharmed."""

import hashlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
MEBIBYTE = 2**20
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """A chat of one message."""
    return {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize(
    ("path", "body", "pool", "reason"),
    [
        (CHAT, chat("hello"), "short", "fits_whatever_tokenizer"),
        (CHAT, chat("hello", max_tokens=8192), "long", "output_exceeds"),
        (CHAT, chat("hello", max_tokens=None), "long", "output_undeclared"),
        (CHAT, chat("hello", max_tokens=9000, max_completion_tokens=16), "short", "fits_whatever_tokenizer"),
        (CHAT, chat("x" * 300_000), "long", "content_length"),
        (CHAT, {**chat(""), "messages": [{"role": "user", "content": [IMAGE]}]}, "long", "media"),
        ("/v1/completions", {"model": "m", "prompt": "hello"}, "short", "fits_whatever_tokenizer"),
        ("/v1/completions", {"model": "m", "prompt": [1] * 9000}, "long", "exceeds"),
        ("/v1/completions", {"model": "m", "prompt": [1] * 8000}, "short", "fits_whatever_tokenizer"),
        ("/v1/responses", {"model": "m", "input": "hello", "max_output_tokens": 9}, "short", "fits_whatever_tokenizer"),
        ("/v1/messages", chat("hello"), "short", "fits_whatever_tokenizer"),
        ("/v1/embeddings", {"model": "m", "input": ["hello", "there"]}, "short", "fits_whatever_tokenizer"),
        ("/tokenize", {"model": "m", "prompt": "hello"}, "long", "not_inference"),
    ],
)
def test_every_decision_lands_on_its_upstream(
    stage: Any, path: str, body: dict[str, Any], pool: str, reason: str
) -> None:
    """Pool header, reason and the instance that answered agree."""
    with stage.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.headers["x-mock-instance"] == answer.headers["x-dualpool-pool"] == pool
    assert answer.headers["x-dualpool-reason"] == reason


@pytest.mark.parametrize(
    ("content", "headers", "reason"),
    [
        (b"{not json", {}, "unreadable"),
        (b"\x1f\x8b\x08rest", {"content-encoding": "gzip"}, "compressed"),
        (b"", {}, "not_inference"),
    ],
)
def test_what_cannot_be_read_goes_long_and_is_answered_by_vllm(
    stage: Any, content: bytes, headers: dict[str, str], reason: str
) -> None:
    """The error a client gets is the model server's own, not ours."""
    with stage.client() as client:
        answer = client.post(CHAT, content=content, headers={"content-type": "application/json", **headers})
    assert answer.status_code == 400
    assert answer.headers["x-mock-instance"] == "long"
    assert answer.headers["x-dualpool-reason"] == reason


def test_what_the_server_keeps_goes_long(stage: Any) -> None:
    """The length of a conversation that the body only points to is unknown; whether it exists, vLLM says."""
    with stage.client() as client:
        body = {"model": "m", "input": "go on", "previous_response_id": "resp_1", "max_output_tokens": 9}
        answer = client.post("/v1/responses", json=body)
    assert (answer.status_code, answer.headers["x-mock-instance"]) == (404, "long")
    assert answer.headers["x-dualpool-reason"] == "length_not_in_body"


@pytest.fixture(scope="module")
def published(stage_factory: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """A deployment with the published estimator, which decides nothing before it has learned."""
    settings = {"DUALPOOL_ESTIMATOR": "ema", "DUALPOOL_WARM_UP_SAMPLES": "10", "DUALPOOL_OBSERVE_SHARE": "1.0"}
    with stage_factory(settings=settings) as running:
        yield running


def test_the_published_estimate_decides_once_it_is_learned(published: Any) -> None:
    """Prose too long to be certain goes long while the estimator is cold, and short once it has learned."""
    body = chat(PROSE * 200, model="learner")
    with published.client() as client:
        cold = client.post(CHAT, json=body)
        assert (cold.headers["x-dualpool-reason"], cold.headers["x-mock-instance"]) == ("estimator_cold", "long")
        for _ in range(12):
            client.post(CHAT, json=body)
        warm = client.post(CHAT, json=body)
    assert (warm.headers["x-dualpool-reason"], warm.headers["x-mock-instance"]) == ("fits", "short")
    assert warm.headers["x-dualpool-provenance"] == "calibrated"
    true_tokens = warm.json()["usage"]["prompt_tokens"]
    assert int(warm.headers["x-dualpool-budget"]) - 16 == pytest.approx(true_tokens, rel=0.05)
    learned = published.service.metric("dualpool_bytes_per_token", model="learner", category="prose")
    assert learned == pytest.approx(len(PROSE * 200) / true_tokens, rel=0.01)


def test_a_published_estimate_sends_what_exceeds_long(published: Any) -> None:
    """A body too small to be long by its size is long by the ratio learned from others, and was unknown before."""
    exceeding = chat(PROSE * 2200, model="measured")
    assert 150_000 < len(json.dumps(exceeding)) < 24 * 8192, "the service's certain-long bound"
    with published.client() as client:
        cold = client.post(CHAT, json=exceeding)
        for _ in range(12):
            client.post(CHAT, json=chat(PROSE * 20, model="measured"))
        warm = client.post(CHAT, json=exceeding)
    assert [answer.headers["x-dualpool-provenance"] for answer in (cold, warm)] == ["cold", "calibrated"]
    assert (warm.headers["x-dualpool-reason"], warm.headers["x-mock-instance"]) == ("exceeds", "long")
    assert warm.json()["usage"]["prompt_tokens"] > 8192, "and it is true"


@pytest.mark.parametrize(
    ("repeats", "reason", "pool"), [(200, "fits", "short"), (2200, "exceeds", "long")], ids=["fits", "exceeds"]
)
def test_our_estimate_decides_from_the_first_request_on(stage: Any, repeats: int, reason: str, pool: str) -> None:
    """While cold with wider margins, then calibrated; each time it says what it took and how sure it is."""
    body = chat(PROSE * repeats, model=f"new-{repeats}")
    with stage.client() as client:
        cold = client.post(CHAT, json=body)
        for _ in range(60):
            client.post(CHAT, json=chat(PROSE * 20, model=f"new-{repeats}"))
        warm = client.post(CHAT, json=body)
    assert [answer.headers["x-dualpool-provenance"] for answer in (cold, warm)] == ["cold", "calibrated"]
    for answer in (cold, warm):
        assert (answer.headers["x-dualpool-reason"], answer.headers["x-mock-instance"]) == (reason, pool)
        assert answer.headers["x-dualpool-stage"] in {"size", "sample", "text"}
        assert 0.0 <= float(answer.headers["x-dualpool-doubt"]) <= 0.1
    true_tokens = warm.json()["usage"]["prompt_tokens"]
    assert (true_tokens + 16 <= 8192) == (pool == "short"), "and it is true"
    assert true_tokens <= int(warm.headers["x-dualpool-budget"]) - 16 < len(PROSE * repeats), "no more than certain"


def test_errors_teach_nothing(stage: Any) -> None:
    """Answers with an error status leave the model unknown to the estimator."""
    with stage.client() as client:
        for _ in range(3):
            answer = client.post(CHAT, json=chat(PROSE * 20, model="failing"), headers={"x-mock-fault": "status=503"})
            assert answer.status_code == 503
    assert stage.service.metric("dualpool_bytes_per_token_samples", model="failing") == 0


def test_an_observed_json_answer_keeps_its_framing(stage: Any) -> None:
    """Reading an answer does not turn its content-length into chunks, nor touch its bytes."""
    before = stage.service.metric("dualpool_answers_read_total", outcome="usage")
    with stage.client() as client:
        answer = client.post(CHAT, json=chat(PROSE * 20))
    stage.service.settle()
    assert stage.service.metric("dualpool_answers_read_total", outcome="usage") == before + 1
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("pool_header", ["short", "long", "x"])
def test_a_client_cannot_choose_its_pool(stage: Any, pool_header: str) -> None:
    """The client's own header changes neither the route nor what the instance sees."""
    with stage.client() as client:
        answer = client.post(CHAT, json=chat("x" * 300_000), headers={"x-dualpool-pool": pool_header})
    assert answer.headers["x-mock-instance"] == "long"
    assert json.loads(answer.headers["x-mock-received"])["x-dualpool-pool"] == "long"


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_body_that_comes_late_is_routed_all_the_same(stage: Any, framing: str, pieces: int) -> None:
    """A client that sends its headers first and its body in its own time gets the route its body deserves."""
    head = send_late(stage, chat("hello"), framing=framing, pieces=pieces)
    assert "x-mock-instance: short" in head
    assert "x-dualpool-pool: short" in head


def send_late(
    stage: Any, body: dict[str, Any], *headers: str, framing: str = "content-length", pieces: int = 1
) -> list[str]:
    """Send the headers, and the body in pieces 50 ms apart; the status line and the headers of the answer."""
    raw = json.dumps(body).encode()
    chunked = framing == "chunked"
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(raw)}"
    head = (f"POST {CHAT} HTTP/1.1", "host: t", "connection: close", "content-type: application/json", length, *headers)
    step = len(raw) // pieces + 1
    with socket.create_connection(stage.address) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in (*head, "")).encode())
        for piece in (raw[at : at + step] for at in range(0, len(raw), step)):
            time.sleep(0.05)
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        connection.sendall(b"0\r\n\r\n" if chunked else b"")
        with connection.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[0].decode().split("\r\n")


TYPES = "type.googleapis.com/envoy.extensions.filters.http"
GUARD = {"name": "guard", "typed_config": {"@type": f"{TYPES}.rbac.v3.RBAC"}}
"""RBAC, which asks for the route at the headers, and lets everything pass unless the route says otherwise."""
NOT_LONG = {"permissions": [{"any": True}], "principals": [{"header": {"name": "x-not-long", "present_match": True}}]}
ON_LONG = {
    "guard": {
        "@type": f"{TYPES}.rbac.v3.RBACPerRoute",
        "rbac": {"rules": {"action": "DENY", "policies": {"not-long": NOT_LONG}}},
    }
}
"""What the route to the long pool tells the guard: refuse those who ask not to go there."""
LIMIT = {
    "name": "limit",
    "typed_config": {
        "@type": f"{TYPES}.bandwidth_limit.v3.BandwidthLimit",
        "stat_prefix": "limit",
        "enable_mode": "REQUEST",
        "limit_kbps": 1_000_000,
    },
}
"""Of the filters that ask for the route while a body passes, one that Envoy brings along."""


def test_filters_behind_ours_see_the_route_as_decided(
    stage_factory: Callable[..., AbstractContextManager[Any]],
) -> None:
    """Filters between ours and the router may ask for the route: it is the decided one, and they do not fix another."""
    with stage_factory(behind=[GUARD, LIMIT], on_long=ON_LONG) as running:
        short = send_late(running, chat("hello"), "x-not-long: 1", pieces=3)
        long = send_late(running, chat("hello", max_tokens=9000), "x-not-long: 1", pieces=3)
    assert "x-mock-instance: short" in short
    assert "403" in long[0]


def test_filters_before_ours_see_the_default_route_and_can_fix_it(
    stage_factory: Callable[..., AbstractContextManager[Any]],
) -> None:
    """Ahead of us there is no decision yet: a guard judges by the long route, and asking as a body passes keeps it."""
    with stage_factory(before=[GUARD, LIMIT], on_long=ON_LONG) as running:
        with running.client() as client:
            refused = client.post(CHAT, json=chat("hello"), headers={"x-not-long": "1"})
        running.service.settle()
        taken_in = [running.service.metric(f"dualpool_{name}_total") for name in ("answers_read", "internal_errors")]
        late = send_late(running, chat("hello"))
    assert (refused.status_code, taken_in) == (403, [0, 0]), "at most Envoy's own reply is shown to us"
    assert "x-dualpool-pool: short" in late
    assert "x-mock-instance: long" in late


@pytest.fixture(scope="module", params=[MEBIBYTE, 32 * 1024], ids=["1MiB", "32KiB"])
def limited(request: Any, stage_factory: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """Deployments with a roomy and a tiny buffer limit."""
    with stage_factory(buffer_limit_bytes=request.param) as running:
        yield running


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_20_mb_body_arrives_whole_at_the_long_pool(limited: Any, *, chunked: bool) -> None:
    """No 413, no hang, not a byte changed, whatever the buffer limit and the framing."""
    body = json.dumps(chat("word " * 4_000_000)).encode()
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    with limited.client() as client:
        headers = {"content-type": "application/json"}
        answer = client.post(CHAT, content=pieces if chunked else body, headers=headers)
    assert answer.headers["x-mock-instance"] == "long"
    assert int(answer.headers["x-mock-body-bytes"]) == len(body)
    assert answer.headers["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()
    assert answer.status_code == 400, "only the model server may refuse it: it exceeds any context"
    assert "maximum context length" in answer.text


def test_a_body_above_the_buffer_limit_goes_long_unharmed(limited: Any, request: Any) -> None:
    """150 KB in chunks fits the roomy buffer and is judged; with the tiny one it is cut, and passes unjudged."""
    body = json.dumps(chat(PROSE * 2200)).encode()
    reason = "exceeds" if request.node.callspec.params["limited"] == MEBIBYTE else "body_incomplete"
    before = limited.service.metric("dualpool_decisions_total", reason=reason)
    with limited.client() as client:
        answer = client.post(CHAT, content=iter([body]), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["x-mock-instance"]) == (200, "long")
    assert answer.headers["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()
    assert (answer.headers["x-dualpool-pool"], answer.headers["x-dualpool-reason"]) == ("long", reason)
    limited.service.settle()
    assert limited.service.metric("dualpool_decisions_total", reason=reason) == before + 1


@pytest.mark.parametrize("observed", [True, False])
def test_events_pass_chunk_by_chunk_undelayed(
    stage: Any, stage_factory: Callable[..., AbstractContextManager[Any]], *, observed: bool
) -> None:
    """Each event of a slow stream reaches the client when it is written, whether or not we read along."""
    if observed:
        _check_stream(stage)
        return
    with stage_factory(settings={"DUALPOOL_OBSERVE_SHARE": "0", "DUALPOOL_LEARNING_SAMPLES": "0"}) as unobserved:
        _check_stream(unobserved)


def _check_stream(stage: Any) -> None:
    """Eight tokens, 0.1 s apart: arrivals are spread like the writes, and the first comes long before the last."""
    body = chat(PROSE * 20, max_tokens=8, min_tokens=8, ignore_eos=True, stream=True)
    body["stream_options"] = {"include_usage": True}
    arrivals: list[float] = []
    before = stage.service.metric("dualpool_answers_read_total", outcome="usage")
    with (
        stage.client() as client,
        client.stream("POST", CHAT, json=body, headers={"x-mock-fault": "slow=0.1"}) as answer,
    ):
        arrivals += [time.monotonic() for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(arrivals) >= 10
    gaps = [after - earlier for earlier, after in itertools.pairwise(arrivals)]
    assert sum(gap > 0.05 for gap in gaps) >= 8
    stage.service.settle()
    observed = stage.service.metric("dualpool_answers_read_total", outcome="usage") - before
    assert observed == (1 if stage.service.settings["DUALPOOL_OBSERVE_SHARE"] == "1.0" else 0)


@pytest.mark.parametrize("fault", ["die-mid-stream", "error-mid-stream", "split-writes", "no-done", "crlf", "gzip"])
def test_odd_answers_reach_the_client_as_they_are(stage: Any, fault: str) -> None:
    """Reading along does not change what a client gets of a broken or oddly written stream."""
    body = chat(PROSE * 20, max_tokens=8, min_tokens=8, ignore_eos=True, stream=True)
    body["stream_options"] = {"include_usage": True}
    errors = stage.service.metric("dualpool_internal_errors_total")
    through = _read_stream(stage.url, body, fault)
    if fault != "die-mid-stream":
        assert "chat.completion.chunk" in through
        assert through.endswith("[DONE]") is (fault != "no-done")
    assert stage.service.metric("dualpool_internal_errors_total") == errors


def _read_stream(url: str, body: dict[str, Any], fault: str) -> str:
    """What a client gets until the stream ends, however it does."""
    text = ""
    with httpx.Client(base_url=url) as client:
        try:
            with client.stream("POST", CHAT, json=body, headers={"x-mock-fault": fault}) as answer:
                for piece in answer.iter_text():
                    text += piece
        except httpx.RemoteProtocolError:
            assert fault == "die-mid-stream"
    return text.strip()


@pytest.fixture
def official(stage: Any) -> Iterator[openai.OpenAI]:
    """The OpenAI Python client."""
    with openai.OpenAI(base_url=f"{stage.url}/v1", api_key="none") as client:
        yield client


def test_the_official_client_chats_unchanged(official: openai.OpenAI) -> None:
    """A chat answers the same, streamed and not, and says what it cost."""
    messages: Any = [{"role": "user", "content": "hello"}]
    whole = official.chat.completions.create(model="m", messages=messages, max_tokens=5)
    chunks = list(
        official.chat.completions.create(
            model="m", messages=messages, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
    )
    assert whole.usage is not None
    assert whole.usage == chunks[-1].usage
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content


def test_the_official_client_completes_unchanged(official: openai.OpenAI) -> None:
    """A completion answers the same, streamed and not."""
    whole = official.completions.create(model="m", prompt="hello", max_tokens=5)
    chunks = official.completions.create(model="m", prompt="hello", max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text != ""


def test_the_official_client_asks_for_responses_unchanged(official: openai.OpenAI) -> None:
    """A response answers the same, streamed and not."""
    whole = official.responses.create(model="m", input="hello", max_output_tokens=5)
    events = list(official.responses.create(model="m", input="hello", max_output_tokens=5, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text != ""


def test_the_official_client_embeds_and_lists_unchanged(official: openai.OpenAI) -> None:
    """Each text gets its vector, which the client reads from base64; the list of models passes too."""
    vectors = [item.embedding for item in official.embeddings.create(model="m", input=["hello", "there"]).data]
    assert len(vectors) == 2
    assert vectors[0] != vectors[1]
    assert [model.id for model in official.models.list()]
