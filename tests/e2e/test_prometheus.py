"""A real Prometheus scrapes Envoy, service and pools; then each query of deploy/ must have something to say."""

import itertools
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from extproc.demo.processes import LOOPBACK, child, envoy, free_ports
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from tests.deploy.promql import DEPLOY, alerts, panel_queries, program, selectors
from tests.e2e.conftest import DUALPOOL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
THRESHOLD_TOKENS = 8192
REQUESTS = 200
"""Enough for every kind of request with every fault."""
DRIVE_S = 180.0
"""Until then, however slow the machine, all that is expected must have been seen."""
TARGETS = 4
SCRAPE_TAKES_S = 3.0
"""At most: then it is known of a moment which scrapes had succeeded by then."""
SETTLE_S = 60.0
"""Until then what was pending, as after a slow scrape, is so no more; alerts with a `for` wait that long at least."""
WRONGS = {"DualpoolSettingsRefused", "DualpoolSpillAtCap", "DualpoolEscalationsFail"}
"""What is wrong in this deployment; two of them wait for minutes before they fire, and are pending meanwhile."""
NEVER = {
    *("DualpoolInternalErrors", "DualpoolMutationsRejected", "DualpoolAccessLogDropping", "DualpoolStateNotSaved"),
}
"""Fire at the first sight of what is not wrong here."""
PASSING = {
    *("DualpoolDown", "DualpoolWorkerDown", "DualpoolNoDecisions", "DualpoolFailingOpen", "DualpoolPoolUnread"),
    "DualpoolThresholdClamped",
}
"""Wait before they fire: a slow moment may make them pending, and no more."""
FAULTS = ("", "", "status=503", "status=400", "wrong-usage=9")
"""What an instance does with a request, in turn."""
RULES = {rule["alert"]: rule["expr"] for rule in alerts()}
QUERIES = panel_queries()


class Pressed(BaseHTTPRequestHandler):
    """An instance that is always busy, so that something is steered."""

    def do_GET(self) -> None:
        """Answer `/metrics` and `/v1/models` as vLLM does."""
        tokens = int(1000 * time.monotonic())
        metrics = (
            f"vllm:num_requests_running 200\nvllm:num_requests_waiting 90\nvllm:kv_cache_usage_perc 0.99\n"
            f"vllm:num_preemptions_total {tokens // 100}\nvllm:generation_tokens_total {tokens}\n"
            f"vllm:prompt_tokens_total {tokens}\n"
        )
        models = json.dumps({"data": [{"id": "m", "max_model_len": THRESHOLD_TOKENS}]})
        body = (metrics if self.path == "/metrics" else models).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@dataclass
class Ports:
    """Where each part listens."""

    listen: Address
    admin: Address
    grpc: Address
    metrics: Address
    short: Address
    long: Address
    prometheus: Address


@dataclass
class Prometheus:
    """One that has scraped for a while."""

    url: str
    driven_s: float = 0.0
    """Unix time of a moment under traffic at which every target had just answered; 0 until it is found."""

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """An instant vector as of that moment, so that no rate fades while tests ask; of now while there is none."""
        at = {"time": f"{self.driven_s:.3f}"} if self.driven_s else {}
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression} | at).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def numbers(self, expression: str) -> list[float]:
        """The values of a vector that are numbers."""
        values = [float(series["value"][1]) for series in self.ask(expression)]
        return [value for value in values if not math.isnan(value)]

    def wait_for_targets(self) -> None:
        """It looks for targets some seconds after it is ready."""
        give_up_s = time.monotonic() + 30.0
        while self.numbers("count(up == 1)") != [TARGETS]:
            assert time.monotonic() < give_up_s, self.ask("up")
            time.sleep(0.1)

    def rules(self) -> list[dict[str, Any]]:
        """The alert rules as it has them."""
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerted(self) -> set[str]:
        """The alerts that are pending or firing now."""
        return {rule["name"] for rule in self.rules() if rule["alerts"]}

    def ever(self, names: set[str], state: str) -> list[dict[str, Any]]:
        """Those of these alerts that were ever in a state, a regular expression, until now."""
        chosen = f'ALERTS{{alertname=~"{"|".join(names)}", alertstate=~"{state}"}}'
        return replace(self, driven_s=0.0).ask(f"present_over_time({chosen}[15m])")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has watched a deployment under mixed traffic, with a short pool that says it is pressed."""
    program("prometheus")
    ports = Ports(*(Address(LOOPBACK, port) for port in free_ports(7)))
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        settings = stack.enter_context(deployment(ports, folder))
        watching = stack.enter_context(scraping(ports, folder))
        drive(f"http://{ports.listen}", settings, watching)
        yield watching


@contextmanager
def deployment(ports: Ports, folder: Path) -> Iterator[Path]:
    """Envoy, the service and two mock pools, with all that shows in metrics turned on; its settings file."""
    settings = folder / "settings.yaml"
    with ExitStack() as stack:
        pressed = stack.enter_context(pressed_instance())
        settings.write_text(yaml.safe_dump(settings_of(ports, folder, pressed)))
        for name, address, max_model_len in (("short", ports.short, THRESHOLD_TOKENS), ("long", ports.long, 65_536)):
            command = [*DUALPOOL, "mock-vllm", "--host", address.host, "--port", str(address.port), "--name", name]
            command += ["--max-model-len", str(max_model_len), "--speed", "instant", "--mean-output-tokens", "24"]
            stack.enter_context(child(name, command, answers_at=f"http://{address}/health"))
        command = [*DUALPOOL, "serve", "--config", str(settings)]
        stack.enter_context(
            child("service", command, answers_at=f"http://{ports.metrics}/metrics", environment=bare_environment())
        )
        options = EnvoyOptions(
            listen=ports.listen,
            admin=ports.admin,
            extproc=(ports.grpc,),
            short=(ports.short,),
            long=(ports.long,),
            message_timeout_s=10.0,  # a machine that pauses is not what is tried here
        )
        stack.enter_context(envoy(find_envoy(), bootstrap_yaml(options), concurrency=1))
        yield settings


def settings_of(ports: Ports, folder: Path, pressed: str) -> dict[str, Any]:
    """Everything on that shows, a promise so generous that outputs are learned at once, and a cap soon reached.

    The share that spills grows by 0.05 a second, half as fast where one instance relieves two: 4 s to the cap. A gap of
    three polls in the readings would begin it anew, hence polls that a slow machine keeps up with.
    """
    return {
        "listen": str(ports.grpc),
        "metrics_listen": str(ports.metrics),
        "threshold_tokens": THRESHOLD_TOKENS,
        "promise": 0.4,
        "state_file": str(folder / "state"),
        "state_save_s": 2.0,
        "short_pool": f"http://{ports.short},{pressed}",
        "long_pool": f"http://{ports.long}",
        "pool_poll_s": 2.0,
        "spillover_share": 0.1,
        "adaptive_threshold": True,
        "access_log": str(folder / "access.jsonl"),
    }


def bare_environment() -> dict[str, str]:
    """No setting of the shell that runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DUALPOOL_")}


@contextmanager
def pressed_instance() -> Iterator[str]:
    """Where it listens."""
    server = ThreadingHTTPServer((LOOPBACK, 0), Pressed)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def scraping(ports: Ports, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with our own configuration, of which only targets and intervals are changed."""
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus/alerts.yaml")]
    targets = {"dualpool": [ports.metrics], "envoy": [ports.admin], "vllm": [ports.short, ports.long]}
    for job in config["scrape_configs"]:
        for group, target in zip(job["static_configs"], targets[job["job_name"]], strict=True):
            group["targets"] = [str(target)]
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    url = f"http://{ports.prometheus}"
    command += [f"--web.listen-address={ports.prometheus}", "--log.level=warn"]
    with child("prometheus", command, answers_at=f"{url}/-/ready"):
        watching = Prometheus(url)
        watching.wait_for_targets()
        yield watching


def drive(url: str, settings: Path, watching: Prometheus) -> None:
    """Requests of all kinds until all that is wrong is alerted, and on while a moment is found to ask about."""
    give_up_s = time.monotonic() + DRIVE_S
    sent = traffic(url, settings)
    for number in sent:
        assert time.monotonic() < give_up_s, f"after {number} requests not alerted: {WRONGS - watching.alerted()}"
        if number >= REQUESTS and number % 10 == 0 and watching.alerted() >= WRONGS:
            break
    while not watching.driven_s:
        assert time.monotonic() < give_up_s, f"not all answer a scrape: {watching.ask('up')}"
        watched_s = _now_s()
        next(number for number in sent if _now_s() > watched_s + SCRAPE_TAKES_S)
        if replace(watching, driven_s=watched_s).numbers("count(up == 1)") == [TARGETS]:
            watching.driven_s = watched_s


def traffic(url: str, settings: Path) -> Iterator[int]:
    """Sends a request whenever it is asked for the next; early on the settings file is changed, for the worse."""
    with httpx.Client(base_url=url, timeout=30.0) as client:
        for number in itertools.count(1):
            send(client, number)
            if number % 50 == 0:
                leave_early(client.base_url)
            if number == 20:
                settings.write_text(settings.read_text() + "promise: never\n")
            time.sleep(0.02)
            yield number


def _now_s() -> float:
    """Unix time, by which Prometheus goes."""
    return time.time_ns() / 1e9


def send(client: httpx.Client, number: int) -> None:
    """One request: short and long prompts, with and without a limit, JSON and streams, and what is no inference."""
    if number % 17 == 0:
        client.get("/v1/models")
        return
    words = (20, 400, 3000, 12_000)[number % 4]
    body: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "some words to read " * (words // 4)}],
    }
    if number % 3:
        body["max_tokens"] = 64
    if number % 5 == 0:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    fault = FAULTS[number // 7 % len(FAULTS)] if words < 1000 else ""
    headers = {"x-mock-fault": fault} if fault else {}
    client.post("/v1/chat/completions", json=body, headers=headers)


def leave_early(url: httpx.URL) -> None:
    """Go away in the middle of a body, so that a stream ends without a decision."""
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(head + b'{"model":')
        time.sleep(0.05)


def filled_in(query: str) -> str:
    """A panel's query with the values that its variables have when all is chosen."""
    for variable, value in (("$job", ".*"), ("$instance", ".*"), ("$listener", ".*"), ("$__rate_interval", "30s")):
        query = query.replace(variable, value)
    return query


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_each_query_of_the_dashboard_returns_data(prometheus: Prometheus, title: str, query: str) -> None:
    """At least one series has a number after mixed traffic, and each metric that the query reads has one."""
    assert prometheus.numbers(filled_in(query)), title
    for selector in selectors(filled_in(query)):
        assert prometheus.ask(selector), selector


@pytest.mark.parametrize("name", RULES)
def test_each_rule_reads_series_that_exist(prometheus: Prometheus, name: str) -> None:
    """Every series that an alert chooses is there in a deployment that is well."""
    absent = [selector for selector in selectors(RULES[name]) if not prometheus.ask(selector)]
    assert absent == []


def test_rules_are_evaluated_without_an_error(prometheus: Prometheus) -> None:
    """Prometheus has all of them, and no evaluation failed."""
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == RULES.keys()
    assert {(rule["name"], rule.get("lastError", "")) for rule in rules} == {(name, "") for name in RULES}


def test_what_is_wrong_is_alerted_and_what_is_well_is_not(prometheus: Prometheus) -> None:
    """Settings that cannot be used and lasting pressure are noticed; no part counts as down, failing or unread."""
    assert RULES.keys() >= WRONGS | NEVER | PASSING
    assert {rule["alert"] for rule in alerts() if rule["alert"] in NEVER and "for" not in rule} == NEVER
    assert {series["metric"]["alertname"] for series in prometheus.ever(WRONGS, "pending|firing")} >= WRONGS
    give_up_s = time.monotonic() + SETTLE_S
    while pending := prometheus.alerted() & PASSING:
        assert time.monotonic() < give_up_s, pending
        time.sleep(0.5)
    assert prometheus.ever(PASSING, "firing") == []
    assert prometheus.ever(NEVER, "pending|firing") == []


def test_every_metric_of_ours_has_the_name_that_the_checks_reckon_with(prometheus: Prometheus) -> None:
    """What is scraped from the service is in its table of instruments, under the name derived from it."""
    from tests.deploy.promql import names_of_ours

    scraped = {
        series["metric"]["__name__"] for series in prometheus.ask('{job="dualpool", __name__=~"dualpool.*|gen.*"}')
    }
    assert len(scraped) > 40
    assert scraped <= names_of_ours()
