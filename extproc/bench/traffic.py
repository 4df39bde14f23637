"""Requests of many kinds over a few connections, as fast as they are answered or at a rate; knows no service.

Every prompt is new, and about one model name in fifty; about one client in a hundred leaves without its answer.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

CONNECTIONS: Final = 8
KIND_HEADER: Final = "x-soak-kind"
"""Tells the upstream which answer to give."""
_PATH = "/v1/chat/completions"
_PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
_LATE_S, _LATEST_S = 1.0, 2.0
"""From which a request counts as late, and after which what was not sent is left out."""
_LEAVES_EVERY, _NEW_MODEL_EVERY = 101, 51
"""Requests; no divisor in common with the length of the mix, so that every kind has its turn."""


@dataclass
class Traffic:
    """Requests over a few connections, as fast as they are answered or at a rate."""

    door: tuple[str, int]
    answered: Counter[str] = field(default_factory=Counter)
    """By kind."""
    failed: int = 0
    """Answers that were not what the kind gets."""
    late: int = 0
    """Requests that began more than a second after they were due."""
    per_s: float = 0.0
    """0 for as fast as they are answered."""
    over: bool = False
    _sent: int = 0

    async def run(self) -> None:
        """Until it is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._drive())

    async def _drive(self) -> None:
        reader, writer = await asyncio.open_connection(*self.door)
        due_s = time.monotonic()
        while not self.over:
            due_s = await self._when_due(due_s)
            self._sent += 1
            kind = MIX[self._sent % len(MIX)]
            writer.write(KINDS[kind].request(self._sent))
            if self._sent % _LEAVES_EVERY:
                self._judge(kind, await _answer(reader))
            else:
                writer.close()
                reader, writer = await asyncio.open_connection(*self.door)
        writer.close()

    async def _when_due(self, due_s: float) -> float:
        if not self.per_s:
            return due_s
        now_s = time.monotonic()
        due_s = max(due_s + CONNECTIONS / self.per_s, now_s - _LATEST_S)
        self.late += now_s - due_s > _LATE_S
        await asyncio.sleep(max(0.0, due_s - now_s))
        return due_s

    def _judge(self, kind: str, head: bytes) -> None:
        self.answered[kind] += 1
        self.failed += not head.startswith(b"HTTP/1.1 200")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The head of an answer whose body has come, too."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
    return head


class Kind:
    """Requests that differ in a number within their text, and now and then in the model's name."""

    def __init__(self, name: str, body_bytes: int, **fields: object) -> None:
        text = "#" * 10 + " " + (_PROSE * (body_bytes // len(_PROSE) + 1))[:body_bytes]
        self.text_bytes = len(text)
        body = {"model": "%" * 10, "messages": [{"role": "user", "content": text}], **fields}
        self._body = json.dumps(body).encode()
        head = f"POST {_PATH} HTTP/1.1\r\nhost: soak\r\n{KIND_HEADER}: {name}\r\ncontent-type: application/json\r\n"
        self._head = f"{head}content-length: {len(self._body)}\r\n\r\n".encode()

    def request(self, number: int) -> bytes:
        """The bytes of one."""
        model = b"model-soak" if number % _NEW_MODEL_EVERY else b"other%05d" % (number // _NEW_MODEL_EVERY % 100_000)
        return self._head + self._body.replace(b"%" * 10, model, 1).replace(b"#" * 10, b"%010d" % number, 1)


_STREAM: dict[str, object] = {"stream": True, "stream_options": {"include_usage": True}}
KINDS = {
    "note": Kind("note", 800, max_tokens=64),
    "note-stream": Kind("note-stream", 800, max_tokens=64, **_STREAM),
    "open": Kind("open", 2_000),
    "page": Kind("page", 16_000, max_tokens=256),
    "page-stream": Kind("page-stream", 24_000, max_tokens=256, **_STREAM),
    "chapter": Kind("chapter", 60_000, max_tokens=256),
    "book": Kind("book", 300_000, max_tokens=256),
    "essay": Kind("essay", 1_000, max_tokens=20_000),
}
MIX = (
    *("note", "note-stream", "open", "page", "note-stream", "note", "page-stream", "note", "essay", "note-stream"),
    *("note", "note-stream", "open", "page", "chapter", "note", "page-stream", "note", "note-stream", "book"),
)
