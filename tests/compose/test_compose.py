"""The containers, built and run for real where a Docker Engine answers."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = (ROOT / "docker-compose.yaml").read_text()
RUNNING = tuple(name for name, service in yaml.safe_load(FILE)["services"].items() if "profiles" not in service)
REQUESTS = 90
"""Of the load generator: ten of each kind of text."""
pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]
"""The first test's time includes building the images."""


@dataclass(frozen=True)
class Stack:
    """The containers of one project, started by this test run."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def compose(self, *arguments: str, timeout_s: float = 240.0) -> str:
        """Run Compose; its standard output."""
        return _run(*self.command, *arguments, environment=self.environment, timeout_s=timeout_s)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        found: list[dict[str, Any]] = json.loads(_run("docker", "inspect", self.container(service)))
        return found[0]

    def execute(self, service: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in a service's container."""
        line = ["docker", "exec", self.container(service), *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)

    def wait_until_healthy(self, *services: str) -> None:
        """Wait for the own health check of these services, or of all that run without a profile."""
        give_up_s = time.monotonic() + 60.0
        for service in services or RUNNING:
            while (health := self.inspect(service)["State"]["Health"])["Status"] != "healthy":
                assert time.monotonic() < give_up_s, (service, health)
                time.sleep(0.5)

    def client(self) -> httpx.Client:
        """A client of Envoy's published port."""
        address = self.compose("port", "envoy", "10000").strip()
        return httpx.Client(base_url=f"http://{address}", timeout=30.0, trust_env=False)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole file, built and running; nothing of it is left afterwards but base images."""
    command = (*_compose_command(), "--project-name", f"dualpool-test-{os.getpid()}", "--project-directory", str(ROOT))
    ports = dict.fromkeys(("ENVOY_PORT", "ADMIN_PORT", "METRICS_PORT", "PROMETHEUS_PORT"), "0")
    environment = {**os.environ, **_base_images(), **ports, "REQUESTS": str(REQUESTS)}
    running = Stack((*command, "--profile", "load", "--profile", "observability"), environment)
    try:
        running.compose("build", *RUNNING, "load")
        running.compose("up", "--detach", *RUNNING)
        running.wait_until_healthy()
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans", "--rmi", "local")
        # Stages of the build on images that stand in; what is built on real ones is the engine's to keep.
        _run("docker", "image", "prune", "--force", "--filter", "label=dualpool-stand-in")


def _compose_command() -> tuple[str, ...]:
    """Whichever Compose is installed."""
    if not (shutil.which("docker") and _answers("docker", "info")):
        pytest.skip("no Docker Engine answers")
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) and _answers(*command, "version"):
            return command
    pytest.skip("neither `docker compose` nor docker-compose is installed")


def _base_images() -> dict[str, str]:
    """Nothing where the images that the files name can be had; else images that stand in for them, made here."""
    named = re.findall(r"\$\{(?:PYTHON|ENVOY)_IMAGE:-([^}]+)\}", FILE)
    if all(_answers("docker", "image", "inspect", image) or _answers("docker", "pull", image) for image in named):
        return {}
    made = _run(sys.executable, "tests/compose/stand_in.py")
    return dict(line.split("=", maxsplit=1) for line in made.splitlines())


def _answers(*command: str) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    return False


def _run(*command: str, environment: Mapping[str, str] | None = None, timeout_s: float = 240.0) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _chat(client: httpx.Client, *, output_tokens: int) -> httpx.Response:
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": "What is the time?"}],
        "max_tokens": output_tokens,
    }
    return client.post("/v1/chat/completions", json=body)


def test_each_pool_answers_its_requests(stack: Stack) -> None:
    """Through the published port a small budget is answered by the short pool, a large one by the long pool."""
    with stack.client() as client:
        give_up_s = time.monotonic() + 20.0
        while "x-dualpool-pool" not in (short := _chat(client, output_tokens=16)).headers:
            assert time.monotonic() < give_up_s, "Envoy never asked the service"
            time.sleep(0.2)
        long = _chat(client, output_tokens=9000)
    assert (short.status_code, long.status_code) == (200, 200)
    assert (short.headers["x-mock-instance"], short.headers["x-dualpool-reason"]) == (
        "short",
        "fits_whatever_tokenizer",
    )
    assert (long.headers["x-mock-instance"], long.headers["x-dualpool-reason"]) == ("long", "output_exceeds")


@pytest.mark.parametrize("service", RUNNING)
def test_container_is_locked_down(stack: Stack, service: str) -> None:
    """Its processes are not root's, its root file system cannot be written, its ports are on loopback."""
    assert int(stack.execute(service, "id", "-u").stdout) > 0
    touched = stack.execute(service, "touch", "/tmp/file")
    assert (touched.returncode, "Read-only" in touched.stderr) == (1, True)
    bindings = (stack.inspect(service)["NetworkSettings"]["Ports"] or {}).values()
    assert {binding["HostIp"] for found in bindings for binding in found or ()} <= {"127.0.0.1"}


def test_service_image_is_small(stack: Stack) -> None:
    """Nothing that only the mock, the demo or Envoy's configuration needs is in the service's image."""
    extras = ["httpx", "starlette", "uvicorn", "quicktok", "envoy_data_plane", "tokenizers", "matplotlib", "psutil"]
    script = f"import importlib.util as u; print([name for name in {extras} if u.find_spec(name)])"
    assert stack.execute("extproc", "python", "-c", script).stdout.strip() == "[]"


def test_load_is_routed_and_learned_from(stack: Stack) -> None:
    """The load generator's requests are all answered, by both pools, and the service learned from them."""
    said = stack.compose("run", "--rm", "-T", "load")
    assert f"{REQUESTS} requests, 0 failed" in said
    last = re.search(rf"^{REQUESTS} requests: (\d+) short, (\d+) long, 0 failed; .*prose \d", said, flags=re.MULTILINE)
    assert last is not None, said
    assert min(int(last[1]), int(last[2])) > 0


def test_what_was_learned_survives_a_new_container(stack: Stack) -> None:
    """Stopped, removed and made anew, the service begins with what the load taught it."""
    before = _samples(stack)
    assert before > 0
    stack.compose("stop", "extproc")
    stack.compose("rm", "--force", "extproc")
    stack.compose("up", "--detach", "extproc")
    stack.wait_until_healthy()
    assert _samples(stack) == before


def _samples(stack: Stack) -> float:
    """Answers the service has learned from, by its metrics."""
    address = stack.compose("port", "extproc", "9464").strip()
    lines = httpx.get(f"http://{address}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("dualpool_model_samples{"))


def test_prometheus_scrapes_all_of_it(stack: Stack) -> None:
    """Locked down like the others, it reaches the service, Envoy and both pools by the targets of its configuration."""
    image = yaml.safe_load(FILE)["services"]["prometheus"]["image"].partition(":-")[2].removesuffix("}")
    if "PROMETHEUS_IMAGE" not in stack.environment and not _answers("docker", "pull", image):
        pytest.skip("there is no image of Prometheus, and no `make prometheus` to make one of")
    stack.compose("up", "--detach", "prometheus")
    stack.wait_until_healthy("prometheus")
    address = stack.compose("port", "prometheus", "9090").strip()
    asked = {"query": "sum by (job) (up)"}
    wanted = {"dualpool": "1", "envoy": "1", "vllm": "2"}
    give_up_s = time.monotonic() + 60.0
    while True:
        answer = httpx.get(f"http://{address}/api/v1/query", params=asked, trust_env=False).json()
        found = {series["metric"]["job"]: series["value"][1] for series in answer["data"]["result"]}
        if found == wanted:
            break
        assert time.monotonic() < give_up_s, found
        time.sleep(1.0)
    assert stack.execute("prometheus", "touch", "/tmp/file").returncode == 1
    stack.compose("rm", "--stop", "--force", "prometheus")


def test_containers_end_by_themselves_when_told(stack: Stack) -> None:
    """A stop is heeded by every service as the container's first process: all end with 0, none is killed."""
    stack.compose("stop")
    assert {service: stack.inspect(service)["State"]["ExitCode"] for service in RUNNING} == dict.fromkeys(RUNNING, 0)
