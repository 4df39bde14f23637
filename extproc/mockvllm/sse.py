"""How server-sent events are written; bytes out, no socket."""

from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = msgspec.json.Encoder().encode

_CUTS = (1, 700, 13, 256, 2)
"""Bytes of successive pieces: some shorter than a field name, some longer than two events."""


def data(value: Any) -> bytes:
    """An event of OpenAI's kind: data alone."""
    return b"data: " + _encode(value) + b"\n\n"


def typed(name: str, value: Any) -> bytes:
    """An event with a type."""
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"


def pieces(text: bytes) -> list[bytes]:
    """Cut bytes anywhere, so that events lie across the cuts and several lie between two."""
    cut: list[bytes] = []
    start = 0
    while start < len(text):
        length = _CUTS[len(cut) % len(_CUTS)]
        cut.append(text[start : start + length])
        start += length
    return cut
