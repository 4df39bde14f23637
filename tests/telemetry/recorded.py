"""Things that happened, of every kind, for the tests of whatever shows them."""

import json

import msgspec

from extproc.assembly import build_router
from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.refusal import Refusal
from extproc.routing.request import read_request
from extproc.routing.response import ReadOutcome
from extproc.routing.router import Router
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Decision, Finish, Pool, Usage
from extproc.settings import Settings
from extproc.telemetry.labels import SaveOutcome
from extproc.telemetry.ledger import Ledger

CANARY = "canary-51c9"
"""Stands in every prompt."""


def happened() -> tuple[Ledger, Router]:
    """A ledger in which everything has happened at least once, and a router that has learned."""
    settings = Settings(promise=0.5)
    ledger, router = Ledger(), build_router(settings)
    ledger.record_settings(settings)
    for limit in ({}, {}, {"max_tokens": 16}):
        _answered(ledger, router, limit)
    ledger.record(Outcome(None, None, None, Undecided.ENDED_EARLY))
    ledger.record(Outcome(_decision(router, {}), None, None, status=200, escalated=True))
    ledger.record(Outcome(_decision(router, {}), None, None, status=400, refusal=Refusal.CONTEXT_LENGTH))
    ledger.record_phase("request_body", 0.0002)
    ledger.record_phase("request_body", 0.3)
    ledger.state_saves[SaveOutcome.SAVED] += 1
    ledger.pool_states[Pool.SHORT] = PoolState(2, 11.0, 3.0, 0.5, 0.25, 0.125)
    ledger.pool_instances[Pool.SHORT] = {"fresh": 2, "silent": 1}
    ledger.polls[Pool.SHORT, "read"] += 7
    ledger.pressures = {Pool.SHORT: 0.75}
    ledger.steering = Steering(4096, Pool.SHORT, 0.5)
    return ledger, router


def _answered(ledger: Ledger, router: Router, limit: dict[str, int]) -> None:
    decision = _decision(router, limit)
    ledger.record_decision(decision)
    correction = router.complete(decision, Usage(4100, 200, finish=Finish.STOP))
    ledger.record(Outcome(decision, correction, ReadOutcome.USAGE, status=200))


def _decision(router: Router, limit: dict[str, int]) -> Decision:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{CANARY} some words " * 1000}], **limit}
    decision = router.route(read_request("/v1/chat/completions", json.dumps(body).encode()), draw=0.0)
    return msgspec.structs.replace(decision, pool=Pool.SHORT)
