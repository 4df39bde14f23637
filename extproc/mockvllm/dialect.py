"""What a route must be able to say; each implementation is one of vLLM's generating routes."""

from typing import Any, Protocol

from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.reply import Delta, Reply
from extproc.mockvllm.settings import Version
from extproc.mockvllm.work import Work


class Dialect(Protocol):
    """The wire form of one route. Pure: values in, values or bytes out."""

    def read(self, body: bytes) -> Work | Refusal:
        """Parse and count; may take long for a long body, and runs in any thread."""
        ...

    def refused(self, refusal: Refusal, version: Version) -> dict[str, Any]:
        """The error body of this route."""
        ...

    def answer(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one JSON value."""
        ...

    def opening(self, reply: Reply) -> list[bytes]:
        """Events before any text."""
        ...

    def delta(self, reply: Reply, delta: Delta) -> bytes:
        """The event for new text."""
        ...

    def closing(self, reply: Reply) -> list[bytes]:
        """Events after all text."""
        ...
