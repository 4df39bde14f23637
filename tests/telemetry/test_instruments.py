"""Counts and ratios reach a Prometheus scrape with the names and labels the documents promise."""

import urllib.request
from collections.abc import Iterator

import msgspec
import pytest

from extproc.demo.processes import free_ports
from extproc.routing.estimators import EmaEstimator
from extproc.routing.exchange import Outcome
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import RequestFacts, Usage
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.ledger import Ledger, SaveOutcome

FACTS = RequestFacts(text_bytes=40_000, total_text_bytes=40_000, output_tokens=16, model="m")


@pytest.fixture
def parts() -> Iterator[tuple[Ledger, Router, Telemetry]]:
    """A ledger, a router and the instruments over them."""
    ledger = Ledger()
    router = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192))
    telemetry = Telemetry(ledger, router)
    yield ledger, router, telemetry
    telemetry.close()


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """One sample."""
    return telemetry.registry.get_sample_value(name, labels)


def test_a_decision_and_what_was_learned_show(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """The decision's labels, the misroute's direction, the ratio and its samples."""
    ledger, router, telemetry = parts
    decision = router.route(Request(FACTS), draw=0.0)
    assert value(telemetry, "dualpool_observing") == 1
    correction = router.complete(decision, Usage(8000))
    ledger.record_decision(decision)
    ledger.record(Outcome(decision, correction, None))
    labels = {"pool": "long", "reason": "estimator_cold", "provenance": "cold", "stage": "sample"}
    assert value(telemetry, "dualpool_decisions_total", **labels) == 1
    assert value(telemetry, "dualpool_misroutes_total", direction="over") == 1
    assert value(telemetry, "dualpool_misroutes_total", direction="under") == 0, "so that a rate of it is a number"
    assert value(telemetry, "dualpool_bytes_per_token", model="m", category="prose") == 5.0
    assert value(telemetry, "dualpool_bytes_per_token_samples", model="m", category="prose") == 1
    assert value(telemetry, "dualpool_observing") == 0


def test_the_service_s_state_shows(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """Streams open, our bugs, and the threshold in force."""
    ledger, _, telemetry = parts
    ledger.streams = 3
    ledger.record_internal_error()
    assert value(telemetry, "dualpool_streams") == 3
    assert value(telemetry, "dualpool_internal_errors_total") == 1
    assert value(telemetry, "dualpool_threshold") == 8192


def test_promise_and_what_became_of_it_can_be_compared(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """Nothing is said before anything was judged; then the weights show, and the share they make."""
    ledger, router, telemetry = parts
    assert value(telemetry, "dualpool_under_realised") is None
    decision = router.route(Request(FACTS), draw=0.0)
    correction = router.complete(decision, Usage(8000))
    assert correction is not None
    ledger.record(Outcome(decision, msgspec.structs.replace(correction, weight=50.0), None))
    assert value(telemetry, "dualpool_judged_weighted_total") == 50
    assert value(telemetry, "dualpool_misroutes_weighted_total", direction="over") == 50
    assert value(telemetry, "dualpool_misroutes_weighted_total", direction="under") == 0
    assert value(telemetry, "dualpool_under_realised") == 0.0


def test_saves_show(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """Those that failed beside those that did not."""
    ledger, _, telemetry = parts
    ledger.state_saves.update({SaveOutcome.SAVED: 3, SaveOutcome.FAILED: 1})
    assert value(telemetry, "dualpool_state_saves_total", outcome="saved") == 3
    assert value(telemetry, "dualpool_state_saves_total", outcome="failed") == 1


def test_the_endpoint_answers_a_scrape(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """The text comes over HTTP, each metric with its meaning."""
    _, _, telemetry = parts
    (port,) = free_ports(1)
    telemetry.serve("127.0.0.1", port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert "# HELP dualpool_streams gRPC streams open." in text
