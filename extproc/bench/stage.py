"""Starts what a benchmark runs on: an Envoy that answers at once, an Envoy before each processor; measures nothing.

The upstream is an Envoy too, because a Python server there would be what the benchmark measures.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from extproc.demo.processes import LOOPBACK, Child, child, envoy, free_ports
from extproc.demo.signals import signals_held
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.server.polling import EXPERIMENTS_VARIABLE, WITHOUT_EVENT_ENGINE

_TYPES = "type.googleapis.com/envoy.extensions"
LEARNING_SAMPLES = 300
"""Answers of each size that are all read, within the warm-up, enough to end the doubt about a new model; afterwards
the service's own share."""
SIZE_HEADER = "x-bench-bytes"
"""Tells the upstream which usage to answer with."""
_IDLE_METRICS = """\
vllm:num_requests_running 0
vllm:num_requests_waiting 0
vllm:kv_cache_usage_perc 0
vllm:num_preemptions_total 0
vllm:generation_tokens_total 0
vllm:prompt_tokens_total 0
"""
_MODELS = '{"data": [{"id": "bench", "max_model_len": 16384}]}'


@dataclass(frozen=True, slots=True)
class Side:
    """One way through: where to knock, and whose processor time it costs."""

    name: str
    address: tuple[str, int]
    envoy: Child
    processor: Child | None


@contextlib.contextmanager
def sides(binary: Path, body_sizes: Sequence[int]) -> Iterator[list[Side]]:
    """Envoy alone, Envoy with either floor, Envoy with the service, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        upstream = Address(LOOPBACK, free_ports(1)[0])
        stack.enter_context(envoy(binary, _upstream(upstream, body_sizes), concurrency=1))
        bare = [sys.executable, "-m", "extproc.bench.floor"]
        floor, tuned = _processor(stack, "floor", bare), _processor(stack, "tuned floor", [*bare, "tuned"])
        serve = [sys.executable, "-m", "extproc", "serve"]
        ours = _processor(stack, "service", [*serve, "--metrics-listen", "", "--listen"])
        folder = Path(stack.enter_context(TemporaryDirectory()))
        full = _processor(stack, "service, all on", [*serve, "--config", _everything(folder, upstream), "--listen"])
        floor_door, _, floor_envoy = _door(stack, binary, floor, upstream)
        tuned_door, _, tuned_envoy = _door(stack, binary, tuned, upstream)
        our_door, bare_door, our_envoy = _door(stack, binary, ours, upstream)
        full_door, _, full_envoy = _door(stack, binary, full, upstream)
        yield [
            Side("envoy alone", bare_door, our_envoy, None),
            Side("floor", floor_door, floor_envoy, floor[0]),
            Side("tuned floor", tuned_door, tuned_envoy, tuned[0]),
            Side("dualpool", our_door, our_envoy, ours[0]),
            Side("all on", full_door, full_envoy, full[0]),
        ]


def _everything(folder: Path, instance: Address) -> str:
    """A settings file with metrics, an access log, saved state, and both pools watched and steered."""
    settings = {
        "metrics_listen": f"{LOOPBACK}:{free_ports(1)[0]}",
        "short_pool": f"http://{instance}",
        "long_pool": f"http://{instance}",
        "adaptive_threshold": True,
        "access_log": str(folder / "access.jsonl"),
        "state_file": str(folder / "state"),
    }
    file = folder / "dualpool.yaml"
    file.write_text(yaml.safe_dump(settings))
    return str(file)


@contextlib.contextmanager
def watched_sides(binary: Path, body_sizes: Sequence[int]) -> Iterator[list[Side]]:
    """Envoy with the service whose ledger takes nothing in, and with the same and all of its telemetry."""
    with contextlib.ExitStack() as stack:
        upstream, scraped = (Address(LOOPBACK, port) for port in free_ports(2))
        stack.enter_context(envoy(binary, _upstream(upstream, body_sizes), concurrency=1))
        log = Path(stack.enter_context(TemporaryDirectory())) / "access.jsonl"
        watched = [sys.executable, "-m", "extproc.bench.watched"]
        full = [*watched, "full", f"http://{upstream}", str(scraped), str(log)]
        silent_one = _processor(stack, "service without telemetry", [*watched, "silent"])
        full_one = _processor(stack, "service with telemetry", full)
        silent_door, _, silent_envoy = _door(stack, binary, silent_one, upstream)
        full_door, _, full_envoy = _door(stack, binary, full_one, upstream)
        yield [
            Side("silent", silent_door, silent_envoy, silent_one[0]),
            Side("telemetry", full_door, full_envoy, full_one[0]),
        ]


def _processor(stack: contextlib.ExitStack, name: str, command: list[str]) -> tuple[Child, Address]:
    """A processor whose last argument is where to listen. The service soon reads as few answers as it does for good."""
    address = Address(LOOPBACK, free_ports(1)[0])
    environment = os.environ | {"DUALPOOL_LEARNING_SAMPLES": str(LEARNING_SAMPLES)}
    if "tuned" in command or "extproc.bench.watched" in command:
        environment[EXPERIMENTS_VARIABLE] = WITHOUT_EVENT_ENGINE  # as `serve` does for itself
    process = child(name, [*command, str(address)], answers_at=f"tcp://{address}", environment=environment)
    return stack.enter_context(process), address


def _door(
    stack: contextlib.ExitStack, binary: Path, processor: tuple[Child, Address], upstream: Address
) -> tuple[tuple[str, int], tuple[str, int], Child]:
    """An Envoy that asks the processor at one door and nobody at the other."""
    listen, baseline, admin = (Address(LOOPBACK, port) for port in free_ports(3))
    options = EnvoyOptions(
        listen=listen,
        baseline_listen=baseline,
        admin=admin,
        extproc=(processor[1],),
        short=(upstream,),
        long=(upstream,),
    )
    with signals_held():
        bootstrap = bootstrap_yaml(options)
    started = stack.enter_context(envoy(binary, bootstrap, concurrency=1))
    return (listen.host, listen.port), (baseline.host, baseline.port), started


def _upstream(listen: Address, body_sizes: Sequence[int]) -> str:
    """Answers a small JSON with a usage fit for the body's size; takes what is sent to a collector, and forgets it.

    Asked how it is, it is a vLLM instance with nothing to do.
    """
    said = {"/v1/metrics": "", "/v1/traces": "", "/metrics": _IDLE_METRICS, "/v1/models": _MODELS}
    return answering(listen, [*map(_said, said, said.values()), *map(_route, body_sizes)])


def answering(listen: Address, routes: Sequence[dict[str, object]]) -> str:
    """The configuration of an Envoy that waits for the whole body and answers at once, as its routes say."""
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*routes]}]},
        "http_filters": [
            _filter("buffer", "buffer.v3.Buffer", max_request_bytes=16 * 2**20),
            _filter("router", "router.v3.Router"),
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "upstream", "address": _socket(listen), "filter_chains": [chain]}
    admin = Address(LOOPBACK, free_ports(1)[0])
    return yaml.safe_dump({"admin": {"address": _socket(admin)}, "static_resources": {"listeners": [listener]}})


def _said(path: str, text: str) -> dict[str, object]:
    body = {"body": {"inline_string": text}} if text else {}
    return {"match": {"path": path}, "direct_response": {"status": 200, **body}}


def _route(size: int) -> dict[str, object]:
    usage = {"prompt_tokens": size // 4, "completion_tokens": 16, "total_tokens": size // 4 + 16}
    body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [], "usage": usage})
    return {
        "match": {"prefix": "/", "headers": [{"name": SIZE_HEADER, "string_match": {"exact": str(size)}}]},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _filter(name: str, type_name: str, **config: object) -> dict[str, object]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{_TYPES}.filters.http.{type_name}", **config},
    }


def _socket(address: Address) -> dict[str, object]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}
