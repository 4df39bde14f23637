"""Envoy's messages reach the exchange as events, and its replies leave as the bytes Envoy expects."""

from typing import Final

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse as TheirResponse
from google.protobuf.message import DecodeError

from extproc._proto.core_pb2 import HeaderMap, HeaderValue, HeaderValueOption
from extproc._proto.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
)
from extproc.envoyconfig.modes import ALLOWED_OVERRIDES
from extproc.routing.estimators import FixedRatioEstimator
from extproc.routing.exchange import LEAVE, Action, Exchange
from extproc.routing.headers import OWN_HEADERS
from extproc.routing.observing import ObserveRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.values import Decision, Pool, Provenance, Reason, RequestFacts
from extproc.server import wire

CHAT: Final = b'{"model":"m","messages":[{"role":"user","content":"' + b"word " * 200 + b'"}],"max_tokens":16}'


def exchange(share: float = 1.0, *, shadow: bool = False) -> Exchange:
    """An exchange of a router that reads the given share of answers."""
    router = Router(
        estimator=FixedRatioEstimator(),
        policy=TokenBudgetPolicy(8192),
        observe_rules=ObserveRules(share=share),
    )
    return Exchange(router, draw=0.0, shadow=shadow)


def head(**headers: str) -> HeaderMap:
    """Headers as Envoy writes them: names in lower case, values raw."""
    names = {name: name.replace("_", "-") for name in headers} | {
        "method": ":method",
        "path": ":path",
        "status": ":status",
    }
    return HeaderMap(
        headers=[HeaderValue(key=names[name], raw_value=value.encode()) for name, value in headers.items()]
    )


def request_headers(path: str = "/v1/chat/completions", **headers: str) -> ProcessingRequest:
    """A POST whose body is still to come."""
    return ProcessingRequest(request_headers=HttpHeaders(headers=head(method="POST", path=path, **headers)))


def request_body(body: bytes = CHAT) -> ProcessingRequest:
    """The whole body."""
    return ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True))


def response_headers(content_type: str, status: str = "200") -> ProcessingRequest:
    """An answer whose body is still to come."""
    return ProcessingRequest(response_headers=HttpHeaders(headers=head(status=status, content_type=content_type)))


def say(
    conversation: Exchange, message: ProcessingRequest, *, explain: bool = False
) -> tuple[ProcessingResponse, bool]:
    """One message in, one reply out."""
    answered = wire.answer(conversation, message.SerializeToString(), explain=explain)
    return ProcessingResponse.FromString(answered.message), answered.reply.last


def mutations(response: ProcessingResponse) -> dict[str, bytes]:
    """The headers a body reply sets."""
    return {
        option.header.key: option.header.raw_value
        for option in response.request_body.response.header_mutation.set_headers
    }


def test_a_chat_is_asked_for_its_body_and_then_routed() -> None:
    """The header reply asks for the body; the body reply sets the pool header, overwriting, and clears the route."""
    conversation = exchange()
    asked, last = say(conversation, request_headers())
    assert (asked.mode_override, last) == (wire.ASK_BODY_MODE, False)
    undecided = asked.request_headers.response
    assert undecided.header_mutation.set_headers[0].header == HeaderValue(key="x-dualpool-pool", raw_value=b"long")
    assert undecided.clear_route_cache, "a route kept here would outlive the decision when the body comes late"
    routed, _ = say(conversation, request_body())
    assert mutations(routed) == {"x-dualpool-pool": b"short"}
    common = routed.request_body.response
    assert common.clear_route_cache
    assert common.header_mutation.set_headers[0].append_action == HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def test_explaining_adds_headers_beside_the_pool() -> None:
    """With explain, budget, reason, provenance, stage, doubt and category go along."""
    conversation = exchange()
    say(conversation, request_headers(), explain=True)
    routed, _ = say(conversation, request_body(), explain=True)
    headers = mutations(routed)
    assert headers["x-dualpool-reason"] == b"fits_whatever_tokenizer"
    assert headers["x-dualpool-provenance"] == b"certain"
    assert headers["x-dualpool-stage"] == b"bounds"
    assert float(headers["x-dualpool-doubt"]) == 0.0
    assert headers["x-dualpool-category"] == b"prose"
    assert int(headers["x-dualpool-budget"]) == 1000 + 512 + 16 + 16, "bytes, the template, one message, output"


def test_an_estimated_request_explains_what_was_compared() -> None:
    """The budget is the estimate with its margin, the stage what it took; this estimator does not say its doubt."""
    conversation, larger = exchange(), CHAT.replace(b"word ", b"words and " * 20)
    say(conversation, request_headers(), explain=True)
    routed, _ = say(conversation, request_body(larger), explain=True)
    assert mutations(routed) == {
        "x-dualpool-pool": b"long",
        "x-dualpool-reason": b"exceeds",
        "x-dualpool-provenance": b"calibrated",
        "x-dualpool-budget": b"%d" % (40_000 // 4 + 16),
        "x-dualpool-stage": b"sample",
        "x-dualpool-category": b"prose",
    }


@pytest.mark.parametrize(("doubt", "told"), [(0.0, "0.0000"), (0.00123, "0.0012"), (1.0, "1.0000")])
def test_doubt_is_told_to_the_hundredth_of_a_percent(doubt: float, told: str) -> None:
    """Short enough to read, fine enough for any promise."""
    decision = Decision(Pool.SHORT, Reason.FITS, Provenance.CALIBRATED, RequestFacts(), doubt=doubt)
    assert wire.explained(decision)["x-dualpool-doubt"] == told


def test_every_explanation_is_one_of_our_headers() -> None:
    """Envoy drops a client's headers of these names, and no others, before the service sets them."""
    conversation = exchange()
    say(conversation, request_headers(), explain=True)
    routed, _ = say(conversation, request_body(), explain=True)
    assert set(mutations(routed)) == set(OWN_HEADERS)


def test_a_request_without_a_budget_explains_only_what_it_knows() -> None:
    """An unreadable body has a reason and a provenance; nothing was measured that could be told."""
    conversation = exchange()
    say(conversation, request_headers(), explain=True)
    routed, last = say(conversation, request_body(b"{"), explain=True)
    assert mutations(routed) == {
        "x-dualpool-pool": b"long",
        "x-dualpool-reason": b"unreadable",
        "x-dualpool-provenance": b"fallback",
    }
    assert last


def test_an_undeclared_output_has_no_budget_to_show() -> None:
    """A chat that names no limit has no total, and nothing was measured to decide it."""
    conversation = exchange()
    say(conversation, request_headers(), explain=True)
    routed, _ = say(conversation, request_body(CHAT.replace(b',"max_tokens":16', b"")), explain=True)
    assert mutations(routed)["x-dualpool-reason"] == b"output_undeclared"
    assert not {"x-dualpool-budget", "x-dualpool-stage", "x-dualpool-doubt"} & set(mutations(routed))


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [("application/json", wire.READ_WHOLE_MODE), ("text/event-stream; charset=utf-8", wire.READ_STREAM_MODE)],
)
def test_an_observed_answer_is_asked_for_as_its_type_needs(content_type: str, mode: object) -> None:
    """JSON is asked for whole, events as they pass; the last chunk ends the conversation."""
    conversation = exchange()
    say(conversation, request_headers())
    _, last = say(conversation, request_body())
    assert not last
    reply, last = say(conversation, response_headers(content_type))
    assert (reply.mode_override, last) == (mode, False)
    reply, last = say(conversation, ProcessingRequest(response_body=HttpBody(body=b"{}", end_of_stream=True)))
    assert (reply.WhichOneof("response"), last) == ("response_body", True)


def test_an_unwanted_answer_ends_the_conversation_at_the_decision() -> None:
    """Where the answer is not observed, the decision is the last reply."""
    conversation = exchange(share=0.0)
    say(conversation, request_headers())
    assert say(conversation, request_body())[1]


def test_a_large_content_length_is_routed_at_the_headers() -> None:
    """The body of a request that is certainly long is never asked for."""
    reply, last = say(exchange(), request_headers(content_length=str(8192 * 24 + 1)))
    assert reply.request_headers.response.header_mutation.set_headers[0].header.raw_value == b"long"
    assert reply.request_headers.response.clear_route_cache
    assert (reply.HasField("mode_override"), last) == (False, True)


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e9", "9" * 40, "\u0663"])
def test_an_odd_content_length_is_no_length(length: str) -> None:
    """A length that is not plain digits decides nothing: the body is asked for."""
    assert say(exchange(), request_headers(content_length=length))[0].mode_override == wire.ASK_BODY_MODE


def test_header_values_of_any_bytes_are_read() -> None:
    """A header that is not UTF-8 does not fail the exchange."""
    message = request_headers()
    message.request_headers.headers.headers.append(HeaderValue(key="content-encoding", raw_value=b"\xff\xfe"))
    assert say(exchange(), message)[0].request_headers.response.header_mutation.set_headers


@pytest.mark.parametrize("phase", ["request_trailers", "response_trailers"])
def test_trailers_are_answered_in_kind(phase: str) -> None:
    """Trailers get a trailers reply, or Envoy would wait for one."""
    message = ProcessingRequest()
    getattr(message, phase).CopyFrom(HttpTrailers())
    assert say(exchange(), message)[0].WhichOneof("response") == phase


def test_a_message_of_an_unknown_kind_ends_the_conversation() -> None:
    """A newer Envoy's message of a kind this subset lacks is answered by leaving, which lets Envoy go on."""
    assert wire.answer(exchange(), b"", explain=False) == wire.Answer(b"", LEAVE)


def test_bytes_that_are_no_message_are_an_error() -> None:
    """The servicer turns it into a stream that ends in peace."""
    with pytest.raises(DecodeError):
        wire.answer(exchange(), b"\xff\xff", explain=False)


def test_modes_are_exactly_those_the_configuration_allows() -> None:
    """Envoy ignores an override that differs from its allow-list in any field, without saying so."""
    ours = {mode.SerializeToString() for mode in (wire.ASK_BODY_MODE, wire.READ_WHOLE_MODE, wire.READ_STREAM_MODE)}
    assert ours == {bytes(mode) for mode in ALLOWED_OVERRIDES}


def test_an_independent_reader_understands_a_canned_reply() -> None:
    """envoy-data-plane's classes read the bytes that go out."""
    conversation = exchange()
    raw = wire.answer(conversation, request_headers().SerializeToString(), explain=False).message
    assert TheirResponse.parse(raw).mode_override is not None


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, 55),
        ({"traceparent": "0" * 5000}, 64),
        ({}, 0),
    ],
)
def test_the_caller_s_trace_is_read_from_the_request_s_headers(sent: dict[str, str], found: int) -> None:
    """Up to a bound; a client that names none has none."""
    answered = wire.answer(exchange(), request_headers(**sent).SerializeToString(), explain=False)
    assert answered.traceparent == sent.get("traceparent", "")[:found]
    assert answered.phase == "request_headers"
    assert wire.answer(exchange(), request_body().SerializeToString(), explain=False).phase == "request_body"


@pytest.mark.parametrize(("headers", "orca"), [({}, ""), ({"endpoint_load_metrics": "TEXT a=1"}, "TEXT a=1")])
def test_what_an_instance_says_of_its_load_is_handed_on(headers: dict[str, str], orca: str) -> None:
    """Unread, with what the exchange came to."""
    one = exchange()
    wire.answer(one, request_headers().SerializeToString(), explain=False)
    wire.answer(one, request_body().SerializeToString(), explain=False)
    response = HttpHeaders(headers=head(status="200", content_type="application/json", **headers))
    wire.answer(one, ProcessingRequest(response_headers=response).SerializeToString(), explain=False)
    assert one.close().orca == orca


@pytest.mark.parametrize(
    ("headers", "escalated"),
    [
        ({}, False),
        ({"x_envoy_attempt_count": "1"}, False),
        ({"x_envoy_attempt_count": "2"}, True),
        ({"x_envoy_attempt_count": "many"}, False),
        ({"x_dualpool_served": "long"}, True),
        ({"x_dualpool_served": "short", "x_envoy_attempt_count": "2"}, False),
        ({"x_dualpool_served": "elsewhere"}, False),
    ],
)
def test_envoy_says_whether_the_long_pool_stood_in(headers: dict[str, str], *, escalated: bool) -> None:
    """By the pool it asked last, or without that by how many it asked; odd values say nothing."""
    one = exchange()
    say(one, request_headers())
    say(one, request_body())
    response = HttpHeaders(headers=head(status="200", content_type="application/json", **headers))
    say(one, ProcessingRequest(response_headers=response))
    assert one.close().escalated is escalated


@pytest.mark.parametrize("explain", [False, True])
def test_in_shadow_no_reply_changes_the_request(*, explain: bool) -> None:
    """The body is asked for, the decision recorded, and no header is set and no route chosen anew, at either phase."""
    one, by_headers = exchange(shadow=True), exchange(shadow=True)
    asked = wire.answer(one, request_headers().SerializeToString(), explain=explain, shadow=True)
    decided = wire.answer(one, request_body().SerializeToString(), explain=explain, shadow=True)
    oversized = request_headers(content_length=str(8192 * 24 + 1))
    at_once = wire.answer(by_headers, oversized.SerializeToString(), explain=explain, shadow=True)
    replies = [ProcessingResponse.FromString(answered.message) for answered in (asked, decided, at_once)]
    assert replies[0].mode_override == wire.ASK_BODY_MODE
    assert [reply.WhichOneof("response") for reply in replies] == ["request_headers", "request_body", "request_headers"]
    for reply in replies:
        common = getattr(reply, str(reply.WhichOneof("response"))).response
        assert not common.header_mutation.set_headers
        assert not common.clear_route_cache
    assert decided.reply.decision is not None
    assert decided.reply.decision.pool is Pool.SHORT


def test_an_answer_is_read_in_shadow_as_otherwise() -> None:
    """What was sent to the pool of before still tells what the request cost."""
    one = exchange(shadow=True)
    wire.answer(one, request_headers().SerializeToString(), explain=False, shadow=True)
    wire.answer(one, request_body().SerializeToString(), explain=False, shadow=True)
    answered = wire.answer(one, response_headers("application/json").SerializeToString(), explain=False, shadow=True)
    assert ProcessingResponse.FromString(answered.message).mode_override == wire.READ_WHOLE_MODE


@pytest.mark.parametrize(
    ("message", "passed"),
    [
        (ProcessingRequest(request_body=HttpBody(body=b"{}")), ("request_body", Action.PASS)),
        (ProcessingRequest(request_trailers=HttpTrailers()), ("request_trailers", Action.PASS)),
    ],
)
def test_a_message_can_be_let_pass(message: ProcessingRequest, passed: tuple[str, Action]) -> None:
    """The reply is of the message's own kind and changes nothing."""
    assert wire.passing(message.SerializeToString()) == wire.CANNED[passed]


@pytest.mark.parametrize("raw", [b"", b"\xff\xff"])
def test_there_is_nothing_to_say_to_what_is_no_message(raw: bytes) -> None:
    """A message of no kind, and bytes that are none."""
    assert wire.passing(raw) == b""
