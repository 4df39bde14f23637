"""Envoy's messages ↔ the core's events and replies; the only module that touches protobuf, and it decides nothing.

Replies that do not depend on the request are serialised once, at import. Every header mutation overwrites, so a
client's own header of the same name never survives.
"""

import msgspec
from google.protobuf.message import DecodeError

from extproc._proto.core_pb2 import HeaderMap, HeaderValue, HeaderValueOption
from extproc._proto.external_processor_pb2 import (
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from extproc._proto.processing_mode_pb2 import ProcessingMode
from extproc.routing.exchange import LEAVE, Action, Exchange, Reply, RequestHead, ResponseHead
from extproc.routing.headers import (
    BUDGET_HEADER,
    CATEGORY_HEADER,
    DOUBT_HEADER,
    POOL_HEADER,
    PROVENANCE_HEADER,
    REASON_HEADER,
    SERVED_HEADER,
    STAGE_HEADER,
)
from extproc.routing.values import Decision, Pool, Stage

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
"""The gRPC service Envoy calls; also a name its health is asked under."""
METHOD = "Process"


def _mode(
    *, request_body: ProcessingMode.BodySendMode.ValueType, response_body: ProcessingMode.BodySendMode.ValueType
) -> ProcessingMode:
    """The configured mode with one body asked for.

    Envoy ignores an override that is not on its allow-list to the last field: see `extproc.envoyconfig.modes`.
    """
    return ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SEND,
        request_body_mode=request_body,
        response_body_mode=response_body,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    )


ASK_BODY_MODE = _mode(request_body=ProcessingMode.BUFFERED_PARTIAL, response_body=ProcessingMode.NONE)
"""Whole bodies up to Envoy's buffer limit; a longer one passes unharmed by the default route. BUFFERED would answer
413 or hang on it."""
READ_WHOLE_MODE = _mode(request_body=ProcessingMode.NONE, response_body=ProcessingMode.BUFFERED_PARTIAL)
"""JSON: one message, and its content-length stays."""
READ_STREAM_MODE = _mode(request_body=ProcessingMode.NONE, response_body=ProcessingMode.STREAMED)
"""Events: each chunk goes on as soon as it is answered."""
_MODES = {
    Action.ASK_BODY: ASK_BODY_MODE,
    Action.READ_WHOLE: READ_WHOLE_MODE,
    Action.READ_STREAM: READ_STREAM_MODE,
}
_HEADER_PHASES = ("request_headers", "response_headers")
_BODY_PHASES = ("request_body", "response_body")
_REQUEST_PHASES = ("request_headers", "request_body")
_POOLS = {pool.value: pool for pool in Pool}
_TRACEPARENT_CHARS = 64
"""W3C's has 55; what later versions may append says nothing to us."""

parse = ProcessingRequest.FromString


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What one message came to."""

    message: bytes
    """To send; empty for a message of a kind this subset does not know."""
    reply: Reply
    """What it stands for."""
    phase: str = ""
    """The kind of message that was answered."""
    traceparent: str = ""
    """The caller's trace, as request headers name it."""


def answer(exchange: Exchange, raw: bytes, *, explain: bool, shadow: bool = False) -> Answer:
    """Pass one message to the exchange.

    Args:
        exchange: the exchange the message belongs to.
        raw: the message as Envoy sent it.
        explain: set the explaining headers beside the pool header.
        shadow: change nothing of the request, its route included.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    message, traceparent = parse(raw), ""
    phase = message.WhichOneof("request")
    if phase is None:
        return Answer(b"", LEAVE)
    if phase == "request_headers":
        headers, values = message.request_headers, _by_name(message.request_headers.headers)
        traceparent = values.get("traceparent", "")[:_TRACEPARENT_CHARS]
        reply = exchange.request_headers(_request_head(values), end_of_stream=headers.end_of_stream)
    elif phase == "request_body":
        reply = exchange.request_body(message.request_body.body, end_of_stream=message.request_body.end_of_stream)
    else:
        reply = _later_event(exchange, phase, message)
    return Answer(_serialised(phase, reply, explain=explain, shadow=shadow), reply, phase, traceparent)


def passing(raw: bytes) -> bytes:
    """What lets a message's exchange go on with nothing changed; empty for bytes that are no message."""
    try:
        phase = parse(raw).WhichOneof("request")
    except DecodeError:
        return b""
    return b"" if phase is None else CANNED[phase, Action.PASS]


def _serialised(phase: str, reply: Reply, *, explain: bool, shadow: bool) -> bytes:
    decision = reply.decision
    if shadow and phase in _REQUEST_PHASES:
        return CANNED_SHADOW[phase, reply.action]
    if decision is None:
        return CANNED[phase, reply.action]
    if explain:
        return _message(phase, _routing(explained(decision))).SerializeToString()
    return CANNED_ROUTES[phase, decision.pool]


def _later_event(exchange: Exchange, phase: str, message: ProcessingRequest) -> Reply:
    """What comes only where an answer is read."""
    if phase == "response_headers":
        headers = message.response_headers
        return exchange.response_headers(_response_head(headers.headers), end_of_stream=headers.end_of_stream)
    if phase == "response_body":
        return exchange.response_body(message.response_body.body, end_of_stream=message.response_body.end_of_stream)
    return exchange.trailers()


def _request_head(values: dict[str, str]) -> RequestHead:
    length, encoding = values.get("content-length"), values.get("content-encoding")
    return RequestHead(
        method=values.get(":method", ""),
        path=values.get(":path", ""),
        content_length=_number(length) if length else 0,
        content_encoding=encoding.strip().lower() if encoding else "",
    )


def _response_head(headers: HeaderMap) -> ResponseHead:
    values = _by_name(headers)
    return ResponseHead(
        status=_number(values.get(":status", "")),
        content_type=values.get("content-type", "").strip().lower(),
        content_encoding=values.get("content-encoding", "").strip().lower(),
        attempts=_number(values.get("x-envoy-attempt-count", "1")) or 1,
        served=_POOLS.get(values.get(SERVED_HEADER, "")),
        orca=values.get("endpoint-load-metrics", ""),
    )


def _by_name(headers: HeaderMap) -> dict[str, str]:
    """Header names come in lower case; values are any bytes, so each is read as Latin-1, which cannot fail."""
    values = {}
    for header in headers.headers:
        values[header.key] = header.raw_value.decode("latin-1") or header.value
    return values


def _number(text: str) -> int:
    """A number of up to 18 ASCII digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004 - fits 64 bits


def explained(decision: Decision) -> dict[str, str]:
    """The headers that tell a person why a request went where it went."""
    headers = {
        POOL_HEADER: decision.pool.value,
        REASON_HEADER: decision.reason.value,
        PROVENANCE_HEADER: decision.provenance.value,
    }
    if decision.budget is not None and decision.budget.total_tokens is not None:
        headers[BUDGET_HEADER] = str(decision.budget.total_tokens)
    if decision.stage is not Stage.NONE:
        headers[STAGE_HEADER] = decision.stage.value
    if decision.doubt is not None:
        headers[DOUBT_HEADER] = f"{decision.doubt:.4f}"
    if decision.category is not None:
        headers[CATEGORY_HEADER] = decision.category.value
    return headers


def _routing(headers: dict[str, str]) -> CommonResponse:
    """Overwrite headers and choose the route anew: without clear_route_cache a changed header changes nothing."""
    options = [
        HeaderValueOption(
            header=HeaderValue(key=name, raw_value=value.encode()),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers.items()
    ]
    return CommonResponse(header_mutation=HeaderMutation(set_headers=options), clear_route_cache=True)


def _message(phase: str, common: CommonResponse, mode: ProcessingMode | None = None) -> ProcessingResponse:
    if phase == "request_headers":
        return ProcessingResponse(request_headers=HeadersResponse(response=common), mode_override=mode)
    if phase == "response_headers":
        return ProcessingResponse(response_headers=HeadersResponse(response=common), mode_override=mode)
    if phase == "request_body":
        return ProcessingResponse(request_body=BodyResponse(response=common))
    return ProcessingResponse(response_body=BodyResponse(response=common))


_UNDECIDED = _routing({POOL_HEADER: Pool.LONG.value})
"""Sent with the wish for the body: long until decided otherwise, and no route chosen before that.

Envoy passes on a body that arrived after this reply before it clears the route for the body's own reply, so that the
first route, if there still were one, would stay. With the route cleared here, it is chosen when the body is passed on,
by the header that the body's reply has set by then.
"""


def _canned() -> dict[tuple[str, Action], bytes]:
    replies = {(phase, Action.PASS): _message(phase, CommonResponse()) for phase in _HEADER_PHASES + _BODY_PHASES}
    trailers = TrailersResponse()
    replies["request_trailers", Action.PASS] = ProcessingResponse(request_trailers=trailers)
    replies["response_trailers", Action.PASS] = ProcessingResponse(response_trailers=trailers)
    for action, mode in _MODES.items():
        replies["response_headers", action] = _message("response_headers", CommonResponse(), mode)
    replies["request_headers", Action.ASK_BODY] = _message("request_headers", _UNDECIDED, ASK_BODY_MODE)
    return {key: message.SerializeToString() for key, message in replies.items()}


CANNED = _canned()
"""Replies that need no decision, by phase and action."""
CANNED_ROUTES = {
    (phase, pool): _message(phase, _routing({POOL_HEADER: pool.value})).SerializeToString()
    for phase in _REQUEST_PHASES
    for pool in Pool
}
"""Replies that route by the pool alone, by phase and pool."""


def _canned_shadow() -> dict[tuple[str, Action], bytes]:
    unchanged = {phase: _message(phase, CommonResponse()) for phase in _REQUEST_PHASES}
    replies = {(phase, action): unchanged[phase] for phase in _REQUEST_PHASES for action in Action}
    replies["request_headers", Action.ASK_BODY] = _message("request_headers", CommonResponse(), ASK_BODY_MODE)
    return {key: message.SerializeToString() for key, message in replies.items()}


CANNED_SHADOW = _canned_shadow()
"""Replies in the request's phases where decisions are recorded and not followed."""
