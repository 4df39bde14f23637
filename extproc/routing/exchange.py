"""One HTTP request and its response as a state machine; knows the phases Envoy reports, not how they are encoded.

Each event returns a `Reply`; `close` ends the exchange in any state, and completes its decision exactly once. A stream
may begin mid-way (Envoy's local replies), end anywhere (the client left), or repeat its last chunk: all are ordinary.

    START ── headers ──▶ AWAIT_BODY ── body ──▶ AWAIT_RESPONSE ── headers ──▶ READING ── end ──▶ DONE
          └─ decided by the headers alone, or the answer is not wanted ─────────────────────▶ DONE
"""

from enum import Enum, IntEnum, StrEnum, auto

import msgspec

from extproc.routing.policy import MAX_PLAUSIBLE_BYTES_PER_TOKEN
from extproc.routing.refusal import Refusal, RefusalReader, may_refuse
from extproc.routing.request import flawed, is_inference, read_request
from extproc.routing.response import ReadOutcome, UsageReader, readable
from extproc.routing.router import Router
from extproc.routing.values import Correction, Decision, Flaw, Pool


class Action(IntEnum):
    """What Envoy should do next."""

    PASS = auto()
    """Go on, nothing to change."""
    ASK_BODY = auto()
    """Go on to the request body and show it whole."""
    ROUTE = auto()
    """Set the decision's headers and choose the route anew."""
    READ_WHOLE = auto()
    """Show the response body whole: it is small, and framed by its length."""
    READ_STREAM = auto()
    """Show the response body chunk by chunk as it passes."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to one event."""

    action: Action
    decision: Decision | None = None
    """What to route by, with `Action.ROUTE`."""
    last: bool = False
    """Nothing more is wanted: the stream to Envoy may end."""


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """What request headers say, as far as it matters here."""

    method: str = ""
    path: str = ""
    content_length: int = 0
    """0 where the client declares none."""
    content_encoding: str = ""


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """What response headers say, as far as it matters here."""

    status: int = 0
    content_type: str = ""
    content_encoding: str = ""
    attempts: int = 1
    """Instances Envoy asked until it had this response; a second one is of the long pool."""
    served: Pool | None = None
    """Whose instance was asked last; None where Envoy does not say."""
    orca: str = ""
    """What the instance says of its load (`endpoint-load-metrics`), unread."""


class Undecided(StrEnum):
    """Why an exchange ended without a decision; Envoy took the default route, which is the long pool."""

    BEGAN_MIDWAY = "began_midway"
    """Its request headers were never shown to us: one of Envoy's local replies."""
    ENDED_EARLY = "ended_early"
    """It ended between its headers and its decision: the client left, or we failed."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an exchange came to."""

    decision: Decision | None
    """None where the stream ended before there was one."""
    correction: Correction | None
    read: ReadOutcome | None
    """How reading the answer went; None where it was not read."""
    undecided: Undecided | None = None
    """Set where there is no decision."""
    status: int = 0
    """Of the response, where its headers were seen."""
    escalated: bool = False
    """Whether the long pool answered in the short one's place, as far as it was seen."""
    refusal: Refusal | None = None
    """Why the response is an error, where one was read."""
    shadow: bool = False
    """The decision was recorded, and not followed."""
    orca: str = ""
    """What the instance that answered says of its load, unread."""


class _State(Enum):
    START = auto()
    AWAIT_BODY = auto()
    AWAIT_RESPONSE = auto()
    READING = auto()
    DONE = auto()


_PASS = Reply(Action.PASS)
LEAVE = Reply(Action.PASS, last=True)
"""Go on without us."""
_ASK_BODY = Reply(Action.ASK_BODY)
_READ_WHOLE = Reply(Action.READ_WHOLE)
_READ_STREAM = Reply(Action.READ_STREAM)
_HTTP_OK = 200
_UNSEEN = ResponseHead()


class Exchange:
    """Turns events into replies. One per stream; not thread-safe."""

    __slots__ = (
        "_closed", "_decision", "_draw", "_path", "_reader", "_refusal", "_response", "_router", "_shadow", "_state",
    )  # fmt: skip

    def __init__(self, router: Router, *, draw: float, shadow: bool = False) -> None:
        """An exchange of which nothing was seen yet.

        Args:
            router: who decides.
            draw: uniform in [0, 1), by which it is decided whether the answer is read.
            shadow: the decision is not followed, so that the answer comes from wherever it came from before.
        """
        self._router = router
        self._draw = draw
        self._shadow = shadow
        self._path = ""
        self._state = _State.START
        self._decision: Decision | None = None
        self._reader: UsageReader | None = None
        self._refusal: RefusalReader | None = None
        self._response = _UNSEEN
        self._closed: Outcome | None = None

    def request_headers(self, head: RequestHead, *, end_of_stream: bool) -> Reply:
        """The request's headers came: decide by them, or ask for the body."""
        if self._state is not _State.START:
            return self._pass()
        if end_of_stream or not is_inference(head.method, head.path):
            return self._route(self._router.route(flawed(Flaw.NOT_INFERENCE), draw=self._draw))
        if head.content_encoding not in ("", "identity"):
            return self._route(self._router.route(flawed(Flaw.COMPRESSED), draw=self._draw))
        if head.content_length > MAX_PLAUSIBLE_BYTES_PER_TOKEN * self._router.most_short_tokens:
            return self._route(self._router.route_oversized())
        self._path = head.path
        self._state = _State.AWAIT_BODY
        return _ASK_BODY

    def request_body(self, body: bytes, *, end_of_stream: bool) -> Reply:
        """The body came, or its beginning where Envoy's buffer was too small for it: decide."""
        if self._state is not _State.AWAIT_BODY:
            return self._pass()
        if not end_of_stream:
            return self._route(self._router.route(flawed(Flaw.BODY_INCOMPLETE), draw=self._draw))
        if len(body) > MAX_PLAUSIBLE_BYTES_PER_TOKEN * self._router.most_short_tokens:
            return self._route(self._router.route_oversized())
        return self._route(self._router.route(read_request(self._path, body), draw=self._draw))

    def response_headers(self, head: ResponseHead, *, end_of_stream: bool) -> Reply:
        """The response's headers came: read on if the answer can teach. Of errors only refusals for length do."""
        if self._state is not _State.AWAIT_RESPONSE:
            return self._done()
        self._response = head
        if end_of_stream or head.status != _HTTP_OK:
            return self._error(head, end_of_stream=end_of_stream)
        if not readable(head.content_type, head.content_encoding):
            return self._done()
        self._reader = UsageReader(content_type=head.content_type, content_encoding=head.content_encoding)
        self._state = _State.READING
        return _READ_STREAM if head.content_type.startswith("text/event-stream") else _READ_WHOLE

    def response_body(self, chunk: bytes, *, end_of_stream: bool) -> Reply:
        """A piece of the response came."""
        reader = self._reader or self._refusal
        if self._state is not _State.READING or reader is None:
            return self._pass()
        reader.feed(chunk)
        return self._done() if end_of_stream else _PASS

    def trailers(self) -> Reply:
        """Trailers came, of the request or the response: they say nothing to us, but end the response if it is read."""
        return self._done() if self._state is _State.READING else self._pass()

    @property
    def teaches(self) -> bool:
        """Whether something of its answer was read."""
        return self._reader is not None or self._refusal is not None

    def lose(self) -> None:
        """The reply could not be given, so that Envoy goes on alone: nothing has been decided."""
        decision, self._decision = self._decision, None
        self._path = self._path or "/"  # something was seen of the request
        if decision is not None:
            self._router.complete(decision, None)

    def close(self) -> Outcome:
        """The stream ended, however it did. Completes the decision the first time; says the same again after."""
        if self._closed is None:
            self._closed = self._complete()
            self._state = _State.DONE
        return self._closed

    def _complete(self) -> Outcome:
        decision, reader = self._decision, self._reader
        if decision is None:
            undecided = Undecided.ENDED_EARLY if self._path else Undecided.BEGAN_MIDWAY
            return Outcome(None, None, None, undecided, shadow=self._shadow)
        usage = None if reader is None else reader.finish()
        refusal = None if self._refusal is None else self._refusal.finish()
        correction = self._router.complete(
            decision, usage, elsewhere=self._elsewhere(decision), refused=refusal is Refusal.CONTEXT_LENGTH
        )
        read = None if reader is None else reader.outcome
        response, shadow = self._response, self._shadow
        escalated = decision.pool is Pool.SHORT and not shadow and self._elsewhere(decision)
        return Outcome(decision, correction, read, None, response.status, escalated, refusal, shadow, response.orca)

    def _elsewhere(self, decision: Decision) -> bool:
        """Whether another pool answered than was decided; what Envoy does not say is told by what it does.

        In shadow mode there may be an Envoy that lets instances write any header, and nobody is sent to the short pool.
        """
        response, to_short = self._response, decision.pool is Pool.SHORT
        if self._shadow:
            return to_short
        if response.served is not None:
            return response.served is not decision.pool
        return to_short and response.attempts > 1

    def _error(self, head: ResponseHead, *, end_of_stream: bool) -> Reply:
        """Read on where the short pool may say that the request was too long for it."""
        decision = self._decision
        assert decision is not None
        by_short = decision.pool is Pool.SHORT and not self._elsewhere(decision)
        if not (by_short and may_refuse(head.status)):
            return self._done()
        self._refusal = RefusalReader(head.status)
        if end_of_stream:
            return self._done()
        self._state = _State.READING
        return _READ_WHOLE

    def _route(self, decision: Decision) -> Reply:
        self._decision = decision
        self._state = _State.AWAIT_RESPONSE if decision.observe else _State.DONE
        return Reply(Action.ROUTE, decision, last=not decision.observe)

    def _pass(self) -> Reply:
        """Let an event go by that was not expected. One before the request's headers leaves nothing to decide."""
        return self._done() if self._state in (_State.START, _State.DONE) else _PASS

    def _done(self) -> Reply:
        self._state = _State.DONE
        return LEAVE
