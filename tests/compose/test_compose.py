"""The containers: what the files promise, and the whole stack run for real where a Docker Engine answers."""

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

from extproc.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUESTS = 90
"""Of the load generator: ten of each kind of text."""


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_locked_down(name: str) -> None:
    """Each service runs as a numbered user other than root, writes nowhere, has no capabilities and gains none."""
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_service_can_be_watched_and_stopped(name: str) -> None:
    """Each service says how to tell that it is well, and how long it may take to end."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["healthcheck"].keys() == {"test", "interval", "timeout", "retries", "start_period"}
    assert _seconds(service["stop_grace_period"]) >= 10


@pytest.mark.parametrize("name", SERVICES)
def test_service_waits_for_those_it_needs(name: str) -> None:
    """A dependency is a service of the file, and must be well before the dependent one starts."""
    needed = SERVICES[name].get("depends_on", {})
    assert needed.keys() <= SERVICES.keys()
    assert all(how == {"condition": "service_healthy"} for how in needed.values())


def test_ports_are_published_on_loopback_alone() -> None:
    """Neither the mock pools nor Envoy's admin are shown to the network around."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_base_images_are_pinned() -> None:
    """Every image has a tag that names a version, can be had from elsewhere, and is the same in both files."""
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", (ROOT / "docker-compose.yaml").read_text()))
    assert defaults.keys() == {"PYTHON_IMAGE", "ENVOY_IMAGE"}
    assert all(re.search(r":v?\d+\.\d+", image) for image in defaults.values())
    assert f"ARG PYTHON_IMAGE={defaults['PYTHON_IMAGE']}\n" in DOCKERFILE
    stages = set(re.findall(r" AS (\S+)", DOCKERFILE))
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)) <= {"${PYTHON_IMAGE}", *stages}


def test_service_has_time_to_drain() -> None:
    """The container is not killed while exchanges in flight may still finish."""
    assert _seconds(SERVICES["extproc"]["stop_grace_period"]) > Settings().drain_s


def test_envoy_sends_to_services_of_the_file() -> None:
    """Host names in Envoy's configuration are names of services here."""
    clusters = yaml.safe_load((ROOT / "envoy/envoy.compose.yaml").read_text())["static_resources"]["clusters"]
    hosts = {
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for cluster in clusters
        for locality in cluster["load_assignment"]["endpoints"]
        for endpoint in locality["lb_endpoints"]
    }
    assert hosts == {"extproc", "vllm-short", "vllm-long"} <= SERVICES.keys()


def test_build_sees_nothing_it_does_not_name() -> None:
    """What is ignored is everything but the files that the Dockerfile copies."""
    first, *kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] in {"*", "!"}]
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    assert first == "*"
    assert {line[1:] for line in kept if line[0] == "!"} == {name for names in copied for name in names.split()}


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


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

    def wait_until_healthy(self) -> None:
        """Wait for every service's own health check."""
        give_up_s = time.monotonic() + 60.0
        for service in RUNNING:
            while (health := self.inspect(service)["State"]["Health"])["Status"] != "healthy":
                assert time.monotonic() < give_up_s, (service, health)
                time.sleep(0.5)

    def client(self) -> httpx.Client:
        """A client of Envoy's published port."""
        address = self.compose("port", "envoy", "10000").strip()
        return httpx.Client(base_url=f"http://{address}", timeout=30.0, trust_env=False)


RUNNING = tuple(name for name, service in SERVICES.items() if "profiles" not in service)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole file, built and running; nothing of it is left afterwards but base images."""
    command = (*_compose_command(), "--project-name", f"dualpool-test-{os.getpid()}", "--project-directory", str(ROOT))
    ports = dict.fromkeys(("ENVOY_PORT", "ADMIN_PORT", "METRICS_PORT"), "0")
    environment = {**os.environ, **_base_images(), **ports, "REQUESTS": str(REQUESTS)}
    running = Stack((*command, "--profile", "load"), environment)
    try:
        running.compose("build")
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
    named = re.findall(r"\$\{\w+_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yaml").read_text())
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


pytestmark = pytest.mark.timeout(600)
"""The first of the tests below builds the images."""


@pytest.mark.compose
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


@pytest.mark.compose
@pytest.mark.parametrize("service", RUNNING)
def test_container_is_locked_down(stack: Stack, service: str) -> None:
    """Its processes are not root's, its root file system cannot be written, its ports are on loopback."""
    assert int(stack.execute(service, "id", "-u").stdout) > 0
    touched = stack.execute(service, "touch", "/tmp/file")
    assert (touched.returncode, "Read-only" in touched.stderr) == (1, True)
    bindings = (stack.inspect(service)["NetworkSettings"]["Ports"] or {}).values()
    assert {binding["HostIp"] for found in bindings for binding in found or ()} <= {"127.0.0.1"}


@pytest.mark.compose
def test_service_image_is_small(stack: Stack) -> None:
    """Nothing that only the mock, the demo or Envoy's configuration needs is in the service's image."""
    extras = ["httpx", "starlette", "uvicorn", "quicktok", "envoy_data_plane", "numpy", "psutil"]
    script = f"import importlib.util as u; print([name for name in {extras} if u.find_spec(name)])"
    assert stack.execute("extproc", "python", "-c", script).stdout.strip() == "[]"


@pytest.mark.compose
def test_load_is_routed_and_learned_from(stack: Stack) -> None:
    """The load generator's requests are all answered, by both pools, and the service learned from them."""
    said = stack.compose("run", "--rm", "-T", "load")
    assert f"{REQUESTS} requests, 0 failed" in said
    last = re.search(rf"^{REQUESTS} requests: (\d+) short, (\d+) long, 0 failed; .*prose \d", said, flags=re.MULTILINE)
    assert last is not None, said
    assert min(int(last[1]), int(last[2])) > 0


@pytest.mark.compose
def test_containers_end_by_themselves_when_told(stack: Stack) -> None:
    """A stop is heeded by every service as the container's first process: all end with 0, none is killed."""
    stack.compose("stop")
    assert {service: stack.inspect(service)["State"]["ExitCode"] for service in RUNNING} == dict.fromkeys(RUNNING, 0)
