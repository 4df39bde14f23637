import json
from typing import Any

import httpx

PATH = "/v1/completions"


def answer(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """The answer to a request that is served."""
    response = client.post(PATH, json={"model": "m", **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_sixteen_tokens_is_the_default(mock: httpx.Client) -> None:
    """Unlike chat, plain completions do not fill the context."""
    found = answer(mock, prompt="hello world", ignore_eos=True)
    assert (found["object"], found["id"][:5]) == ("text_completion", "cmpl-")
    assert found["usage"]["completion_tokens"] == 16
    assert found["choices"][0]["finish_reason"] == "length"


def test_an_explicit_null_is_no_default(mock: httpx.Client) -> None:
    """It names no limit, as in chat."""
    assert answer(mock, prompt="hello world", max_tokens=None)["usage"]["completion_tokens"] > 16


def test_lists_of_prompts_are_answered_in_order(mock: httpx.Client) -> None:
    """Two prompts with n=2 are four choices; prompt tokens add up over prompts alone."""
    found = answer(mock, prompt=["hello world", "hello"], n=2, max_tokens=3, ignore_eos=True)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == (3 + 2, 4 * 3)


def test_token_ids_are_the_prompt_as_it_is(mock: httpx.Client) -> None:
    """A list of ids is counted exactly."""
    assert answer(mock, prompt=[1, 2, 3], max_tokens=1)["usage"]["prompt_tokens"] == 3
    assert answer(mock, prompt=[[1, 2, 3], [4]], max_tokens=1)["usage"]["prompt_tokens"] == 4


def test_a_stream_has_text_from_its_first_chunk(mock: httpx.Client) -> None:
    """No role chunk; the usage of a chunk is that of its own prompt, the last that of the request."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"prompt": ["hello world", "hello"], "max_tokens": 2, "ignore_eos": True, "stream_options": options}
    response = mock.post(PATH, json={"model": "m", "stream": True, **body})
    found = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert found[-1] == "[DONE]"
    parsed = [json.loads(each) for each in found[:-1]]
    shown = [(each["choices"][0]["index"], each["usage"]["prompt_tokens"]) for each in parsed[:-1]]
    assert sorted(shown) == [(0, 3), (0, 3), (1, 2), (1, 2)]
    assert (parsed[-1]["choices"], parsed[-1]["usage"]["prompt_tokens"]) == ([], 5)
    assert all(each["choices"][0]["text"] for each in parsed[:-1])


def test_mixtures_are_refused(mock: httpx.Client) -> None:
    """A list of text and ids is no prompt."""
    response = mock.post(PATH, json={"prompt": ["a", 1]})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "Bad Request"
