"""What the mock refuses and how vLLM words the body; knows release differences in error bodies, not when they apply."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from extproc.mockvllm.settings import Version

NESTED_BODY_SINCE: Version = (0, 10)
"""Error bodies read up to 0.9.2 are flat, those from 0.10.2 on are nested in `error`."""

_KINDS = {
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalServerError",
    HTTPStatus.SERVICE_UNAVAILABLE: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not served, as a value: what went wrong is the client's to know."""

    status: int
    message: str
    param: str | None = None
    kind: str | None = None
    """vLLM's error type; None takes the usual one of the status."""

    def body(self, version: Version) -> dict[str, Any]:
        """The JSON body as that release sends it; `code` is an integer, not OpenAI's string."""
        error = {"message": self.message, "type": self._type, "param": self.param, "code": self.status}
        if version >= NESTED_BODY_SINCE:
            return {"error": error}
        return {"object": "error", **error}

    def anthropic_body(self) -> dict[str, Any]:
        """The same for /v1/messages."""
        return {"type": "error", "error": {"type": self._type, "message": self.message}}

    @property
    def _type(self) -> str:
        if self.kind is not None:
            return self.kind
        status = HTTPStatus(self.status) if self.status in set(HTTPStatus) else HTTPStatus.INTERNAL_SERVER_ERROR
        return _KINDS.get(status, status.phrase)


def bad_request(message: str, param: str | None = None) -> Refusal:
    """A request that is well-formed and cannot be served."""
    return Refusal(HTTPStatus.BAD_REQUEST, message, param)


def malformed(problems: list[str], param: str | None = None) -> Refusal:
    """A body of the wrong shape, worded as FastAPI words it."""
    message = "\n  ".join([f"{len(problems)} validation errors:", *problems])
    return Refusal(HTTPStatus.BAD_REQUEST, message, param, HTTPStatus.BAD_REQUEST.phrase)


def unknown_model(model: str) -> Refusal:
    """A model that this instance does not serve."""
    return Refusal(HTTPStatus.NOT_FOUND, f"The model `{model}` does not exist.", "model")


QUEUE_FULL = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
)
"""--max-num-queued-reqs is reached."""

BACKLOG_FULL = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The engine has reached its prefill token backlog limit. Please try again later or on a different instance.",
)
"""--max-num-queued-tokens is reached."""

FAULT = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error")
"""What a request gets whose generation was told to fail."""
