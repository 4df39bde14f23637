"""The soak's load sends what it says, again and again, and counts what comes back."""

import asyncio

import pytest

from extproc.bench.traffic import CONNECTIONS, KINDS, MIX, Traffic


@pytest.mark.parametrize("kind", KINDS)
def test_requests_differ_and_say_their_length(kind: str) -> None:
    """No two prompts are the same, one model in fifty-one is new, and the length holds for each."""
    requests = [KINDS[kind].request(number) for number in range(1, 205)]
    assert len(set(requests)) == 204
    assert sum(b'"model-soak"' in request for request in requests) == 200
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head


def test_every_kind_is_in_the_mix() -> None:
    """None is written for nothing."""
    assert set(MIX) == set(KINDS)


@pytest.mark.parametrize(("status", "failed"), [(b"200 OK", False), (b"503 No", True)])
async def test_clients_go_on_until_they_are_told(status: bytes, failed: bool) -> None:  # noqa: FBT001 - a parameter
    """Those that left have no answer; of the others other statuses than 200 are failures."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read(reader):
            heads.append(head)
            traffic.over = len(heads) >= 250
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def read(reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"content-length: ")[2]))
        except asyncio.IncompleteReadError:
            return b""
        return head

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        traffic = Traffic(server.sockets[0].getsockname())
        await traffic.run()
    answered = traffic.answered.total()
    assert 240 < answered <= 250 + CONNECTIONS
    assert set(traffic.answered) <= set(KINDS)
    assert traffic.failed == (answered if failed else 0)
    assert traffic.late == 0
