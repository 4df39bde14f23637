"""One question over real HTTP: a good answer comes whole, a bad one in no time and with its kind."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from extproc.mockvllm.settings import MockSettings
from extproc.pools.ask import BODY_MAX_BYTES, PIECE_BYTES, Asker, AskError, PollOutcome
from extproc.pools.urls import Address, parse_address
from tests.pools.servers import Mock, Replier, Serve, free_port, http


class Kept:
    """Keeps what it is fed."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        self.pieces.append(piece)

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)


async def ask(address: Address, path: str = "/metrics", *, within_s: float = 5.0) -> Kept:
    """The answer, whole."""
    kept = Kept()
    await Asker().get(address, path, kept, accept="text/plain", within_s=within_s)
    return kept


async def failed(address: Address, *, within_s: float = 5.0) -> AskError:
    """How a question failed."""
    with pytest.raises(AskError) as raised:
        await ask(address, within_s=within_s)
    return raised.value


@pytest.mark.parametrize("version", ["0.6.6", "0.33.0"])
async def test_a_real_server_answers(mock: Mock, version: str) -> None:
    """The mock's metrics and models come as it sends them."""
    address = mock(MockSettings(vllm_version=version, speed=0))
    assert b"vllm:num_requests_running{" in (await ask(address)).body
    assert b'"max_model_len":131072' in (await ask(address, "/v1/models")).body


async def test_the_question_is_modest(serve: Serve) -> None:
    """It asks for plain text, once, names itself and sends nothing secret."""
    replier = Replier(metrics=http(b"a 1\n"))
    address = await serve(replier.talk)
    assert (await ask(parse_address(f"{address}/short/"))).body == b"a 1\n"
    (head,) = replier.asked
    lines = dict(line.lower().split(": ") for line in head.strip().split("\r\n")[1:])
    assert head.startswith("GET /short/metrics HTTP/1.1\r\n")
    assert lines == {
        "host": address.authority,
        "accept": "text/plain",
        "accept-encoding": "identity",
        "user-agent": "dualpool",
        "connection": "close",
    }


async def test_a_large_answer_comes_in_pieces(serve: Serve) -> None:
    """None is larger than what may be looked at in one go."""
    body = b"x" * 1_000_000
    address = await serve(Replier(metrics=http(body)).talk)
    kept = await ask(address)
    assert kept.body == body
    assert max(map(len, kept.pieces)) <= PIECE_BYTES


async def test_an_answer_without_a_length_ends_with_the_connection(serve: Serve) -> None:
    """As HTTP/1.0 servers send it."""
    address = await serve(Replier(metrics=b"HTTP/1.0 200 OK\r\n\r\na 1\n").talk)
    assert (await ask(address)).body == b"a 1\n"


async def test_hints_before_the_answer_are_passed_over(serve: Serve) -> None:
    """A proxy may send them."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    address = await serve(Replier(metrics=hints + http(b"a 1\n")).talk)
    assert (await ask(address)).body == b"a 1\n"


async def test_chunks_of_one_byte_let_others_in(serve: Serve) -> None:
    """A body of the worst form does not keep the loop to itself: other tasks run between its events."""
    chunked = b"".join(b"1\r\nx\r\n" for _ in range(5000)) + b"0\r\n\r\n"
    address = await serve(Replier(metrics=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked).talk)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(other())
        assert (await ask(address)).body == b"x" * 5000
        task.cancel()
    assert turns > 5000 / 64


@pytest.mark.parametrize(
    ("reply", "outcome", "status"),
    [
        (http(b"Not Found", status="404 Not Found"), PollOutcome.STATUS, 404),
        (http(b'{"error":"Unauthorized"}', status="401 Unauthorized"), PollOutcome.STATUS, 401),
        (http(b"", "location: /elsewhere", status="307 Temporary Redirect"), PollOutcome.STATUS, 307),
        (http(gzip.compress(b"a 1\n"), "content-encoding: gzip"), PollOutcome.ENCODED, 0),
        (http(b"a 1\n")[:-2], PollOutcome.MALFORMED, 0),
        (b"HTTP/1.1 200 OK\r\ncontent-le", PollOutcome.MALFORMED, 0),
        (b"", PollOutcome.MALFORMED, 0),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", PollOutcome.MALFORMED, 0),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n", PollOutcome.MALFORMED, 0),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", PollOutcome.MALFORMED, 0),
        (http(b"x" * (BODY_MAX_BYTES + 1)), PollOutcome.TOO_LARGE, 0),
    ],
    ids=[
        "not found", "no key", "redirect", "gzip", "half a page", "half a head", "nothing", "another protocol",
        "endless head", "bad chunk", "too large",
    ],
)  # fmt: skip
async def test_a_bad_answer_has_its_kind(serve: Serve, reply: bytes, outcome: PollOutcome, status: int) -> None:
    """Nothing else than a whole plain 200 is an answer; redirects are not followed."""
    replier = Replier(metrics=reply)
    error = await failed(await serve(replier.talk))
    assert (error.outcome, error.status) == (outcome, status)
    assert len(replier.asked) == 1


async def test_an_endless_answer_ends_at_its_limit(serve: Serve) -> None:
    """Whoever streams for ever is left."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"a 1\n" * 10_000)
            await writer.drain()

    assert (await failed(await serve(stream))).outcome is PollOutcome.TOO_LARGE


async def test_who_hangs_is_left_in_time(serve: Serve) -> None:
    """Before its head or within its body."""
    assert (await failed(await serve(Replier().talk), within_s=0.05)).outcome is PollOutcome.TIMEOUT
    half = Replier(metrics=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")

    async def keep_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await half.talk(reader, writer)
        await reader.read()

    assert (await failed(await serve(keep_open), within_s=0.2)).outcome is PollOutcome.TIMEOUT


async def test_nobody_there_is_an_outcome_too() -> None:
    """A port without a server, a name without an address, a name that cannot be."""
    with free_port() as address:
        assert (await failed(address)).outcome is PollOutcome.UNREACHABLE
    for name in ("nobody.invalid", "a..b", "x" * 70 + ".y"):
        assert (await failed(Address("http", name, 80, ""))).outcome is PollOutcome.UNREACHABLE


async def test_without_tls_there_is_no_trust(serve: Serve) -> None:
    """A server that speaks no TLS behind an https URL is not reachable."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    address = await serve(plain)
    assert (await failed(Address("https", address.host, address.port, ""))).outcome is PollOutcome.UNREACHABLE


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, public = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = "-subj /CN=vllm -addext subjectAltName=IP:127.0.0.1"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {names} -keyout {key} -out {public}"
    subprocess.run(made.split(), check=True, capture_output=True)
    public.write_text(public.read_text() + key.read_text())
    return public


async def test_tls_needs_a_certificate_that_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server is asked when its certificate is in SSL_CERT_FILE, and not reachable when it is not."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    replier = Replier(metrics=http(b"a 1\n"))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replier.talk(reader, writer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls) as server:
        address = Address("https", "127.0.0.1", server.sockets[0].getsockname()[1], "")
        assert (await failed(address)).outcome is PollOutcome.UNREACHABLE
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (await ask(address)).body == b"a 1\n"


async def test_a_sink_may_refuse(serve: Serve) -> None:
    """What it raises is the outcome, and the connection is closed."""

    class Refusing:
        """Wants nothing."""

        def feed(self, piece: bytes) -> None:
            """Refuse a piece."""
            raise AskError(PollOutcome.MALFORMED)

    address = await serve(Replier(metrics=http(b"a 1\n")).talk)
    with pytest.raises(AskError, match="malformed"):
        await Asker().get(address, "/metrics", Refusing(), accept="text/plain", within_s=5.0)
