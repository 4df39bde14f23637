"""Runs every side at every body size, in turns, and reports medians; knows the sides only by their doors.

The sides take turns within each round, so that whatever else the machine does falls on all of them alike.
"""

import asyncio
import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import psutil

from extproc.bench import load
from extproc.bench.stage import SIZE_HEADER, Side
from extproc.demo.processes import Child

KIB = 1024
BODY_SIZES = (KIB, 16 * KIB, 128 * KIB, 200 * KIB, 1024 * KIB)
"""128 KiB is about the largest body that is read; the two above it are routed by their content-length alone."""
WATCHED_SIZES = (KIB, 16 * KIB)
"""At which the cost of telemetry is looked for: the same at any size, and seen best where the rest costs little."""
CONNECTIONS = 4
_WORD = "words that mean little but weigh like prose, "
_PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure."""

    rounds: int
    bytes_per_run: int
    """Body bytes sent in one run; bounds the runs of large bodies."""
    max_requests_per_run: int
    warm_up_requests: int
    """Sent before measuring at each size and side, so that the service has learned what it will."""

    def requests(self, body_bytes: int) -> int:
        """Requests of one run."""
        return max(50, min(self.max_requests_per_run, self.bytes_per_run // body_bytes))


FULL = Plan(rounds=5, bytes_per_run=300 * KIB * KIB, max_requests_per_run=3000, warm_up_requests=600)
WATCHED = Plan(rounds=15, bytes_per_run=40 * KIB * KIB, max_requests_per_run=1000, warm_up_requests=600)
"""Many short rounds: the difference looked for is smaller than what a shared machine does between two of them."""
QUICK = Plan(rounds=3, bytes_per_run=40 * KIB * KIB, max_requests_per_run=400, warm_up_requests=600)


@dataclass(frozen=True, slots=True)
class Run:
    """One side at one body size, once."""

    side: str
    body_bytes: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    envoy_cpu_us: float
    """Processor time of Envoy for one request."""
    processor_cpu_us: float
    """Processor time of the external processor for one request; 0 where there is none."""
    failed: int


def measure(sides: Iterable[Side], plan: Plan, body_sizes: Iterable[int] = BODY_SIZES) -> Iterator[Run]:
    """Every run, as it ends."""
    sides = list(sides)
    for body_bytes in body_sizes:
        request = request_of(body_bytes)
        for side in sides:
            _drive(side, request, plan.warm_up_requests)
        for number in range(plan.rounds):
            # There and back, so that no side always follows the same one.
            turns = reversed(sides) if number % 2 else sides
            yield from (_run(side, request, body_bytes, plan.requests(body_bytes)) for side in turns)


def medians(runs: Iterable[Run]) -> list[Run]:
    """One run for each side and size: the median of each figure, the sum of failures."""
    groups: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.body_bytes, run.side), []).append(run)
    return [_median(group) for group in groups.values()]


def request_of(body_bytes: int) -> bytes:
    """A chat of that many bytes. Each size names a model of its own, so that each learns its own ratio."""
    empty = json.dumps(_chat(body_bytes, ""))
    text = (_WORD * (body_bytes // len(_WORD) + 1))[: body_bytes - len(empty)]
    headers = {SIZE_HEADER.replace("-", "_"): str(body_bytes)}
    return load.post(_PATH, json.dumps(_chat(body_bytes, text)).encode(), **headers)


def _chat(body_bytes: int, text: str) -> dict[str, object]:
    return {"model": f"bench-{body_bytes}", "max_tokens": 64, "messages": [{"role": "user", "content": text}]}


def _run(side: Side, request: bytes, body_bytes: int, requests: int) -> Run:
    envoy_s, processor_s = cpu_s(side.envoy), cpu_s(side.processor)
    result = _drive(side, request, requests)
    return Run(
        side=side.name,
        body_bytes=body_bytes,
        requests_per_s=result.requests_per_s,
        p50_ms=1e3 * result.quantile_s(0.5),
        p99_ms=1e3 * result.quantile_s(0.99),
        envoy_cpu_us=1e6 * (cpu_s(side.envoy) - envoy_s) / requests,
        processor_cpu_us=1e6 * (cpu_s(side.processor) - processor_s) / requests,
        failed=result.failed,
    )


def _drive(side: Side, request: bytes, requests: int) -> load.Load:
    return asyncio.run(load.run(side.address, request, requests=requests, connections=CONNECTIONS))


def cpu_s(process: Child | None) -> float:
    """Processor time a child has used, user and system; 0 for none."""
    if process is None:
        return 0.0
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def _median(group: list[Run]) -> Run:
    rows = [asdict(run) for run in group]
    names = ("requests_per_s", "p50_ms", "p99_ms", "envoy_cpu_us", "processor_cpu_us")
    figures = {name: statistics.median(row[name] for row in rows) for name in names}
    return Run(group[0].side, group[0].body_bytes, **figures, failed=sum(run.failed for run in group))
