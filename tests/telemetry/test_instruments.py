"""What is counted reaches a Prometheus scrape with the names and labels of the table."""

import urllib.request
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from extproc.demo.processes import free_ports
from extproc.routing.estimators import EmaEstimator
from extproc.routing.exchange import Outcome
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.values import RequestFacts, Usage
from extproc.telemetry.instruments import Telemetry
from extproc.telemetry.labels import SaveOutcome
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.names import INSTRUMENTS, Kind
from tests.telemetry.recorded import CANARY, happened

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


def scrape(telemetry: Telemetry) -> str:
    """What Prometheus gets, over HTTP."""
    (port,) = free_ports(1)
    telemetry.serve("127.0.0.1", port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


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
    assert value(telemetry, "dualpool_decisions_observed_total") == 1
    assert value(telemetry, "dualpool_misroutes_total", direction="over") == 1
    assert value(telemetry, "dualpool_misroutes_total", direction="under") == 0, "so that a rate of it is a number"
    assert value(telemetry, "dualpool_bytes_per_token", model="m", category="prose") == 5.0
    assert value(telemetry, "dualpool_bytes_per_token_samples", model="m", category="prose") == 1
    assert value(telemetry, "dualpool_observing") == 0


def test_the_service_s_state_shows(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """Streams open, our bugs, shadow mode, and the threshold in force."""
    ledger, _, telemetry = parts
    assert value(telemetry, "dualpool_shadow") == 0
    ledger.streams = 3
    ledger.shadow = True
    ledger.record_internal_error()
    assert value(telemetry, "dualpool_streams") == 3
    assert value(telemetry, "dualpool_internal_errors_total") == 1
    assert value(telemetry, "dualpool_shadow") == 1
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


@pytest.fixture
def families() -> dict[str, Metric]:
    """A scrape of a service in which everything happened, as Prometheus's own parser reads it."""
    telemetry = Telemetry(*happened())
    text = scrape(telemetry)
    telemetry.close()
    assert CANARY not in text
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_a_scrape_is_the_table(families: dict[str, Metric]) -> None:
    """Every instrument is there by the name, type and meaning of the table, and nothing that is not in it."""
    said = {(family.name, family.type, family.documentation) for family in families.values()}
    table = {(entry.prometheus_name.removesuffix("_total"), entry.kind.value, entry.meaning) for entry in INSTRUMENTS}
    assert said == table


def test_labels_are_those_of_the_table(families: dict[str, Metric]) -> None:
    """Every sample has exactly the labels stated, and only values that are stated."""
    for entry in INSTRUMENTS:
        stated = {label.name.replace(".", "_"): label for label in entry.labels}
        for sample in families[entry.prometheus_name.removesuffix("_total")].samples:
            labels = {name: said for name, said in sample.labels.items() if name != "le"}
            assert labels.keys() == stated.keys(), sample
            assert all(said in stated[name].values for name, said in labels.items() if stated[name].values), sample


def test_histograms_have_the_buckets_of_the_table(families: dict[str, Metric]) -> None:
    """Cumulative, up to the count."""
    for entry in INSTRUMENTS:
        if entry.kind is Kind.HISTOGRAM:
            samples = families[entry.prometheus_name].samples
            assert {float(sample.labels["le"]) for sample in samples if "le" in sample.labels} == {
                *entry.bounds, float("inf"),
            }  # fmt: skip


def test_a_histogram_says_what_was_put_in(families: dict[str, Metric]) -> None:
    """0.2 ms and 300 ms for a request's body."""
    samples = families["dualpool_phase_duration_seconds"].samples
    body = {
        sample.labels.get("le", sample.name): sample.value
        for sample in samples
        if sample.labels["phase"] == "request_body"
    }
    assert (body["0.0001"], body["0.00025"], body["0.25"], body["1.0"], body["+Inf"]) == (0, 1, 1, 2, 2)
    assert body["dualpool_phase_duration_seconds_count"] == 2
    assert body["dualpool_phase_duration_seconds_sum"] == pytest.approx(0.3002)


def test_nothing_that_did_not_happen_shows(parts: tuple[Ledger, Router, Telemetry]) -> None:
    """No pool without readings, no steering without one; what may yet happen of a fixed few is 0."""
    _, _, telemetry = parts
    families = {family.name for family in telemetry.registry.collect() if family.samples}
    assert not [name for name in families if name.startswith(("dualpool_pool_", "dualpool_spill", "gen_ai_"))]
    assert value(telemetry, "dualpool_escalations_total", status_class="5xx") == 0
    assert value(telemetry, "dualpool_refusals_total", refusal="busy") == 0
    assert value(telemetry, "dualpool_settings_reloads_total", outcome="refused") == 0
