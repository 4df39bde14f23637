import json
from typing import Any

import httpx
import pytest

PATH = "/v1/messages"
ASK: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}


def test_an_answer_has_anthropics_shape(mock: httpx.Client) -> None:
    """Blocks of text, a stop reason, and the usage's own names."""
    answer = mock.post(PATH, json=ASK).json()
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "max_tokens")
    assert answer["content"][0]["type"] == "text"
    assert answer["usage"] == {"input_tokens": 36, "output_tokens": 5}


def test_a_stream_tells_the_prompt_first_and_the_output_last(mock: httpx.Client) -> None:
    """message_start has the input tokens, message_delta the output tokens, message_stop the end."""
    response = mock.post(PATH, json={**ASK, "stream": True})
    values = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    kinds = [value["type"] for value in values]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[2:-3] == ["content_block_delta"] * 5
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert values[0]["message"]["usage"]["input_tokens"] == 36
    assert values[-2]["usage"]["output_tokens"] == 5
    assert "[DONE]" not in response.text


def test_blocks_tools_and_results_are_counted(mock: httpx.Client) -> None:
    """System text, tool use and tool results are part of the prompt; counting agrees with generating."""
    talk = {
        "model": "m",
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "42"}]},
        ],
    }
    counted = mock.post(f"{PATH}/count_tokens", json=talk).json()
    used = mock.post(PATH, json={**talk, "max_tokens": 1}).json()["usage"]["input_tokens"]
    assert counted == {"input_tokens": used, "context_management": {"original_input_tokens": used}}
    assert used > 36 + 60


@pytest.mark.parametrize("wrong", [{"max_tokens": 9000}, {"messages": []}])
def test_errors_have_anthropics_shape(mock: httpx.Client, wrong: dict[str, Any]) -> None:
    """The body says `type: error` and holds type and message."""
    response = mock.post(PATH, json={**ASK, **wrong})
    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert response.json()["error"]["message"]


def test_max_tokens_is_required(mock: httpx.Client) -> None:
    """A request without a limit is malformed."""
    body = {"messages": ASK["messages"]}
    assert mock.post(PATH, json=body).status_code == 400
