import json
from typing import Any

import httpx

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": "m", "input": "hello", "max_output_tokens": 5}


def test_an_answer_is_one_message_of_text(mock: httpx.Client) -> None:
    """Text and usage stand in the places of this interface; a cut answer is incomplete."""
    answer = mock.post(PATH, json=ASK).json()
    assert (answer["object"], answer["status"]) == ("response", "incomplete")
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["content"][0]["type"] == "output_text"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (36, 5)


def test_without_a_limit_the_answer_completes(mock: httpx.Client) -> None:
    """The natural length ends the answer."""
    answer = mock.post(PATH, json={"model": "m", "input": "hello"}).json()
    assert (answer["status"], answer["incomplete_details"]) == ("completed", None)


def test_a_stream_has_typed_numbered_events_and_no_done(mock: httpx.Client) -> None:
    """Deltas make up the text of the last event, which carries the usage."""
    response = mock.post(PATH, json={**ASK, "stream": True})
    blocks = [block.split("\n") for block in response.text.split("\n\n") if block]
    names = [block[0].removeprefix("event: ") for block in blocks]
    values = [json.loads(block[1].removeprefix("data: ")) for block in blocks]
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert names[-1] == "response.completed"
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    assert [value["type"] for value in values] == names
    text = "".join(value["delta"] for value in values if value["type"] == "response.output_text.delta")
    assert values[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert values[-1]["response"]["usage"]["output_tokens"] == 5
    assert "[DONE]" not in response.text


def test_items_are_messages_calls_and_results(mock: httpx.Client) -> None:
    """Instructions, earlier turns and tool traffic are all part of the prompt."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "42"},
    ]
    answer = mock.post(PATH, json={**ASK, "input": items, "instructions": "Be brief."}).json()
    assert answer["usage"]["input_tokens"] > 36 + 20


def test_earlier_responses_are_not_kept(mock: httpx.Client) -> None:
    """A previous response is never found, as in a vLLM that stores none."""
    assert mock.post(PATH, json={**ASK, "previous_response_id": "resp_1"}).status_code == 404


def test_truncation_auto_cuts_the_prompt(mock: httpx.Client) -> None:
    """What would be too long is shortened to leave room for one token."""
    long = {**ASK, "input": "word " * 9000, "max_output_tokens": None}
    assert mock.post(PATH, json=long).status_code == 400
    assert mock.post(PATH, json={**long, "truncation": "auto"}).json()["usage"]["input_tokens"] == 8191


def test_an_empty_input_is_refused(mock: httpx.Client) -> None:
    """There must be something to answer."""
    assert mock.post(PATH, json={**ASK, "input": []}).status_code == 400
