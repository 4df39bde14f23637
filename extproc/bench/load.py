"""A closed-loop HTTP/1.1 load generator that costs little beside what it measures; knows no router.

Requests are written as prepared bytes; of a response only its status and its length are looked at.
"""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests came to."""

    requests: int
    failed: int
    elapsed_s: float
    latencies_s: tuple[float, ...]
    """Sorted."""

    @property
    def requests_per_s(self) -> float:
        """Throughput of the whole run."""
        return self.requests / self.elapsed_s

    def quantile_s(self, share: float) -> float:
        """The latency that `share` of the requests stay within."""
        return self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))]


def post(path: str, body: bytes, **headers: str) -> bytes:
    """An HTTP/1.1 request as bytes; underscores in header names stand for dashes."""
    lines = [f"POST {path} HTTP/1.1", "host: bench", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run(address: tuple[str, int], request: bytes, *, requests: int, connections: int) -> Load:
    """Send one request again and again over several connections, each waiting for its answer.

    Raises:
        OSError: a connection was refused or broke.
    """
    share, rest = divmod(requests, connections)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_drive(address, request, share + (index < rest))) for index in range(connections)]
    elapsed_s = time.perf_counter() - started
    latencies = sorted(latency for task in tasks for latency, _ in task.result())
    failed = sum(not ok for task in tasks for _, ok in task.result())
    return Load(len(latencies), failed, elapsed_s, tuple(latencies))


async def _drive(address: tuple[str, int], request: bytes, count: int) -> list[tuple[float, bool]]:
    reader, writer = await asyncio.open_connection(*address)
    results = []
    for _ in range(count):
        started = time.perf_counter()
        writer.write(request)
        ok = await _read_answer(reader)
        results.append((time.perf_counter() - started, ok))
    writer.close()
    await writer.wait_closed()
    return results


async def _read_answer(reader: asyncio.StreamReader) -> bool:
    """Whether one answer with a declared length came with status 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return head.startswith(b"HTTP/1.1 200")
