"""What Dockerfile and docker-compose.yaml promise, read from the files themselves: no engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_locked_down(name: str) -> None:
    """Each service runs as a numbered user other than root, its root read-only, with no capabilities to use or gain."""
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


def test_service_alone_may_write_and_only_its_state() -> None:
    """The one volume that is not read-only is where the state file lies, and the image gives it to the user."""
    writable = {
        (name, volume)
        for name, service in SERVICES.items()
        for volume in service.get("volumes", ())
        if not volume.endswith(":ro")
    }
    assert writable == {("extproc", "state:/state")}
    assert COMPOSE["volumes"].keys() == {"state"}
    assert SERVICES["extproc"]["environment"]["DUALPOOL_STATE_FILE"].startswith("/state/")
    user, group = SERVICES["extproc"]["user"].split(":")
    assert f"os.chown('/state', {user}, {group})" in DOCKERFILE


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
