"""What the router knows shows on a scrape, by model, and nothing shows that there is not."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from extproc.routing.anytime import AnytimeEstimator, AnytimeRules
from extproc.routing.estimators import EmaEstimator, Estimator
from extproc.routing.memory import ConversationMemory
from extproc.routing.outputs import OutputModel, OutputRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.served import Promise
from extproc.routing.values import Finish, Usage
from extproc.telemetry.standing import declare_standing

CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"some words " * 600)


class Scrape:
    """Reads what instruments over one router say."""

    def __init__(self, router: Router, registry: CollectorRegistry) -> None:
        self.router = router
        self._registry = registry

    def value(self, name: str, **labels: str) -> float | None:
        """One sample."""
        return self._registry.get_sample_value(name, labels)

    def number(self, name: str, **labels: str) -> float:
        """One sample that must be there."""
        found = self.value(name, **labels)
        assert found is not None, name
        return found

    def names(self) -> set[str]:
        """Everything that has a sample."""
        return {sample.name for family in self._registry.collect() for sample in family.samples}

    def teach(self, prompt_tokens: int, times: int = 1) -> None:
        """Answers to one and the same chat."""
        for _ in range(times):
            decision = self.router.route(read_request("/v1/chat/completions", CHAT), draw=0.0)
            assert decision.observe
            self.router.complete(decision, Usage(prompt_tokens, 200, finish=Finish.STOP))


@contextmanager
def scraped(estimator: Estimator, outputs: OutputModel | None = None) -> Iterator[Scrape]:
    """Instruments over a router of these."""
    router = Router(estimator=estimator, policy=TokenBudgetPolicy(8192), outputs=outputs)
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    declare_standing(provider.get_meter("dualpool"), router)
    yield Scrape(router, registry)
    provider.shutdown()


def test_each_model_shows_how_far_it_has_come() -> None:
    """The promise from the start; samples, doubt, alarms and memory once an answer was learned from."""
    estimator = AnytimeEstimator(AnytimeRules(Promise(0.01)), ConversationMemory(bytes(16)))
    with scraped(estimator) as scrape:
        assert scrape.value("dualpool_promise") == 0.01
        assert scrape.value("dualpool_memory_prompts") == 0
        assert scrape.value("dualpool_drift_doubt", model="m") is None
        scrape.teach(1300)
        assert scrape.value("dualpool_model_samples", model="m") == 1
        assert scrape.number("dualpool_drift_doubt", model="m") > 0.25
        assert scrape.value("dualpool_drift_alarms_total", model="m") == 0
        assert scrape.value("dualpool_memory_prompts") == 1
        assert scrape.value("dualpool_bytes_per_token_samples", model="m", category="prose") == 1


def test_a_changed_tokenizer_shows() -> None:
    """The doubt is gone once the model is known, and back with the alarm when prompts cost twice as much."""
    with scraped(AnytimeEstimator()) as scrape:
        scrape.teach(1300, times=300)
        assert scrape.value("dualpool_drift_doubt", model="m") == 0
        scrape.teach(2600, times=20)
        assert scrape.value("dualpool_drift_alarms_total", model="m") == 1
        assert scrape.number("dualpool_drift_doubt", model="m") > 0.0


def test_learned_outputs_show_once_they_can_be_promised() -> None:
    """Twenty answers are enough to promise one in twenty, eighteen are not; by category and for all of them."""
    with scraped(AnytimeEstimator(), OutputModel(OutputRules(0.05))) as scrape:
        scrape.teach(1300, times=18)
        assert scrape.value("dualpool_output_reserved", model="m", category="prose") is None
        scrape.teach(1300, times=2)
        for category in ("prose", "*"):
            assert 200 <= scrape.number("dualpool_output_reserved", model="m", category=category) <= 212


def test_learned_outputs_show_while_they_are_in_force() -> None:
    """A setting that is read anew may bring them, and let the operator's rule stand for them again."""
    rules = [Router(estimator=AnytimeEstimator(), policy=TokenBudgetPolicy(8192), outputs=outputs)
             for outputs in (OutputModel(OutputRules(0.05)), None)]  # fmt: skip
    with scraped(AnytimeEstimator()) as scrape:
        for other, shown in zip(rules, (True, False), strict=True):
            scrape.router.adopt(other)
            scrape.teach(1300, times=20)
            assert (scrape.value("dualpool_output_reserved", model="m", category="prose") is not None) is shown


def test_an_estimator_that_promises_nothing_shows_no_promise() -> None:
    """With the published estimator neither promise nor drift nor memory is exported, rather than zeros."""
    with scraped(EmaEstimator()) as scrape:
        decision = scrape.router.route(read_request("/v1/completions", b'{"prompt":"hello"}'), draw=0.0)
        scrape.router.complete(decision, None)
        assert scrape.names() == {"dualpool_observing"}


def test_memory_that_is_off_shows_none() -> None:
    """No size rather than an empty memory."""
    with scraped(AnytimeEstimator()) as scrape:
        assert scrape.value("dualpool_memory_prompts") is None
