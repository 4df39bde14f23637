import gzip
import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from extproc.mockvllm.errors import bad_request
from extproc.routing.estimators import EmaEstimator, EmaRules
from extproc.routing.exchange import (
    Action,
    Exchange,
    Outcome,
    Reply,
    RequestHead,
    ResponseHead,
    Undecided,
)
from extproc.routing.observing import ObserveRules
from extproc.routing.policy import TokenBudgetPolicy, certain_long_bytes
from extproc.routing.refusal import Refusal
from extproc.routing.response import ReadOutcome
from extproc.routing.router import Router
from extproc.routing.values import Correction, Decision, Misroute, Pool, Reason, Usage

TEXT = "The quick brown fox jumps over the lazy dog while the cat looks on from the wall. " * 10
BODY = json.dumps({"messages": [{"role": "user", "content": TEXT}], "max_tokens": 16}).encode()
STATED = {"prompt_tokens": 205, "completion_tokens": 3}
ANSWER = json.dumps({"object": "chat.completion", "choices": [], "usage": STATED}).encode()
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "word"}}]}\n\n'
STREAM = CHUNK * 3 + b"data: " + json.dumps({"choices": [], "usage": STATED}).encode() + b"\n\ndata: [DONE]\n\n"

CHAT = RequestHead("POST", "/v1/chat/completions", len(BODY))
JSON_HEAD = ResponseHead(200, "application/json")
STREAM_HEAD = ResponseHead(200, "text/event-stream; charset=utf-8")
GO_ON = Reply(Action.PASS)
NO_MORE = Reply(Action.PASS, last=True)


class CountingRouter(Router):
    """A router that remembers what was completed."""

    def __init__(self, *, share: float = 1.0, learning_samples: int = 100) -> None:
        super().__init__(
            estimator=EmaEstimator(EmaRules(learning_samples=learning_samples)),
            policy=TokenBudgetPolicy(8192),
            observe_rules=ObserveRules(share=share),
        )
        self.completed: list[Decision] = []
        self.told: list[tuple[bool, bool]] = []
        """Whether each answer came from elsewhere, and whether it was a refusal for length."""

    def complete(
        self, decision: Decision, usage: Usage | None, *, elsewhere: bool = False, refused: bool = False
    ) -> Correction | None:
        """Remember, and do it."""
        self.completed.append(decision)
        self.told.append((elsewhere, refused))
        return super().complete(decision, usage, elsewhere=elsewhere, refused=refused)


def begun(router: Router | None = None, *, head: RequestHead = CHAT, shadow: bool = False) -> Exchange:
    """An exchange whose request headers came, and which asks for the body."""
    exchange = Exchange(router or CountingRouter(), draw=0.5, shadow=shadow)
    assert exchange.request_headers(head, end_of_stream=False) == Reply(Action.ASK_BODY)
    return exchange


def routed(router: Router | None = None, body: bytes = BODY, *, shadow: bool = False) -> Exchange:
    """An exchange that is decided and waits for its answer."""
    exchange = begun(router, shadow=shadow)
    reply = exchange.request_body(body, end_of_stream=True)
    assert (reply.action, reply.last) == (Action.ROUTE, False)
    return exchange


def reason_of(reply: Reply) -> Reason:
    """Why a reply routes where it does."""
    assert reply.action is Action.ROUTE
    assert reply.decision is not None
    return reply.decision.reason


# Deciding


def test_a_request_is_decided_by_its_body() -> None:
    """Its headers ask for the body, the body chooses the pool."""
    reply = begun().request_body(BODY, end_of_stream=True)
    assert reply.decision is not None
    assert (reply.decision.pool, reply.decision.reason) == (Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER)


def test_a_request_whose_answer_is_not_wanted_ends_with_its_decision() -> None:
    """The stream to Envoy closes there, and closing the exchange completes it without usage."""
    router = CountingRouter(share=0.0, learning_samples=0)
    exchange = begun(router)
    reply = exchange.request_body(BODY, end_of_stream=True)
    assert (reply.action, reply.last) == (Action.ROUTE, True)
    assert exchange.close() == Outcome(reply.decision, None, None)
    assert router.completed == [reply.decision]


@pytest.mark.parametrize(
    ("head", "end_of_stream", "reason"),
    [
        (RequestHead("GET", "/v1/models"), True, Reason.NOT_INFERENCE),
        (RequestHead("GET", "/v1/chat/completions"), False, Reason.NOT_INFERENCE),
        (RequestHead("POST", "/tokenize", 10), False, Reason.NOT_INFERENCE),
        (RequestHead("POST", "/v1/chat/completions"), True, Reason.NOT_INFERENCE),
        (RequestHead(), False, Reason.NOT_INFERENCE),
        (RequestHead("POST", "/v1/completions", 10, "gzip"), False, Reason.COMPRESSED),
        (RequestHead("POST", "/v1/completions", 10, "zstd, gzip"), False, Reason.COMPRESSED),
        (RequestHead("POST", "/v1/completions", 24 * 8192 + 1), False, Reason.CONTENT_LENGTH),
    ],
)
def test_what_the_headers_decide_needs_no_body(head: RequestHead, *, end_of_stream: bool, reason: Reason) -> None:
    """No inference, compressed, or long by its length alone: long, and nothing more is wanted."""
    exchange = Exchange(CountingRouter(), draw=0.0)
    reply = exchange.request_headers(head, end_of_stream=end_of_stream)
    assert reason_of(reply) is reason
    assert reply.decision is not None
    assert (reply.decision.pool, reply.last) == (Pool.LONG, True)


@pytest.mark.parametrize(
    "head",
    [
        RequestHead("POST", "/v1/completions", 0),
        RequestHead("POST", "/v1/completions", 24 * 8192),
        RequestHead("POST", "/v1/completions", 10, "identity"),
    ],
)
def test_other_bodies_are_asked_for(head: RequestHead) -> None:
    """Of any length that may be short, and of none that is told."""
    assert begun(head=head).close() == Outcome(None, None, None, Undecided.ENDED_EARLY)


def test_length_alone_proves_nothing_below_the_most_bytes_text_has_per_token() -> None:
    r"""Escaped Cyrillic has about 19 bytes a token: a body that would fit at that density is read."""
    assert certain_long_bytes(8192) > 19 * 8192


def test_a_body_that_did_not_fit_envoys_buffer_goes_long() -> None:
    """What came is only its beginning, however readable."""
    reply = begun().request_body(BODY, end_of_stream=False)
    assert reason_of(reply) is Reason.BODY_INCOMPLETE
    assert reply.last


def test_a_body_of_untold_length_is_not_read_beyond_the_bound() -> None:
    """A chunked body that turns out too long to be short is decided by its size, as if its length had been told."""
    exchange = begun()
    reply = exchange.request_body(b" " * (certain_long_bytes(8192) + 1), end_of_stream=True)
    assert reply.decision is not None
    assert reply.decision.reason is Reason.CONTENT_LENGTH


def test_an_unreadable_body_goes_long() -> None:
    """Nothing raises; the reason says what happened."""
    reply = begun().request_body(b"\x00\xff{", end_of_stream=True)
    assert reason_of(reply) is Reason.UNREADABLE


# Reading the answer


@pytest.mark.parametrize(
    ("head", "answer", "action"),
    [
        (JSON_HEAD, ANSWER, Action.READ_WHOLE),
        (STREAM_HEAD, STREAM, Action.READ_STREAM),
        (ResponseHead(200, "application/json", "gzip"), gzip.compress(ANSWER), Action.READ_WHOLE),
    ],
)
def test_an_answer_teaches(head: ResponseHead, answer: bytes, action: Action) -> None:
    """JSON whole, SSE as it passes: 820 bytes of text cost 205 tokens."""
    router = CountingRouter()
    exchange = routed(router)
    assert exchange.response_headers(head, end_of_stream=False) == Reply(action)
    assert exchange.response_body(answer[:50], end_of_stream=False) == GO_ON
    assert exchange.response_body(answer[50:], end_of_stream=True) == NO_MORE
    outcome = exchange.close()
    assert outcome.read is ReadOutcome.USAGE
    assert outcome.correction is not None
    assert (outcome.correction.usage, outcome.correction.learned) == (Usage(205, 3), True)
    assert [ratio.bytes_per_token for ratio in router.ratios()] == [4.0]
    assert router.observing == 0


@pytest.mark.parametrize("end", ["trailers", "last chunk repeated", "nothing more"])
def test_an_answer_teaches_however_it_ends(end: str) -> None:
    """With trailers, with Envoy's empty last chunk, or with the stream closed behind its last event."""
    exchange = routed()
    exchange.response_headers(STREAM_HEAD, end_of_stream=False)
    assert exchange.response_body(STREAM, end_of_stream=False) == GO_ON
    if end == "trailers":
        assert exchange.trailers() == NO_MORE
    if end == "last chunk repeated":
        assert exchange.response_body(b"", end_of_stream=True) == NO_MORE
        assert exchange.response_body(STREAM, end_of_stream=True) == NO_MORE
    outcome = exchange.close()
    assert outcome.correction is not None
    assert outcome.correction.usage == Usage(205, 3)


@pytest.mark.parametrize(
    ("head", "end_of_stream"),
    [
        (ResponseHead(404, "application/json"), False),
        (ResponseHead(429, "application/json"), False),
        (ResponseHead(500, "text/plain"), False),
        (ResponseHead(206, "application/json"), False),
        (ResponseHead(200, "application/json"), True),
        (ResponseHead(200, "text/html"), False),
        (ResponseHead(200, "application/json", "zstd"), False),
        (ResponseHead(), False),
    ],
)
def test_other_answers_never_teach(head: ResponseHead, *, end_of_stream: bool) -> None:
    """Errors, local replies, answers without a body or of a kind that is not read: nothing more is wanted."""
    router = CountingRouter()
    exchange = routed(router)
    assert exchange.response_headers(head, end_of_stream=end_of_stream) == NO_MORE
    assert exchange.response_body(ANSWER, end_of_stream=True) == NO_MORE
    outcome = exchange.close()
    assert (outcome.correction, outcome.read) == (None, None)
    assert (router.ratios(), router.observing) == ([], 0)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (STREAM[:-40], ReadOutcome.CUT_SHORT),
        (
            CHUNK + b'data: {"error": {"message": "engine dead", "code": 500}}\n\ndata: [DONE]\n\n',
            ReadOutcome.ERROR_EVENT,
        ),
        (CHUNK + b"data: [DONE]\n\n", ReadOutcome.NO_USAGE),
        (b"", ReadOutcome.CUT_SHORT),
    ],
)
def test_an_answer_that_broke_teaches_nothing(answer: bytes, read: ReadOutcome) -> None:
    """Cut short, failed under way, or silent about usage: the outcome says which."""
    router = CountingRouter()
    exchange = routed(router)
    exchange.response_headers(STREAM_HEAD, end_of_stream=False)
    exchange.response_body(answer, end_of_stream=True)
    outcome = exchange.close()
    assert (outcome.correction, outcome.read) == (None, read)
    assert (router.ratios(), router.observing) == ([], 0)


# Refusals, and answers of another pool


TOO_LONG = json.dumps(
    bad_request("This model's maximum context length is 8192 tokens. However, you requested …").body((0, 31))
).encode()
LONG_BODY = json.dumps({"messages": [{"role": "user", "content": TEXT}], "max_tokens": 9000}).encode()


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (400, TOO_LONG, Refusal.CONTEXT_LENGTH),
        (400, b'{"error": {"message": "n must be at least 1"}}', Refusal.OTHER),
        (503, b"no healthy upstream", Refusal.BUSY),
    ],
)
def test_a_refusal_of_the_short_pool_is_read(status: int, body: bytes, refusal: Refusal) -> None:
    """Whole, as it is small; its words say what it was about, and that is no answer with usage."""
    router = CountingRouter()
    exchange = routed(router)
    head = ResponseHead(status, "application/json")
    assert exchange.response_headers(head, end_of_stream=False) == Reply(Action.READ_WHOLE)
    assert exchange.response_body(body[:30], end_of_stream=False) == GO_ON
    assert exchange.response_body(body[30:], end_of_stream=True) == NO_MORE
    outcome = exchange.close()
    assert (outcome.refusal, outcome.status, outcome.read, outcome.correction) == (refusal, status, None, None)
    assert not outcome.escalated
    assert router.told == [(False, refusal is Refusal.CONTEXT_LENGTH)]
    assert router.observing == 0


def test_a_refusal_without_a_body_is_still_one() -> None:
    """Its status speaks; of its reason nothing is known."""
    exchange = routed()
    assert exchange.response_headers(ResponseHead(400), end_of_stream=True) == NO_MORE
    assert exchange.close().refusal is Refusal.OTHER


@pytest.mark.parametrize(
    ("head", "body", "shadow"),
    [
        (ResponseHead(400, attempts=2), BODY, False),
        (ResponseHead(400, attempts=2, served=Pool.LONG), BODY, False),
        (ResponseHead(503, served=Pool.LONG), BODY, False),
        (ResponseHead(400), LONG_BODY, False),
        (ResponseHead(400), BODY, True),
        (ResponseHead(400, served=Pool.SHORT), BODY, True),
    ],
)
def test_an_error_of_the_long_pool_is_nothing_to_learn_from(head: ResponseHead, body: bytes, *, shadow: bool) -> None:
    """It takes all there is: what it refuses is the client's mistake, or nobody can help."""
    exchange = routed(body=body, shadow=shadow)
    assert exchange.response_headers(head, end_of_stream=False) == NO_MORE
    assert exchange.close().refusal is None


@pytest.mark.parametrize(
    ("head", "body", "shadow", "elsewhere", "escalated"),
    [
        (ResponseHead(200), BODY, False, False, False),
        (ResponseHead(200, attempts=2), BODY, False, True, True),
        (ResponseHead(200, attempts=2, served=Pool.LONG), BODY, False, True, True),
        (ResponseHead(200, attempts=1, served=Pool.LONG), BODY, False, True, True),
        (ResponseHead(200, attempts=2, served=Pool.SHORT), BODY, False, False, False),
        (ResponseHead(200, attempts=2), LONG_BODY, False, False, False),
        (ResponseHead(200, served=Pool.LONG), LONG_BODY, False, False, False),
        (ResponseHead(200), BODY, True, True, False),
        (ResponseHead(200, attempts=2), BODY, True, True, False),
        (ResponseHead(200, served=Pool.LONG), BODY, True, True, False),
        (ResponseHead(200, served=Pool.SHORT), BODY, True, True, False),
        (ResponseHead(200, served=Pool.LONG), LONG_BODY, True, False, False),
    ],
)
def test_who_answered_is_told_by_envoy_or_by_what_it_does(
    head: ResponseHead, body: bytes, *, shadow: bool, elsewhere: bool, escalated: bool
) -> None:
    """The long pool stood in where it was asked second, or first for want of a short instance; never in shadow."""
    router = CountingRouter()
    exchange = routed(router, body, shadow=shadow)
    head = replace(head, content_type="application/json")
    assert exchange.response_headers(head, end_of_stream=False) == Reply(Action.READ_WHOLE)
    exchange.response_body(ANSWER, end_of_stream=True)
    outcome = exchange.close()
    assert (router.told, outcome.escalated, outcome.shadow) == ([(elsewhere, False)], escalated, shadow)
    assert outcome.correction is not None
    assert outcome.correction.usage == Usage(205, 3)


def test_an_escalated_answer_teaches_and_is_judged_and_is_no_truncation() -> None:
    """The truth about the prompt is the same in either pool; only the end of the context is not."""
    body = json.dumps({"messages": [{"role": "user", "content": TEXT}], "max_tokens": 6000}).encode()
    usage = {"prompt_tokens": 7500, "completion_tokens": 692}
    choices = [{"index": 0, "finish_reason": "length", "message": {}}]
    answer = json.dumps({"object": "chat.completion", "choices": choices, "usage": usage}).encode()
    corrections = []
    for served in Pool:
        exchange = routed(CountingRouter(), body)
        exchange.response_headers(replace(JSON_HEAD, served=served), end_of_stream=False)
        exchange.response_body(answer, end_of_stream=True)
        corrections.append(exchange.close().correction)
    assert [c and (c.truncated, c.misroute) for c in corrections] == [(True, Misroute.UNDER), (False, Misroute.UNDER)]


def test_what_an_instance_says_of_its_load_is_handed_on() -> None:
    """Unread, with whatever answer it comes."""
    exchange = routed()
    exchange.response_headers(replace(JSON_HEAD, orca="TEXT kv_cache_usage_perc=0.5"), end_of_stream=False)
    assert exchange.close().orca == "TEXT kv_cache_usage_perc=0.5"


# Streams that go another way


def test_a_stream_may_begin_with_the_response() -> None:
    """Envoy's local replies pass this way: nothing was decided, nothing is completed."""
    router = CountingRouter()
    exchange = Exchange(router, draw=0.0)
    assert exchange.response_headers(JSON_HEAD, end_of_stream=False) == NO_MORE
    assert exchange.response_body(ANSWER, end_of_stream=True) == NO_MORE
    assert exchange.close() == Outcome(None, None, None, Undecided.BEGAN_MIDWAY)
    assert router.completed == []


def any_event(exchange: Exchange, name: str) -> Reply:
    """One event, whatever its content."""
    return {
        "request_headers": lambda: exchange.request_headers(CHAT, end_of_stream=False),
        "request_body": lambda: exchange.request_body(BODY, end_of_stream=True),
        "response_headers": lambda: exchange.response_headers(JSON_HEAD, end_of_stream=False),
        "response_body": lambda: exchange.response_body(ANSWER, end_of_stream=True),
        "trailers": exchange.trailers,
    }[name]()


@pytest.mark.parametrize("name", ["request_body", "response_headers", "response_body", "trailers"])
def test_without_request_headers_there_is_nothing_to_decide(name: str) -> None:
    """A stream that begins in any other phase ends there, and headers that come late change nothing."""
    exchange = Exchange(CountingRouter(), draw=0.0)
    assert any_event(exchange, name) == NO_MORE
    assert any_event(exchange, "request_headers") == NO_MORE
    assert exchange.close() == Outcome(None, None, None, Undecided.BEGAN_MIDWAY)


@pytest.mark.parametrize("name", ["request_headers", "response_body", "trailers"])
def test_an_event_that_is_not_expected_passes_by_and_the_body_is_still_awaited(name: str) -> None:
    """Trailers of the request, or headers repeated: the decision is made by the body all the same."""
    exchange = begun()
    assert any_event(exchange, name) == GO_ON
    assert exchange.request_body(BODY, end_of_stream=True).action is Action.ROUTE


def test_a_local_reply_instead_of_the_body_ends_the_stream() -> None:
    """Envoy answered itself, so there will be no decision."""
    exchange = begun()
    assert any_event(exchange, "response_headers") == NO_MORE
    assert exchange.close() == Outcome(None, None, None, Undecided.ENDED_EARLY)


@pytest.mark.parametrize("name", ["request_headers", "request_body", "response_body", "trailers"])
def test_an_event_repeated_after_the_decision_does_not_lose_the_answer(name: str) -> None:
    """The last chunk of a request may come twice."""
    exchange = routed()
    assert any_event(exchange, name) == GO_ON
    assert exchange.response_headers(JSON_HEAD, end_of_stream=False) == Reply(Action.READ_WHOLE)


@pytest.mark.parametrize("name", ["request_headers", "request_body"])
def test_a_request_that_goes_on_while_its_answer_is_read_does_not_end_the_reading(name: str) -> None:
    """Servers may answer early."""
    exchange = routed()
    exchange.response_headers(JSON_HEAD, end_of_stream=False)
    assert any_event(exchange, name) == GO_ON
    exchange.response_body(ANSWER, end_of_stream=True)
    assert exchange.close().read is ReadOutcome.USAGE


def test_an_exchange_teaches_once_its_answer_is_read() -> None:
    """An answer, or a refusal for length; not while only a decision was made, nor from an answer nobody can read."""
    exchange = routed()
    assert not exchange.teaches
    exchange.response_headers(JSON_HEAD, end_of_stream=False)
    assert exchange.teaches
    refused, unreadable = routed(), routed()
    refused.response_headers(ResponseHead(400, "application/json"), end_of_stream=False)
    unreadable.response_headers(ResponseHead(200, "text/html"), end_of_stream=False)
    assert (refused.teaches, unreadable.teaches) == (True, False)


def test_closing_says_the_same_again() -> None:
    """The client left before the answer; completing twice would free a place that is not there."""
    router = CountingRouter()
    exchange = routed(router)
    assert router.observing == 1
    outcome = exchange.close()
    assert exchange.close() is outcome
    assert len(router.completed) == 1
    assert router.observing == 0
    assert any_event(exchange, "response_headers") == NO_MORE


def test_a_decision_that_envoy_never_heard_does_not_count() -> None:
    """It gives up its place among the awaited answers, and the exchange is one that ended early."""
    router = CountingRouter()
    exchange = routed(router)
    assert router.observing == 1
    exchange.lose()
    assert router.observing == 0
    outcome = exchange.close()
    assert (outcome.decision, outcome.undecided) == (None, Undecided.ENDED_EARLY)


def test_what_is_lost_before_anything_was_decided_ended_early() -> None:
    """There is nothing to take back."""
    exchange = Exchange(CountingRouter(), draw=0.0)
    exchange.lose()
    assert exchange.close().undecided is Undecided.ENDED_EARLY


# Every order of everything


REQUEST_HEADS = st.builds(
    RequestHead,
    method=st.sampled_from(("POST", "POST", "GET", "")),
    path=st.sampled_from(("/v1/chat/completions", "/v1/completions?x=1", "/tokenize", "")),
    content_length=st.integers(0, 300_000),
    content_encoding=st.sampled_from(("", "", "identity", "gzip")),
)
RESPONSE_HEADS = st.builds(
    ResponseHead,
    status=st.sampled_from((200, 200, 200, 400, 503, 0)),
    content_type=st.sampled_from(("application/json", "text/event-stream", "text/html", "")),
    content_encoding=st.sampled_from(("", "", "gzip", "br")),
    attempts=st.sampled_from((1, 1, 2)),
    served=st.sampled_from((None, *Pool)),
)
REQUEST_BODIES = st.sampled_from((BODY, BODY[:40], b"", b'{"prompt": [1, 2, 3]}', b"\xff")) | st.binary(max_size=20)
RESPONSE_BODIES = st.sampled_from((ANSWER, STREAM, CHUNK, b"", gzip.compress(ANSWER), TOO_LONG)) | st.binary(
    max_size=20
)


class AnyConversation(RuleBasedStateMachine):
    """Every event in every order, any number of times, with several exchanges sharing one router."""

    def __init__(self) -> None:
        super().__init__()
        self.router = CountingRouter()
        self.finished = 0
        self.begin()

    def begin(self) -> None:
        """Open the next exchange."""
        self.exchange = Exchange(self.router, draw=0.5, shadow=self.finished % 3 == 2)
        self.decisions: list[Decision] = []
        self.ended = False

    def take(self, reply: Reply) -> None:
        """Hold one reply against what must be true of all of them."""
        assert (reply.action is Action.ROUTE) == (reply.decision is not None)
        assert not self.ended or reply == NO_MORE
        self.ended = self.ended or reply.last
        if reply.decision is not None:
            self.decisions.append(reply.decision)
        assert len(self.decisions) <= 1

    @rule(head=REQUEST_HEADS, end_of_stream=st.sampled_from((False, False, True)))
    def request_headers(self, head: RequestHead, *, end_of_stream: bool) -> None:
        """Request headers come."""
        self.take(self.exchange.request_headers(head, end_of_stream=end_of_stream))

    @rule(body=REQUEST_BODIES, end_of_stream=st.booleans())
    def request_body(self, body: bytes, *, end_of_stream: bool) -> None:
        """A request body comes."""
        self.take(self.exchange.request_body(body, end_of_stream=end_of_stream))

    @rule(head=RESPONSE_HEADS, end_of_stream=st.sampled_from((False, False, True)))
    def response_headers(self, head: ResponseHead, *, end_of_stream: bool) -> None:
        """Response headers come."""
        self.take(self.exchange.response_headers(head, end_of_stream=end_of_stream))

    @rule(chunk=RESPONSE_BODIES, end_of_stream=st.booleans())
    def response_body(self, chunk: bytes, *, end_of_stream: bool) -> None:
        """A piece of the response comes."""
        self.take(self.exchange.response_body(chunk, end_of_stream=end_of_stream))

    @rule()
    def trailers(self) -> None:
        """Trailers come."""
        self.take(self.exchange.trailers())

    @rule(
        extra=st.sampled_from(("", "request_headers", "request_body", "response_headers", "response_body", "trailers"))
    )
    def close(self, extra: str) -> None:
        """The stream ends, perhaps with an event behind it, and another begins."""
        outcome = self.exchange.close()
        if extra:
            assert any_event(self.exchange, extra) == NO_MORE
        assert self.exchange.close() is outcome
        assert ([outcome.decision] if outcome.decision else []) == self.decisions
        assert outcome.correction is None or outcome.read is ReadOutcome.USAGE
        assert outcome.refusal is None or not (outcome.read or outcome.escalated)
        self.finished += len(self.decisions)
        self.begin()

    @invariant()
    def every_decision_is_completed_once(self) -> None:
        """And only a decision that is still open may be waiting for its answer."""
        assert len(self.router.completed) == self.finished
        assert self.router.observing == sum(decision.observe for decision in self.decisions)

    def teardown(self) -> None:
        """Nothing is left behind."""
        self.exchange.close()
        assert self.router.observing == 0


AnyConversation.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_any_conversation_completes_exactly_once: Any = AnyConversation.TestCase
