import base64
from typing import Any

import httpx
import pytest

MESSAGES = [{"role": "user", "content": "hello"}]


def test_a_prompt_is_tokenized(mock: httpx.Client) -> None:
    """Count, context length and the tokens themselves; the first special token is optional."""
    assert mock.post("/tokenize", json={"prompt": "hello world"}).json() == {
        "count": 3,
        "max_model_len": 8192,
        "tokens": [128_000, 15339, 1917],
        "token_strs": None,
    }
    assert mock.post("/tokenize", json={"prompt": "hello world", "add_special_tokens": False}).json()["count"] == 2


def test_a_conversation_has_the_count_that_chat_reports(mock: httpx.Client) -> None:
    """Template and tools included."""
    body: dict[str, Any] = {"messages": MESSAGES, "tools": [{"type": "function", "function": {"name": "f"}}]}
    counted = mock.post("/tokenize", json=body).json()
    used = mock.post("/v1/chat/completions", json={**body, "max_tokens": 1}).json()["usage"]["prompt_tokens"]
    assert counted["count"] == len(counted["tokens"]) == used


def test_length_is_not_checked_when_tokenizing(mock: httpx.Client) -> None:
    """A prompt beyond the context is counted all the same."""
    assert mock.post("/tokenize", json={"prompt": "word " * 9000}).json()["count"] > 8192


def test_embeddings_count_their_input(mock: httpx.Client) -> None:
    """One vector for each text, the same for the same text; no completion tokens."""
    answer = mock.post("/v1/embeddings", json={"model": "m", "input": ["hello", "world", "hello"]}).json()
    vectors = [each["embedding"] for each in answer["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (6, 0)


def test_embeddings_come_packed_where_asked(mock: httpx.Client) -> None:
    """base64 holds little-endian floats of four bytes."""
    answer = mock.post("/v1/embeddings", json={"input": "hello", "encoding_format": "base64"}).json()
    assert len(base64.b64decode(answer["data"][0]["embedding"])) == 4 * 8


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": 5}),
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": "word " * 9000}),
        ("/v1/embeddings", {}),
        ("/v1/messages/count_tokens", {}),
        ("/v1/messages/count_tokens", {"messages": []}),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "word " * 9000}]}),
    ],
)
def test_what_cannot_be_answered_is_400(mock: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """Shapes and lengths are checked as on the generating routes."""
    response = mock.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400
