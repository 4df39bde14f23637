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
WATCHING = {"prometheus", "grafana", "collector"}
"""The services of the profile `observability`."""


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
    """Each service says how long it may take to end, and how to tell that it is well where its image has the means."""
    service = SERVICES[name]
    assert (service["healthcheck"] == {"disable": True}) == (name == "collector")
    if name == "collector":
        assert _seconds(service["stop_grace_period"]) >= 10
        return
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
    """Neither the mock pools nor Envoy's admin, Prometheus or Grafana are shown to the network around."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_base_images_are_pinned() -> None:
    """Every image has a tag that names a version, can be had from elsewhere, and is the same in both files."""
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", (ROOT / "docker-compose.yaml").read_text()))
    ours = {"PYTHON_IMAGE", "ENVOY_IMAGE"}
    assert defaults.keys() == ours | {f"{name.upper()}_IMAGE" for name in WATCHING}
    assert {service["image"] for service in SERVICES.values() if "image" in service} == {
        f"${{{name}:-{image}}}" for name, image in defaults.items() if name != "PYTHON_IMAGE"
    }
    assert all(re.search(r":v?\d+\.\d+", image) for image in defaults.values())
    assert f"ARG PYTHON_IMAGE={defaults['PYTHON_IMAGE']}\n" in DOCKERFILE
    stages = set(re.findall(r" AS (\S+)", DOCKERFILE))
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)) <= {"${PYTHON_IMAGE}", *stages}


def test_service_alone_may_write_and_only_its_state() -> None:
    """Beside Prometheus, that is: its volume is where the state file lies, and the image gives it to the user."""
    writable = {
        (name, volume)
        for name, service in SERVICES.items()
        for volume in service.get("volumes", ())
        if not volume.endswith(":ro")
    }
    assert writable == {("extproc", "state:/state"), ("prometheus", "prometheus:/prometheus")}
    assert COMPOSE["volumes"].keys() == {"state", "prometheus"}
    assert {name for name, service in SERVICES.items() if "tmpfs" in service} == {"grafana"}
    assert SERVICES["extproc"]["environment"]["DUALPOOL_STATE_FILE"].startswith("/state/")
    user, group = SERVICES["extproc"]["user"].split(":")
    assert f"os.chown('/state', {user}, {group})" in DOCKERFILE


def test_service_has_time_to_drain() -> None:
    """The container is not killed while exchanges in flight may still finish."""
    assert _seconds(SERVICES["extproc"]["stop_grace_period"]) > Settings().drain_s


def test_those_who_watch_run_only_when_asked_for() -> None:
    """Prometheus, Grafana and the collector are of one profile, and nothing that routes waits for them."""
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["observability"]} == WATCHING
    for name in SERVICES.keys() - WATCHING:
        assert not WATCHING & SERVICES[name].get("depends_on", {}).keys()


def test_prometheus_scrapes_services_of_the_file() -> None:
    """Its targets are the service, Envoy's admin and each pool, at the ports where they listen."""
    scrapes = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    targets = [target for scrape in scrapes for group in scrape["static_configs"] for target in group["targets"]]
    assert targets == ["extproc:9464", "envoy:9901", "vllm-short:8000", "vllm-long:8000"]
    assert {target.partition(":")[0] for target in targets} <= SERVICES.keys()


@pytest.mark.parametrize("name", sorted(WATCHING))
def test_what_is_mounted_exists(name: str) -> None:
    """Each file or folder of the checkout that a container is given is there, and cannot be written by it."""
    mounted = [volume.split(":") for volume in SERVICES[name]["volumes"] if volume.startswith("./")]
    assert mounted
    assert all((ROOT / source).exists() and mode == "ro" for source, _, mode in mounted)


def test_grafana_finds_what_is_mounted() -> None:
    """The dashboard lies where the provider looks, and is the page it opens with; the source is Prometheus's name."""
    grafana = SERVICES["grafana"]
    folder = ROOT / "deploy/grafana/provisioning"
    provider = yaml.safe_load((folder / "dashboards/dualpool.yaml").read_text())["providers"][0]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == provider["options"]["path"] + "/dualpool.json"
    assert f"./deploy/grafana/dualpool.json:{home}:ro" in grafana["volumes"]
    source = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")


def test_grafana_has_no_account_to_guess() -> None:
    """It is looked at by whoever reaches it, changed by nobody, and calls nobody."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    assert "GF_AUTH_ANONYMOUS_ORG_ROLE" not in environment


def test_collector_takes_what_the_service_sends() -> None:
    """Its pipelines name parts that it configures, and it listens where the file says to send."""
    collector = yaml.safe_load((ROOT / "deploy/otel/collector.yaml").read_text())
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    assert "OTLP_ENDPOINT=http://collector:4318" in (ROOT / "docker-compose.yaml").read_text()
    pipelines = collector["service"]["pipelines"]
    assert pipelines.keys() == {"traces", "metrics"}
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()


def test_settings_of_the_service_are_settings() -> None:
    """Each variable of its environment is one that the service reads."""
    names = {name.removeprefix("DUALPOOL_").lower() for name in SERVICES["extproc"]["environment"]}
    assert names <= Settings.model_fields.keys()


def test_envoy_sends_to_services_of_the_file() -> None:
    """Host names in Envoy's configuration are names of services here."""
    clusters = yaml.safe_load((ROOT / "envoy/envoy.compose.yaml").read_text())["static_resources"]["clusters"]
    hosts = {
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for cluster in clusters
        if "load_assignment" in cluster
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
