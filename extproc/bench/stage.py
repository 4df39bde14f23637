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

import yaml

from extproc.demo.processes import LOOPBACK, Child, child, envoy, free_ports
from extproc.demo.signals import signals_held
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions

_TYPES = "type.googleapis.com/envoy.extensions"
LEARNING_SAMPLES = 300
"""Answers of each size that are all read, within the warm-up, enough to end the doubt about a new model; afterwards
the service's own share."""
SIZE_HEADER = "x-bench-bytes"
"""Tells the upstream which usage to answer with."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way through: where to knock, and whose processor time it costs."""

    name: str
    address: tuple[str, int]
    envoy: Child
    processor: Child | None


@contextlib.contextmanager
def sides(binary: Path, body_sizes: Sequence[int]) -> Iterator[list[Side]]:
    """Envoy alone, Envoy with the floor, Envoy with the service, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        upstream = Address(LOOPBACK, free_ports(1)[0])
        stack.enter_context(envoy(binary, _upstream(upstream, body_sizes), concurrency=1))
        floor = _processor(stack, "floor", [sys.executable, "-m", "extproc.bench.floor"])
        ours = _processor(
            stack, "service", [sys.executable, "-m", "extproc", "serve", "--metrics-listen", "", "--listen"]
        )
        floor_door, _, floor_envoy = _door(stack, binary, floor, upstream)
        our_door, bare_door, our_envoy = _door(stack, binary, ours, upstream)
        yield [
            Side("envoy alone", bare_door, our_envoy, None),
            Side("floor", floor_door, floor_envoy, floor[0]),
            Side("dualpool", our_door, our_envoy, ours[0]),
        ]


def _processor(stack: contextlib.ExitStack, name: str, command: list[str]) -> tuple[Child, Address]:
    """A processor whose last argument is where to listen. The service soon reads as few answers as it does for good."""
    address = Address(LOOPBACK, free_ports(1)[0])
    environment = os.environ | {"DUALPOOL_LEARNING_SAMPLES": str(LEARNING_SAMPLES)}
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
    """An Envoy that waits for the whole body and answers a small JSON with a usage fit for the body's size."""
    routes = [_route(size) for size in body_sizes]
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            _filter("buffer", "buffer.v3.Buffer", max_request_bytes=16 * 2**20),
            _filter("router", "router.v3.Router"),
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "upstream", "address": _socket(listen), "filter_chains": [chain]}
    admin = Address(LOOPBACK, free_ports(1)[0])
    return yaml.safe_dump({"admin": {"address": _socket(admin)}, "static_resources": {"listeners": [listener]}})


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
