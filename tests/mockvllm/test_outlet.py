import gzip
import json
from typing import Any

import httpx
import pytest

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, "ignore_eos": True}
STREAM: dict[str, Any] = {**ASK, "stream": True, "stream_options": {"include_usage": True}}


def fault(name: str) -> dict[str, str]:
    """The header that asks for a fault."""
    return {"x-mock-fault": name}


def whole(mock: httpx.Client) -> list[Any]:
    """The chunks of the stream without any fault, ids aside."""
    return parsed(mock.post(PATH, json=STREAM).text)


def parsed(text: str) -> list[Any]:
    """The chunks of a stream, ids and moments aside."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [{**json.loads(line), "id": "", "created": 0} for line in lines]


def broken(mock: httpx.Client, body: dict[str, Any], name: str) -> tuple[httpx.Headers, bytes]:
    """Head and body of an answer whose connection is reset before its end."""
    received = b""
    with mock.stream("POST", PATH, json=body, headers=fault(name)) as response:
        try:
            for part in response.iter_raw():
                received += part
        except httpx.NetworkError:
            return response.headers, received
    raise AssertionError("the answer came whole")


def test_a_stream_dies_after_the_events_asked_for(mock: httpx.Client) -> None:
    """Two events arrive and the connection is reset; no end is sent."""
    _, received = broken(mock, STREAM, "die-mid-stream=2")
    assert received.count(b"data: ") == 2


def test_a_json_answer_dies_in_its_middle(mock: httpx.Client) -> None:
    """Head and half of the body arrive."""
    headers, received = broken(mock, ASK, "die-mid-stream")
    assert len(received) == int(headers["content-length"]) // 2


def test_an_error_mid_stream_is_an_event_and_an_end(mock: httpx.Client) -> None:
    """After two events comes vLLM's error event, then [DONE], under status 200."""
    response = mock.post(PATH, json=STREAM, headers=fault("error-mid-stream=2"))
    lines = [line for line in response.text.split("\n\n") if line]
    assert response.status_code == 200
    assert len(lines) == 4
    assert json.loads(lines[2].removeprefix("data: "))["error"]["code"] == 500
    assert lines[3] == "data: [DONE]"


def test_an_error_without_a_stream_is_status_500(mock: httpx.Client) -> None:
    """The same fault on a JSON request."""
    response = mock.post(PATH, json=ASK, headers=fault("error-mid-stream"))
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "InternalServerError"


def test_split_writes_cut_events_anywhere_and_lose_nothing(mock: httpx.Client) -> None:
    """One event comes in several parts, one part holds several events, and together they are the stream."""
    with mock.stream("POST", PATH, json=STREAM, headers=fault("split-writes")) as response:
        parts = list(response.iter_raw())
    text = b"".join(parts).decode()
    assert parsed(text) == whole(mock)
    assert any(b"\n\n" in part[:-2] and b"data: " in part for part in parts)
    assert any(0 < len(part) < 6 for part in parts)


def test_split_writes_cut_json_too(mock: httpx.Client) -> None:
    """The answer is whole, with its length."""
    response = mock.post(PATH, json=ASK, headers=fault("split-writes"))
    assert response.json()["usage"]["completion_tokens"] == 6
    assert int(response.headers["content-length"]) == len(response.content)


def test_line_ends_can_be_crlf(mock: httpx.Client) -> None:
    """Every line ends with CR LF, which is as good an end."""
    text = mock.post(PATH, json=STREAM, headers=fault("crlf")).text
    assert text.count("\r\n") == text.count("\n")
    assert parsed(text) == whole(mock)


def test_done_can_be_missing(mock: httpx.Client) -> None:
    """The stream ends in order, but for its last event."""
    text = mock.post(PATH, json=STREAM, headers=fault("no-done")).text
    assert "[DONE]" not in text
    assert parsed(text) == whole(mock)


def test_usage_can_be_wrong(mock: httpx.Client) -> None:
    """The factor changes what is reported and not what is generated."""
    right = whole(mock)[-1]["usage"]
    text = mock.post(PATH, json=STREAM, headers=fault("wrong-usage=2")).text
    assert parsed(text)[-1]["usage"]["prompt_tokens"] == 2 * right["prompt_tokens"]
    assert len(parsed(text)) == len(whole(mock))


@pytest.mark.parametrize("body", [ASK, STREAM])
def test_answers_can_be_compressed(mock: httpx.Client, body: dict[str, Any]) -> None:
    """The encoding is named and the decoded answer is the same."""
    with mock.stream("POST", PATH, json=body, headers=fault("gzip")) as response:
        assert response.headers["content-encoding"] == "gzip"
        raw = b"".join(response.iter_raw())
    plain = gzip.decompress(raw).decode()
    assert (parsed(plain) == whole(mock)) if body is STREAM else json.loads(plain)["usage"]["completion_tokens"] == 6


def test_slow_streams_take_their_time(mock: httpx.Client) -> None:
    """Each event waits, and so does a JSON answer once."""
    assert mock.post(PATH, json=STREAM, headers=fault("slow=0.01")).elapsed.total_seconds() >= 0.09
    assert mock.post(PATH, json=ASK, headers=fault("slow=0.05")).elapsed.total_seconds() >= 0.05
