from collections.abc import Iterable

from starlette.types import Message, Receive

from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.faults import NO_FAULTS
from extproc.mockvllm.inlet import BIG_BODY_BYTES, FAULTS, faults_of, header, parse, read_body


def channel(messages: Iterable[Message]) -> Receive:
    """A channel that yields these messages."""
    remaining = iter(messages)

    async def receive() -> Message:
        return next(remaining)

    return receive


async def test_a_body_is_read_to_its_end() -> None:
    """However it is cut, it comes out whole."""
    parts: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in (b"a", b"", b"bc")]
    assert await read_body(channel([*parts, {"type": "http.request"}])) == b"abc"


async def test_a_client_that_leaves_mid_body_gives_none() -> None:
    """Half a body is no body."""
    parts: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    assert await read_body(channel(parts)) is None


async def test_only_json_is_parsed() -> None:
    """Parameters of the content type do not matter, other types are 400."""
    scope = {"headers": [(b"content-type", b"Application/JSON; charset=utf-8")]}
    assert await parse(scope, b"12", int) == 12
    assert await parse(scope, b"1" * (BIG_BODY_BYTES + 1), len) == BIG_BODY_BYTES + 1
    refusal = await parse({"headers": [(b"content-type", b"text/plain")]}, b"12", int)
    assert isinstance(refusal, Refusal)
    assert "Only 'application/json' is allowed" in refusal.message


def test_headers_and_faults_have_defaults() -> None:
    """A missing header is empty, and a request without faults has none."""
    assert header({"headers": [(b"a", b"1")]}, b"a") == b"1"
    assert header({"headers": []}, b"a") == b""
    assert faults_of({}) is NO_FAULTS
    assert faults_of({FAULTS: NO_FAULTS}) is NO_FAULTS
