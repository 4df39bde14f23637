"""Starts what a soak runs on: the service with everything on, between an Envoy that asks it and one that answers.

The readings of the pools come and go, so that requests spill and the threshold moves; here, too, nobody measures.
"""

import contextlib
import json
import math
import os
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from extproc.bench.stage import answering
from extproc.bench.traffic import KIND_HEADER, KINDS
from extproc.demo.processes import LOOPBACK, Child, child, envoy, free_ports
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions

_BYTES_PER_TOKEN = 4.45
"""As prose has."""
_SWING_S = 60.0
"""In which each pool is full once and calm once."""


class Sample(NamedTuple):
    """The service at one moment."""

    at_s: float
    """Since the load began."""
    answered: int
    """Requests, since then."""
    rss_bytes: int
    streams: float
    observing: float
    internal_errors: float
    errors_logged: int


class Pressed(BaseHTTPRequestHandler):
    """What an instance says of itself: its pool is full for a minute, calm for the next, and the other one in turn."""

    def do_GET(self) -> None:
        """Answer `/metrics` and `/v1/models` as vLLM does."""
        now_s = time.monotonic()
        short = self.path.startswith("/short")
        swing = math.sin(2 * math.pi * (now_s / _SWING_S + 0.5 * short))
        waiting, tokens = max(0, round(12 * swing)), int(1000 * now_s)
        metrics = (
            f"vllm:num_requests_running {20 + round(10 * swing)}\nvllm:num_requests_waiting {waiting}\n"
            f"vllm:kv_cache_usage_perc {0.5 + 0.49 * swing:.3f}\nvllm:num_preemptions_total 7\n"
            f"vllm:generation_tokens_total {tokens}\nvllm:prompt_tokens_total {tokens}\n"
        )
        models = {"data": [{"id": "model-soak", "max_model_len": 16_384 if short else 131_072}]}
        body = (metrics if self.path.endswith("/metrics") else json.dumps(models)).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


_WELL = {"match": {"path": "/health"}, "direct_response": {"status": 200}}


def upstream_yaml(listen: Address) -> str:
    """An Envoy that takes the whole body and answers at once with a usage fit for its kind."""
    return answering(listen, [_WELL, *map(_route, KINDS)])


def _route(kind: str) -> dict[str, object]:
    tokens = round(KINDS[kind].text_bytes / _BYTES_PER_TOKEN)
    usage = {"prompt_tokens": tokens, "completion_tokens": 60, "total_tokens": tokens + 60}
    body = json.dumps({"id": "1", "object": "chat.completion", "choices": [], "usage": usage})
    streamed = kind.endswith("stream")
    if streamed:
        body = f"data: {body}\n\ndata: [DONE]\n\n"
    content_type = {"key": "content-type", "value": "text/event-stream" if streamed else "application/json"}
    return {
        "match": {"prefix": "/", "headers": [{"name": KIND_HEADER, "string_match": {"exact": kind}}]},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
        "response_headers_to_add": [{"header": content_type, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


@dataclass(frozen=True, slots=True)
class SoakStage:
    """What is running."""

    door: tuple[str, int]
    service: Child
    metrics_url: str

    def totals(self) -> Mapping[str, float]:
        """Every metric, summed over its labels, and decisions by reason."""
        with urllib.request.urlopen(self.metrics_url, timeout=30.0) as page:  # noqa: S310 - a URL of our own
            families = list(text_string_to_metric_families(page.read().decode()))
        sums: defaultdict[str, float] = defaultdict(float)
        for sample in (sample for family in families for sample in family.samples):
            sums[sample.name] += sample.value
            sums[sample.labels.get("reason", "")] += sample.value
        return sums

    def sample(self, at_s: float, answered: int) -> Sample:
        """The service as it is now."""
        rss_bytes = psutil.Process(self.service.pid).memory_info().rss
        values = self.totals()
        lines = self.service.log.read_text(errors="replace").splitlines()
        return Sample(
            at_s,
            answered,
            rss_bytes,
            streams=values["dualpool_streams"],
            observing=values["dualpool_observing"],
            internal_errors=values["dualpool_internal_errors_total"],
            errors_logged=sum(map(is_error, lines)),
        )


def is_error(line: str) -> bool:
    """Whether a line of the service's log is an error; what is no record of the log is one, too."""
    try:
        return json.loads(line)["level"] not in ("debug", "info", "warning")
    except (ValueError, KeyError, TypeError):
        return True


@contextlib.contextmanager
def soak_stage(binary: Path, folder: Path) -> Iterator[SoakStage]:
    """Everything but the load, for as long as the block lasts; `folder` gets files."""
    listen, admin, grpc, metrics, upstream = (Address(LOOPBACK, port) for port in free_ports(5))
    pools = ThreadingHTTPServer((LOOPBACK, 0), Pressed)
    Thread(target=pools.serve_forever, daemon=True).start()
    config = folder / "dualpool.yaml"
    config.write_text(yaml.safe_dump(_settings(folder, grpc, metrics, pools.server_address[1])))
    options = EnvoyOptions(listen=listen, admin=admin, extproc=(grpc,), short=(upstream,), long=(upstream,))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DUALPOOL_")}
    command = [sys.executable, "-m", "extproc", "serve", "--config", str(config)]
    metrics_url = f"http://{metrics}/metrics"
    with contextlib.ExitStack() as stack:
        stack.callback(pools.server_close)
        stack.callback(pools.shutdown)
        stack.enter_context(envoy(binary, upstream_yaml(upstream), concurrency=1))
        service = stack.enter_context(child("service", command, answers_at=metrics_url, environment=bare))
        stack.enter_context(envoy(binary, bootstrap_yaml(options), concurrency=1))
        yield SoakStage((listen.host, listen.port), service, metrics_url)


def _settings(folder: Path, grpc: Address, metrics: Address, pools: int) -> dict[str, object]:
    return {
        "listen": str(grpc),
        "metrics_listen": str(metrics),
        "short_pool": f"http://{LOOPBACK}:{pools}/short",
        "long_pool": f"http://{LOOPBACK}:{pools}/long",
        "adaptive_threshold": True,
        "access_log": str(folder / "access.jsonl"),
        "access_log_max_mb": 16.0,
        "state_file": str(folder / "state.json"),
        "state_save_s": 10.0,
        "log_format": "json",
    }
