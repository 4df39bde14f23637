import re
from typing import Any

import yaml

from extproc.settings import Settings, split_host_port
from tests.deploy.promql import DEPLOY

FOLDER = DEPLOY / "kubernetes"
DOCKERFILE = DEPLOY.parent / "Dockerfile"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "dualpool.yaml").read_text()))
MONITORS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "monitoring.yaml").read_text()))
KINDS = {each["kind"]: each for each in OBJECTS}
POD: dict[str, Any] = KINDS["Deployment"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]
STATE_SAVE_S = 3.0


def settings() -> Settings:
    """What the ConfigMap says, as the service reads it."""
    return Settings.model_validate(yaml.safe_load(KINDS["ConfigMap"]["data"]["dualpool.yaml"]))


def test_settings_are_settings() -> None:
    """The service takes the file, and begins by watching."""
    assert settings().shadow is True


def test_ports_are_where_the_service_listens() -> None:
    """Container, Service, probes and PodMonitor name the ports of the settings, on all addresses."""
    listen, metrics = split_host_port(settings().listen), split_host_port(str(settings().metrics_listen))
    assert (listen[0], metrics[0]) == ("0.0.0.0", "0.0.0.0")
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"grpc": listen[1], "metrics": metrics[1]}
    assert [port["port"] for port in KINDS["Service"]["spec"]["ports"]] == [listen[1]]
    assert {CONTAINER[probe]["grpc"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {listen[1]}
    assert MONITORS[0]["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"


def test_probes_ask_what_the_service_answers() -> None:
    """The names of its health services."""
    from extproc.server.app import LIVENESS, READINESS

    assert CONTAINER["readinessProbe"]["grpc"]["service"] == READINESS
    assert CONTAINER["livenessProbe"]["grpc"]["service"] == LIVENESS


def test_everything_selects_the_same_pods() -> None:
    """Deployment, Service, budget and monitor mean the pods of the template."""
    labels = POD["metadata"]["labels"]
    assert KINDS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert KINDS["Service"]["spec"]["selector"] == labels
    assert KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert MONITORS[0]["spec"]["selector"]["matchLabels"] == labels


def test_envoy_sees_each_pod() -> None:
    """A Service with an address of its own would give all streams of one connection to one pod."""
    assert KINDS["Service"]["spec"]["clusterIP"] == "None"


def test_pod_is_locked_down() -> None:
    """It meets the `restricted` standard, and writes its state and what was compiled alone."""
    pod, container = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert (container["allowPrivilegeEscalation"], container["readOnlyRootFilesystem"]) == (False, True)
    writable = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {settings().state_file.rpartition("/")[0]}
    (kept,) = re.findall(r"^ENV NUMBA_CACHE_DIR=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(kept.startswith(f"{folder}/") for folder in writable)
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == {m["name"] for m in CONTAINER["volumeMounts"]}


def test_settings_are_mounted_where_they_are_read() -> None:
    """As a folder, which Kubernetes renews when the ConfigMap changes."""
    (mount,) = [mount for mount in CONTAINER["volumeMounts"] if mount["name"] == "settings"]
    assert f"{mount['mountPath']}/dualpool.yaml" in CONTAINER["args"]
    assert "subPath" not in mount


def test_pod_has_time_to_drain() -> None:
    """It is not killed while exchanges in flight may finish and the state may be saved."""
    assert POD["spec"]["terminationGracePeriodSeconds"] > settings().drain_s + STATE_SAVE_S


def test_monitors_name_the_jobs_of_the_alerts() -> None:
    """`dualpool` and `vllm`, the latter with the pool."""
    relabelings = [monitor["spec"]["podMetricsEndpoints"][0]["relabelings"] for monitor in MONITORS]
    assert [rules[0] for rules in relabelings] == [
        {"targetLabel": "job", "replacement": job} for job in ("dualpool", "vllm")
    ]
    assert relabelings[1][1]["targetLabel"] == "pool"
