"""Reads why the short pool refused a request; knows vLLM's words for it, never the numbers in them.

vLLM counts a prompt that is too long only up to its limit, so that the number it names may be a lower bound.
"""

from enum import StrEnum

BYTES_MAX = 16 * 1024
"""Of an error that are kept: vLLM's fit in 1 KiB, but for the names of a client's own fields."""
_BAD_REQUEST, _UNAVAILABLE = 400, 503
_OF_LENGTH = (
    b"maximum context length",
    b"maximum input length",
    b"maximum model length",
    b"cannot be greater than max_model_len",
)
"""In every message of vLLM 0.6 to 0.33 about a prompt, an output or both that do not fit."""


class Refusal(StrEnum):
    """Why an instance answered with an error before it began to generate."""

    CONTEXT_LENGTH = "context_length"
    """The request does not fit its context."""
    BUSY = "busy"
    """Its queue is full, or nothing takes requests there."""
    OTHER = "other"
    """The client's own mistake, as it would be in any pool."""


def may_refuse(status: int) -> bool:
    """Whether a response with this status is worth reading."""
    return status in (_BAD_REQUEST, _UNAVAILABLE)


class RefusalReader:
    """Reads one error. Memory is bounded."""

    __slots__ = ("_body", "_status")

    def __init__(self, status: int) -> None:
        self._status = status
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; never raises."""
        self._body += chunk[: BYTES_MAX - len(self._body)]

    def finish(self) -> Refusal:
        """What it was."""
        if self._status == _UNAVAILABLE:
            return Refusal.BUSY
        return Refusal.CONTEXT_LENGTH if any(mark in self._body for mark in _OF_LENGTH) else Refusal.OTHER
