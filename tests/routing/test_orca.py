"""The load that answers carry in their headers, read in every form vLLM writes it, and faded into a state."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.estimators import FixedRatioEstimator
from extproc.routing.exchange import Exchange, Outcome, RequestHead, ResponseHead
from extproc.routing.observing import ObserveRules
from extproc.routing.orca import ORCA_MAX_CHARS, OrcaLoads, OrcaSample, parse_orca
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.values import Pool

CHAT: Final = b'{"model":"m","messages":[{"role":"user","content":"' + b"word " * 200 + b'"}],"max_tokens":16}'
SAID: Final = "TEXT named_metrics.kv_cache_usage_perc=0.5, named_metrics.num_requests_waiting=3.0"
NAMED: Final = "named_metrics."
JSON: Final = '{"named_metrics": {"kv_cache_usage_perc": 0.5, "num_requests_waiting": 3.0}}'


def outcome(said: str = SAID, *, threshold: int = 8192, attempts: int = 1, shadow: bool = False) -> Outcome:
    """What a chat came to whose answer carried that header."""
    router = Router(
        estimator=FixedRatioEstimator(),
        policy=TokenBudgetPolicy(threshold),
        observe_rules=ObserveRules(share=1.0),
    )
    exchange = Exchange(router, draw=0.0, shadow=shadow)
    exchange.request_headers(RequestHead(method="POST", path="/v1/chat/completions"), end_of_stream=False)
    exchange.request_body(CHAT, end_of_stream=True)
    head = ResponseHead(status=200, content_type="application/json", attempts=attempts, orca=said)
    exchange.response_headers(head, end_of_stream=False)
    return exchange.close()


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        f"TEXT {NAMED}num_requests_waiting=3,{NAMED}kv_cache_usage_perc=0.5,cpu_utilization=0.1",
        f"{NAMED}kv_cache_usage_perc=0.5,{NAMED}num_requests_waiting=3",
        "TEXT kv_cache_usage_perc = 0.5, num_requests_waiting = 3",
        f"JSON {JSON}",
        JSON,
        "TEXT kv_cache_usage_perc=0.4,num_requests_waiting=1,kv_cache_usage_perc=0.6,num_requests_waiting=2",
    ],
)
def test_every_form_says_the_same(text: str) -> None:
    """Text and JSON, with and without their first word; of several engines the mean and the sum."""
    assert parse_orca(text) == OrcaSample(kv_usage=0.5, waiting=3.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TEXT",
        "BIN CgA=",
        f"TEXT {NAMED}kv_cache_usage_perc=0.5",
        f"TEXT {NAMED}num_requests_waiting=3",
        f"TEXT {NAMED}kv_cache_usage_perc=much, {NAMED}num_requests_waiting=3",
        f"TEXT {NAMED}kv_cache_usage_perc=nan, {NAMED}num_requests_waiting=3",
        f"TEXT {NAMED}kv_cache_usage_perc=50, {NAMED}num_requests_waiting=3",
        f"TEXT {NAMED}kv_cache_usage_perc=0.5, {NAMED}num_requests_waiting=-3",
        f"TEXT {NAMED}kv_cache_usage_perc=0.5, {NAMED}num_requests_waiting=inf",
        "JSON {",
        'JSON {"named_metrics": {"kv_cache_usage_perc": "0.5", "num_requests_waiting": 3.0}}',
        'JSON {"named_metrics": null}',
        'JSON {"cpu_utilization": 0.5}',
        SAID + "," * ORCA_MAX_CHARS,
    ],
)
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    """A part that lacks, a number that cannot be, a form nobody knows."""
    assert parse_orca(text) is None


@given(st.text(max_size=200) | st.text(alphabet='TEXJSON named_metrics.kv_cache_usage_perc=0,{}:"1e', max_size=200))
def test_no_header_is_an_error(text: str) -> None:
    """Whatever stands there, it is read or it is not."""
    sample = parse_orca(text)
    assert sample is None or 0.0 <= sample.kv_usage <= 1.0 + 1e-6


def test_recent_answers_make_a_state() -> None:
    """A few are needed; what they say is averaged, and later ones count more."""
    loads = OrcaLoads(poll_s=2.0)
    for number, waiting in enumerate((0, 0, 8)):
        assert loads.state(Pool.SHORT, 2.0 * number) is None
        assert loads.heed(outcome(f"TEXT kv_cache_usage_perc=0.5,num_requests_waiting={waiting}"), 2.0 * number)
    for _ in range(2):
        loads.heed(outcome("TEXT kv_cache_usage_perc=0.5,num_requests_waiting=8"), 4.0)
    state = loads.state(Pool.SHORT, 4.0)
    assert state is not None
    assert state.kv_usage == pytest.approx(0.5)
    assert 8 * 3 / 5 < state.waiting < 8.0
    assert loads.state(Pool.LONG, 4.0) is None


def test_a_pool_that_falls_silent_has_no_state() -> None:
    """Three polls after the last answer nobody knows any more, and a faster poll shortens that."""
    loads = OrcaLoads(poll_s=2.0)
    for _ in range(100):
        loads.heed(outcome(), 10.0)
    assert loads.state(Pool.SHORT, 16.0) is not None
    assert loads.state(Pool.SHORT, 16.1) is None
    loads.poll_s = 1.0
    assert loads.state(Pool.SHORT, 14.0) is None


def test_a_load_that_fades_needs_new_answers() -> None:
    """Few answers do not last as long as many."""
    loads = OrcaLoads(poll_s=2.0)
    for _ in range(4):
        loads.heed(outcome(), 10.0)
    assert loads.state(Pool.SHORT, 10.0) is not None
    assert loads.state(Pool.SHORT, 13.0) is None


def test_the_pool_that_answered_is_the_one_that_said_it() -> None:
    """After an escalation that is the long one, and where the request went long as well."""
    loads = OrcaLoads(poll_s=2.0)
    for _ in range(3):
        loads.heed(outcome(attempts=2), 1.0)
    assert loads.state(Pool.SHORT, 1.0) is None
    assert loads.state(Pool.LONG, 1.0) is not None
    by_budget = OrcaLoads(poll_s=2.0)
    for _ in range(3):
        by_budget.heed(outcome(threshold=100), 1.0)
    assert by_budget.state(Pool.LONG, 1.0) is not None


@pytest.mark.parametrize(
    "of", [outcome(""), outcome("TEXT nothing=1"), outcome(shadow=True), Outcome(None, None, None, orca=SAID)]
)
def test_what_tells_nothing_of_a_pool_is_left_out(of: Outcome) -> None:
    """No header, one without numbers, no decision, or a decision that was not followed."""
    loads = OrcaLoads(poll_s=2.0)
    assert not any(loads.heed(of, 1.0) for _ in range(5))
    assert loads.state(Pool.SHORT, 1.0) is None


def test_a_late_sample_counts_as_the_present() -> None:
    """A clock that ran back a little neither fails nor gives weight."""
    loads = OrcaLoads(poll_s=2.0)
    for now_s in (5.0, 4.9, 5.0):
        loads.heed(outcome(), now_s)
    assert loads.state(Pool.SHORT, 5.0) is not None
    assert loads.state(Pool.SHORT, 4.0) is not None
