import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError

RUN = [sys.executable, "-c", "from extproc.cli import main; main()", "mock-vllm"]


def test_help_teaches_faults_and_headers() -> None:
    """A reader of --help learns how to break an answer and how to see what arrived."""
    text = " ".join(CliRunner().invoke(app, ["mock-vllm", "--help"], env={"COLUMNS": "200"}).output.split())
    for word in ("die-mid-stream", "x-mock-echo", "--num-gpu-blocks-override", "Example: dualpool mock-vllm"):
        assert word in text


def test_options_reach_the_instance() -> None:
    """What is chosen on the command line shows in what is served."""
    options = ["--port", "0", "--name", "long-1", "--max-model-len", "65536", "--vllm-version", "0.31.0"]
    options += ["--speed", "instant", "--tokenizer", "qwen3", "--fault", "wrong-usage=2", "--served-model-name", "q"]
    with subprocess.Popen([*RUN, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[4]
        with httpx.Client(base_url=url, trust_env=False) as client:
            card = client.get("/v1/models").json()["data"][0]
            body = {"model": "q", "messages": [{"role": "user", "content": "Craft me a deep learning curriculum"}]}
            answer = client.post("/v1/chat/completions", json=body)
            version = client.get("/version").json()["version"]
        process.terminate()
    assert (card["id"], card["max_model_len"], version) == ("q", 65_536, "0.31.0")
    assert answer.headers["x-mock-instance"] == "long-1"
    assert answer.json()["usage"]["prompt_tokens"] == 2 * 14


@pytest.mark.parametrize(
    "options",
    [
        ["--fault", "explode"],
        ["--speed", "fast"],
        ["--vllm-version", "newest"],
        ["--num-gpu-blocks-override", "10"],
        ["--tokenizer", "gpt2"],
    ],
)
def test_what_cannot_be_ends_before_serving(options: list[str]) -> None:
    """A mistake is either a usage error or one the command line prints as a line."""
    done = CliRunner().invoke(app, ["mock-vllm", *options])
    assert done.exit_code == 2 or isinstance(done.exception, ConfigurationError)


def test_a_taken_port_is_the_operators_error() -> None:
    """It is of the kind the command line prints as one line, and names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["mock-vllm", "--port", str(port)])
    assert isinstance(done.exception, ConfigurationError)
    assert f"127.0.0.1:{port}" in str(done.exception)
