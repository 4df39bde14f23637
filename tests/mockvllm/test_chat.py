import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from extproc.mockvllm.settings import MockSettings

Start = Callable[[MockSettings], httpx.Client]

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


def chunks(client: httpx.Client, **more: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, whose last event is [DONE]."""
    response = client.post(PATH, json={**ASK, "stream": True, **more})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert found[-1] == "[DONE]"
    return [json.loads(each) for each in found[:-1]]


def error(client: httpx.Client, **more: Any) -> dict[str, Any]:
    """The error of a refused request."""
    response = client.post(PATH, json={**ASK, **more})
    assert response.status_code == 400, response.text
    found: dict[str, Any] = response.json()["error"]
    return found


def test_an_answer_has_vllms_shape(mock: httpx.Client) -> None:
    """Role, text, finish reason and usage stand where clients look for them."""
    answer = mock.post(PATH, json=ASK).json()
    choice = answer["choices"][0]
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "length")
    assert answer["usage"] == {
        "prompt_tokens": 36,
        "total_tokens": 41,
        "completion_tokens": 5,
        "prompt_tokens_details": None,
    }


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(mock: httpx.Client) -> None:
    """One token a chunk; no chunk has a usage key unless it was asked for."""
    found = chunks(mock)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [each["choices"][0]["finish_reason"] for each in found] == [None] * 5 + ["length"]
    assert all("usage" not in each for each in found)
    text = "".join(each["choices"][0]["delta"]["content"] for each in found)
    assert text == mock.post(PATH, json=ASK).json()["choices"][0]["message"]["content"]


def test_usage_comes_last_and_without_choices(mock: httpx.Client) -> None:
    """`include_usage` adds one chunk before [DONE]."""
    found = chunks(mock, stream_options={"include_usage": True})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 5
    assert all("usage" not in each for each in found[:-1])


def test_continuous_usage_grows_with_every_chunk(mock: httpx.Client) -> None:
    """`continuous_usage_stats` puts the count so far into each chunk."""
    found = chunks(mock, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [each["usage"]["completion_tokens"] for each in found] == [0, 1, 2, 3, 4, 5, 5]


def test_usage_can_be_forced(start: Start) -> None:
    """--enable-force-include-usage gives every stream its usage."""
    client = start(MockSettings(speed=0, max_model_len=8192, enable_force_include_usage=True))
    assert chunks(client)[-1]["usage"]["prompt_tokens"] == 36


def test_the_chunk_holds_stream_interval_tokens(start: Start) -> None:
    """Chunk count and token count differ: 1, then 4 a chunk, then the rest."""
    client = start(MockSettings(speed=0, max_model_len=8192, stream_interval=4))
    found = chunks(client, max_tokens=11, ignore_eos=True, stream_options={"include_usage": True})
    assert len(found) == 1 + 4 + 1
    assert found[-1]["usage"]["completion_tokens"] == 11


def test_n_answers_count_the_prompt_once(mock: httpx.Client) -> None:
    """prompt_tokens is that of the request, completion_tokens the sum over the answers."""
    answer = mock.post(PATH, json={**ASK, "n": 3}).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (36, 15)
    assert {each["choices"][0]["index"] for each in chunks(mock, n=3)} == {0, 1, 2}


def test_parts_tools_and_pictures_are_counted(mock: httpx.Client) -> None:
    """Text parts like text, tools into the prompt, a picture by a fixed number and not by its bytes."""

    def prompt_tokens(**more: Any) -> int:
        response = mock.post(PATH, json={**ASK, **more})
        assert response.status_code == 200, response.text
        return int(response.json()["usage"]["prompt_tokens"])

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    text = {"type": "text", "text": "hello"}
    assert prompt_tokens(messages=[{"role": "user", "content": [text]}]) == 36
    assert prompt_tokens(messages=[{"role": "user", "content": [text, picture]}]) == 36 + 1024
    assert prompt_tokens(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]) > 36 + 100


def test_too_long_is_refused_or_clamped_by_release(start: Start) -> None:
    """8000 + 1000 tokens in 8192: 400 on 0.31 also for a stream, a shorter output on 0.33."""
    asked = {**ASK, "messages": [{"role": "user", "content": "word " * 7_950}], "max_tokens": 1000, "ignore_eos": True}
    newer = start(MockSettings(speed=0, max_model_len=8192)).post(PATH, json=asked).json()
    assert newer["choices"][0]["finish_reason"] == "length"
    assert newer["usage"]["total_tokens"] == 8192
    assert newer["usage"]["completion_tokens"] < 1000
    older = start(MockSettings(speed=0, max_model_len=8192, vllm_version="0.31.0"))
    for stream in (False, True):
        response = older.post(PATH, json={**asked, "stream": stream})
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["code"] == 400
        assert "you requested 1000 output tokens" in response.json()["error"]["message"]


def test_older_releases_have_flat_errors(start: Start) -> None:
    """0.9 has no `error` object around the error."""
    client = start(MockSettings(speed=0, max_model_len=8192, vllm_version="0.9.2"))
    body = client.post(PATH, json={**ASK, "max_tokens": 9000}).json()
    assert (body["object"], body["code"], body["type"]) == ("error", 400, "BadRequestError")


def test_more_output_than_context_names_the_field(mock: httpx.Client) -> None:
    """max_completion_tokens wins over max_tokens and is the field in the message."""
    found = error(mock, max_completion_tokens=65_535)
    assert found["param"] == "max_completion_tokens"
    assert found["message"].startswith("max_completion_tokens=65535 cannot be greater than max_model_len=8192.")


def test_zero_was_unset_once(start: Start) -> None:
    """Up to 0.13 a max_completion_tokens of 0 lets max_tokens speak; later it is refused."""
    older = start(MockSettings(speed=0, max_model_len=8192, vllm_version="0.13.0"))
    answer = older.post(PATH, json={**ASK, "max_completion_tokens": 0}).json()
    assert answer["usage"]["completion_tokens"] == 5
    newer = start(MockSettings(speed=0, max_model_len=8192))
    assert "must be at least 1" in error(newer, max_completion_tokens=0)["message"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"messages": None}, "1 validation errors:"),
        ({"messages": []}, "messages must not be empty"),
        ({"stream_options": {"include_usage": True}}, "Stream options can only be defined when"),
        ({"n": 0}, "n must be at least 1"),
        ({"min_tokens": 6}, "min_tokens"),
    ],
)
def test_shapes_and_parameters_are_validated(mock: httpx.Client, wrong: dict[str, Any], words: str) -> None:
    """What cannot be served is a 400 that says why."""
    assert words in error(mock, **wrong)["message"]
