import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from extproc.mockvllm.faults import Faults
from extproc.mockvllm.settings import MockSettings

Start = Callable[[MockSettings], httpx.Client]

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}


def test_every_response_names_the_instance(mock: httpx.Client) -> None:
    """Answers, errors and health checks alike say who sent them."""
    for response in (mock.post(PATH, json=ASK), mock.post(PATH, json={}), mock.get("/health"), mock.get("/nowhere")):
        assert response.headers["x-mock-instance"] == "short-1"


def test_what_arrived_is_told_on_request(mock: httpx.Client) -> None:
    """The routing headers and the body's digest come back; without the request header nothing does."""
    body = json.dumps(ASK).encode()
    headers = {"content-type": "application/json", "x-dualpool-pool": "short", "x-other": "1"}
    echoed = mock.post(PATH, content=body, headers={**headers, "x-mock-echo": "1"}).headers
    assert json.loads(echoed["x-mock-received"]) == {"x-dualpool-pool": "short"}
    assert echoed["x-mock-body-sha256"] == hashlib.sha256(body).hexdigest()
    assert echoed["x-mock-body-bytes"] == str(len(body))
    assert "x-mock-received" not in mock.post(PATH, content=body, headers=headers).headers


def test_the_key_guards_the_interface_and_not_the_probes(start: Start) -> None:
    """401 with vLLM's own body on /v1; /health and /metrics stay open."""
    client = start(MockSettings(max_model_len=8192, speed=0, api_key="k"))
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "k"}):
        response = client.post(PATH, json=ASK, headers=headers)
        assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})
    assert client.post(PATH, json=ASK, headers={"authorization": "Bearer k"}).status_code == 200
    assert client.get("/health").status_code == client.get("/metrics").status_code == 200


def test_request_ids_are_echoed_where_enabled(start: Start) -> None:
    """With the flag every response has one; in the body's id it is used anyway."""
    client = start(MockSettings(max_model_len=8192, speed=0, enable_request_id_headers=True))
    response = client.post(PATH, json=ASK, headers={"x-request-id": "abc"})
    assert (response.headers["x-request-id"], response.json()["id"]) == ("abc", "chatcmpl-abc")
    assert client.get("/health").headers["x-request-id"]


def test_ids_are_not_echoed_by_default(mock: httpx.Client) -> None:
    """Without the flag the header does not come back."""
    assert "x-request-id" not in mock.post(PATH, json=ASK, headers={"x-request-id": "abc"}).headers


def test_a_status_is_answered_with_vllms_body(mock: httpx.Client) -> None:
    """The fault comes before any work."""
    response = mock.post(PATH, json=ASK, headers={"x-mock-fault": "status=503"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == 503


def test_a_hang_ends_with_the_client_or_its_time(mock: httpx.Client) -> None:
    """Without seconds the client gives up; with seconds the answer comes after them."""
    with pytest.raises(httpx.ReadTimeout):
        mock.post(PATH, json=ASK, headers={"x-mock-fault": "hang"}, timeout=0.1)
    started = time.monotonic()
    assert mock.post(PATH, json=ASK, headers={"x-mock-fault": "hang=0.1"}).status_code == 200
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize(("name", "status"), [("short", 503), ("short-1", 503), ("long", 200)])
def test_a_fault_may_be_meant_for_another_instance(mock: httpx.Client, name: str, status: int) -> None:
    """A request that a proxy sends on after the first instance failed it succeeds at the second."""
    assert mock.post(PATH, json=ASK, headers={"x-mock-fault": f"only={name},status=503"}).status_code == status


def test_an_unknown_fault_is_400(mock: httpx.Client) -> None:
    """A misspelt fault does not pass for a healthy answer."""
    response = mock.post(PATH, json=ASK, headers={"x-mock-fault": "explode"})
    assert response.status_code == 400
    assert "die-mid-stream" in response.json()["error"]["message"]


def test_a_fault_of_the_instance_strikes_every_request_but_probes(start: Start) -> None:
    """The flag is the default of the header, and the header wins."""
    client = start(MockSettings(max_model_len=8192, speed=0, faults=Faults(status=500)))
    assert client.post(PATH, json=ASK).status_code == 500
    assert client.post(PATH, json=ASK, headers={"x-mock-fault": "status=418"}).status_code == 418
    assert client.get("/health").status_code == 200
