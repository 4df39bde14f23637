import os
import signal
import subprocess
import sys
from collections.abc import Callable

import httpx
import openai
import pytest

from extproc.mockvllm.settings import MockSettings

Start = Callable[[MockSettings], httpx.Client]

SERVE = """
from extproc.mockvllm.app import serve
from extproc.mockvllm.settings import MockSettings
serve(MockSettings(name="solo", max_model_len=4096), "127.0.0.1", 0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_when_it_is_ready_and_stops_with_zero(number: signal.Signals) -> None:
    """The one line names instance, address and context; the port is the free one that was found."""
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("mock vLLM solo on http://127.0.0.1:")
        assert line.endswith(" max_model_len=4096\n")
        assert httpx.get(f"{line.split()[4]}/health", trust_env=False).status_code == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_the_official_client_works(mock: httpx.Client) -> None:
    """Chat, completions, responses, embeddings and models, streaming and not, through OpenAI's own package."""
    with openai.OpenAI(
        base_url=f"{mock.base_url}/v1", api_key="none", http_client=openai.DefaultHttpxClient(trust_env=False)
    ) as ai:
        messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
        whole = ai.chat.completions.create(model="m", messages=messages, max_tokens=8)
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 8
        stream = ai.chat.completions.create(
            model="m", messages=messages, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage
        plain = ai.completions.create(model="m", prompt="hello", max_tokens=3)
        assert plain.choices[0].finish_reason == "length"
        response = ai.responses.create(model="m", input="hello", max_output_tokens=8)
        assert response.usage is not None
        assert (response.output_text, response.usage.output_tokens) != ("", 0)
        kinds = [event.type for event in ai.responses.create(model="m", input="hello", stream=True)]
        assert kinds[-1] == "response.completed"
        assert len(ai.embeddings.create(model="m", input="hello").data[0].embedding) == 8
        assert [model.id for model in ai.models.list()] == ["mock-model"]


def test_the_official_client_understands_errors(start: Start) -> None:
    """404 and 400 become the client's own exceptions, with the message."""
    served = start(MockSettings(max_model_len=8192, speed=0, served_model_name="real"))
    with openai.OpenAI(
        base_url=f"{served.base_url}/v1",
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as ai:
        with pytest.raises(openai.NotFoundError, match="The model `m` does not exist"):
            ai.completions.create(model="m", prompt="hello")
        with pytest.raises(openai.BadRequestError, match="cannot be greater than max_model_len=8192"):
            ai.completions.create(model="real", prompt="hello", max_tokens=65_535, stream=True)
