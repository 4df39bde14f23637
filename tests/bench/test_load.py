"""The load generator sends what it says and measures what comes back."""

import asyncio

import pytest

from extproc.bench.load import Load, post, run


def test_a_request_is_framed_by_its_length() -> None:
    """Headers, a blank line, the body."""
    head, _, body = post("/v1/x", b'{"a": 1}', x_bench_bytes="8").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"content-length: 8" in head
    assert b"x-bench-bytes: 8" in head
    assert body == b'{"a": 1}'


@pytest.mark.parametrize(("status", "failed"), [(b"200 OK", 0), (b"503 No", 7)])
async def test_each_request_is_answered_and_timed(status: bytes, failed: int) -> None:
    """Seven requests over three connections give seven latencies; other statuses than 200 are failures."""
    request, seen = post("/", b"body"), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(len(request)):
            seen.append(1)
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        result = await run(server.sockets[0].getsockname(), request, requests=7, connections=3)
    assert (len(seen), result.requests, result.failed) == (7, 7, failed)
    assert len(result.latencies_s) == 7
    assert result.requests_per_s > 0


def test_quantiles_are_of_the_sorted_latencies() -> None:
    """The median and the last."""
    result = Load(4, 0, 2.0, (1.0, 2.0, 3.0, 4.0))
    assert (result.quantile_s(0.5), result.quantile_s(0.99), result.requests_per_s) == (3.0, 4.0, 2.0)
