"""What the estimator learns through a real Envoy, and what it says of itself."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
Factory = Callable[..., AbstractContextManager[Any]]


def chat(*said: str, **fields: Any) -> dict[str, Any]:
    """A conversation in which user and model speak in turn."""
    messages = [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(said)]
    return {"model": "m", "max_tokens": 64, "messages": messages, **fields}


@pytest.fixture
def client(stage: Any) -> Iterator[httpx.Client]:
    """A client of the shared deployment, in which every answer is read."""
    with stage.client() as found:
        yield found


def test_next_turn_starts_from_the_last_count(client: httpx.Client) -> None:
    """A conversation near the threshold is settled by memory, and told within a margin of 3 %."""
    opening = PROSE * 460
    first = client.post(CHAT, json=chat(opening))
    reply = first.json()["choices"][0]["message"]["content"]
    second = client.post(CHAT, json=chat(opening, reply, "And what does the dog do?"))
    assert first.headers["x-dualpool-stage"] != "memory"
    assert second.headers["x-dualpool-stage"] == "memory"
    true_tokens = second.json()["usage"]["prompt_tokens"]
    assert 7000 < true_tokens < 8128
    assert true_tokens <= int(second.headers["x-dualpool-budget"]) - 64 <= 1.03 * true_tokens
    assert (second.headers["x-mock-instance"], second.headers["x-dualpool-reason"]) == ("short", "fits")


def test_promise_stands_beside_what_became_of_it(stage: Any, client: httpx.Client) -> None:
    """Each decision of which the answer was read counts, and none of them was wrong."""
    before = stage.service.metric("dualpool_judged_weighted_total")
    for repeats in (1, 20, 200, 800):
        client.post(CHAT, json=chat(PROSE * repeats)).raise_for_status()
    stage.service.settle()
    assert stage.service.metric("dualpool_promise") == 0.001
    assert stage.service.metric("dualpool_judged_weighted_total") == before + 4
    assert stage.service.metric("dualpool_misroutes_weighted_total", direction="under") == 0
    assert stage.service.metric("dualpool_under_realised") == 0
    assert stage.service.metric("dualpool_decisions_total", stage="bounds") > 0


def test_outputs_without_a_limit_are_learned(stage_factory: Factory) -> None:
    """They go long until enough answers have shown what to reserve, and short afterwards."""
    with stage_factory(settings={"DUALPOOL_PROMISE": "0.1"}) as running, running.client() as client:
        answers = [client.post(CHAT, json=chat(PROSE, max_tokens=None)) for _ in range(40)]
        running.service.settle()
        answers += [client.post(CHAT, json=chat(PROSE, max_tokens=None))]
        reserved = running.service.metric("dualpool_output_reserved", category="prose")
    reasons = [answer.headers["x-dualpool-reason"] for answer in answers]
    assert reasons[0] == "output_undeclared"
    assert reasons[-1] == "fits_whatever_tokenizer"
    took = [answer.json()["usage"]["completion_tokens"] for answer in answers]
    assert sum(tokens <= reserved for tokens in took) >= 0.8 * len(took)


def test_what_was_learned_outlives_a_restart(stage_factory: Factory, tmp_path: Path) -> None:
    """The service stops and starts again behind the same Envoy: its first decision is calibrated."""
    with stage_factory(settings={"DUALPOOL_STATE_FILE": str(tmp_path / "state")}) as running:
        with running.client() as client:
            for _ in range(60):
                client.post(CHAT, json=chat(PROSE * 20)).raise_for_status()
        running.service.settle()
        process = running.service.running.process
        process.terminate()
        assert process.wait(timeout=15) == 0
        running.service.kill()
        running.service.start()
        running.wait_until_asking()
        with running.client() as client:
            after = client.post(CHAT, json=chat(PROSE * 200))
        assert running.service.metric("dualpool_model_samples", model="m") >= 60
    assert after.headers["x-dualpool-provenance"] == "calibrated"
