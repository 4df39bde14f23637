"""The status says how the service stands, in JSON's types alone, and is bounded."""

import json
from typing import Any

import pytest

from extproc.assembly import build_router
from extproc.routing.estimators import ALL_MODELS
from extproc.routing.exchange import Outcome
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Finish, Pool, Usage
from extproc.settings import Settings
from extproc.telemetry.labels import LessonOutcome, ReloadOutcome, SaveOutcome
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import MAX_ROWS, Running, Status, status_of

CHAT = b'{"model":"%s","messages":[{"role":"user","content":"%s"}]%s}'
BEGAN_S = 1_000_000_000.0


class Service:
    """A router and a ledger, as the servicer would drive them."""

    def __init__(self, **chosen: Any) -> None:
        self.running = Running(Settings(**chosen), BEGAN_S)
        self.router: Router = build_router(self.running.settings)
        self.ledger = Ledger()

    def status(self, *, after_s: float = 0.0) -> Status:
        """What it shows, through JSON and back."""
        status = status_of(self.running, self.router, self.ledger, now_s=BEGAN_S + after_s)
        assert json.loads(json.dumps(status, allow_nan=False)) == status, "it is made of JSON's types alone"
        return status

    def serve(self, prompt_tokens: int, *, model: str = "m", limit: bytes = b',"max_tokens":9') -> None:
        """One exchange whose answer is read."""
        request = read_request("/v1/chat/completions", CHAT % (model.encode(), b"some words " * 600, limit))
        decision = self.router.route(request, draw=0.0)
        self.ledger.record_decision(decision)
        correction = self.router.complete(decision, Usage(prompt_tokens, 200, finish=Finish.STOP))
        self.ledger.record(Outcome(decision, correction, None))


@pytest.fixture
def service() -> Service:
    """With the defaults."""
    return Service()


def test_a_service_that_has_done_nothing_has_a_status(service: Service) -> None:
    """Nothing is divided by nothing: shares are 0, what is not known is null, tables are empty."""
    status = service.status(after_s=61.4)
    assert (status["began"], status["uptime_s"], status["mode"]) == ("2001-09-09T01:46:40Z", 61, "routing")
    assert status["decisions"] == {
        "total": 0,
        "undecided": 0,
        "by_pool": {"short": {"requests": 0, "share": 0.0}, "long": {"requests": 0, "share": 0.0}},
        "by_reason": [],
    }
    assert status["promise"]["realised"] is None
    assert status["pools"]["short"] == {
        "instances": {},
        "models": [],
        "load": None,
        "pressure": None,
        "spilled_share": 0.0,
    }
    assert status["models"] == status["ratios"] == status["outputs"] == []
    assert status["settings"]["last"] is None


def test_decisions_are_shared_out_by_pool_and_reason(service: Service) -> None:
    """Stages and provenances are added up, the most frequent reason stands first."""
    for _ in range(3):
        service.serve(1300, limit=b"")
    service.serve(1300)
    decisions = service.status()["decisions"]
    assert decisions["by_pool"] == {"short": {"requests": 1, "share": 0.25}, "long": {"requests": 3, "share": 0.75}}
    assert [(row["pool"], row["reason"], row["requests"], row["share"]) for row in decisions["by_reason"]] == [
        ("long", "output_undeclared", 3, 0.75),
        ("short", "fits_whatever_tokenizer", 1, 0.25),
    ]


def test_what_was_learned_and_what_became_of_the_promise(service: Service) -> None:
    """Models with their doubt and alarms, ratios by category, outputs for all categories too, the realised share."""
    service.serve(1300, limit=b"")
    service.serve(9000)
    status = service.status()
    assert status["promise"] == {"promised": 0.001, "realised": 1.0, "judged": 1, "under": 1, "over": 0}
    (model,) = status["models"]
    assert (model["model"], model["samples"], model["drift_alarms"], model["answers_since_alarm"]) == ("m", 1, 0, None)
    assert model["doubt"] > 0.2
    assert [(row["category"], row["samples"]) for row in status["ratios"]] == [("prose", 2)]
    assert {row["category"] for row in status["outputs"]} == {"prose", ALL_MODELS}
    assert (status["answers"]["learned"], status["answers"]["awaited"]) == (1, 0)


def test_the_last_drift_alarm_shows_by_the_answers_since(service: Service) -> None:
    """A tokenizer changed: the alarm is counted, and how many answers it is ago."""
    for _ in range(300):
        service.serve(1300)
    assert service.status()["models"][0]["answers_since_alarm"] is None
    for _ in range(20):
        service.serve(2600)
    (model,) = service.status()["models"]
    assert model["drift_alarms"] == 1
    assert 0 < model["answers_since_alarm"] < 20


def test_pools_show_as_they_stand(service: Service) -> None:
    """Instances by standing, the load of fresh ones, and of the pool that is relieved the share that spills."""
    service.ledger.pool_instances[Pool.SHORT] = {"fresh": 2, "silent": 1}
    service.ledger.pool_states[Pool.SHORT] = PoolState(2, running=8.125, waiting=3.0, kv_usage=0.5)
    service.ledger.steering = Steering(4096, Pool.SHORT, 0.25)
    service.ledger.pressures = {Pool.SHORT: 1.23456}
    service.ledger.pool_models[Pool.SHORT] = ("a", "b")
    pools = service.status()["pools"]
    assert (pools["short"]["pressure"], pools["long"]["pressure"]) == (1.235, None)
    assert (pools["short"]["models"], pools["long"]["models"]) == (["a", "b"], [])
    assert pools["short"]["instances"] == {"fresh": 2, "silent": 1}
    assert (pools["short"]["load"]["running"], pools["short"]["load"]["kv_usage"]) == (8.12, 0.5)
    assert (pools["short"]["spilled_share"], pools["long"]["spilled_share"]) == (0.25, 0.0)


def test_a_threshold_that_moves_shows_where_it_is_and_may_go() -> None:
    """Pinned it goes nowhere; adaptive it moves between its least and what the short pool holds."""
    pinned = Service().status()["threshold"]
    assert (pinned["tokens"], pinned["min_tokens"], pinned["short_max_model_len"]) == (8192, 8192, 8192)
    adaptive = Service(adaptive_threshold=True, short_max_model_len=16_384, shadow=True)
    adaptive.router.steer(Steering(5000))
    status = adaptive.status()
    assert (status["mode"], status["routed_share"]) == ("shadow", 0.0)
    assert Service(routed_share=0.05).status()["routed_share"] == 0.05
    assert status["threshold"] == {
        "tokens": 5000,
        "adaptive": True,
        "set_tokens": 8192,
        "min_tokens": 1024,
        "short_max_model_len": 16_384,
    }


def test_what_an_operator_did_shows(service: Service) -> None:
    """Saves, the last settings read and why they were refused, what waits for a restart, lessons of other workers."""
    service.ledger.state_saves.update({SaveOutcome.SAVED: 3, SaveOutcome.FAILED: 1})
    service.ledger.reloads[ReloadOutcome.REFUSED] += 1
    service.ledger.peer_lessons[LessonOutcome.TAKEN] += 7
    service.running.reloaded_s, service.running.complaint = BEGAN_S + 5, "promise: too large"
    service.running.awaiting_restart = ("listen",)
    status = service.status()
    assert (status["state"]["saved"], status["state"]["failed"]) == (3, 1)
    assert status["settings"]["last"] == {"at": "2001-09-09T01:46:45Z", "outcome": "refused"}
    assert (status["settings"]["refused"], status["settings"]["awaiting_restart"]) == (1, ["listen"])
    assert status["lessons"] == {"sent": 0, "taken": 7, "lost": 0}
    service.running.complaint = ""
    assert service.status()["settings"]["last"]["outcome"] == "applied"


def test_tables_are_bounded_and_the_best_known_stand_first() -> None:
    """However many models clients name, so many rows show, by samples."""
    service = Service(estimator="ema", undeclared_output=100)
    for index in range(MAX_ROWS + 3):
        service.serve(1300, model=f"m{index}")
    service.serve(1300, model="m66")
    ratios = service.status()["ratios"]
    assert (len(ratios), ratios[0]["model"], ratios[0]["samples"]) == (MAX_ROWS, "m66", 2)
    assert service.status()["models"] == service.status()["outputs"] == []
