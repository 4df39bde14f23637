"""How the pools stand shows on a scrape, and vanishes when nobody can tell any more."""

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from extproc.routing.estimators import EmaEstimator
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.pressure import declare_pressure


class Scrape:
    """A ledger and a router, and what a scrape says of them."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.router = Router(estimator=EmaEstimator(), policy=TokenBudgetPolicy(8192), short_max_model_len=16_384)
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self._registry)
        self.provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        declare_pressure(self.provider.get_meter("dualpool"), self.ledger, self.router)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample."""
        return self._registry.get_sample_value(f"dualpool_{name}", labels)


@pytest.fixture
def scrape() -> Iterator[Scrape]:
    """Of a service that has heard of no pool."""
    made = Scrape()
    yield made
    made.provider.shutdown()


def test_a_pool_shows_the_means_of_its_instances(scrape: Scrape) -> None:
    """Each under its own name; the pool nobody can tell anything of shows nothing."""
    scrape.ledger.pool_states[Pool.SHORT] = PoolState(
        instances=2, running=11.0, waiting=3.0, kv_usage=0.5, preemptions_per_s=0.25, rejections_per_s=0.125
    )
    names = ("running", "waiting", "kv_usage", "preemptions_per_second", "rejections_per_second")
    assert [scrape.value(f"pool_{name}", pool="short") for name in names] == [11.0, 3.0, 0.5, 0.25, 0.125]
    assert [scrape.value(f"pool_{name}", pool="long") for name in names] == [None] * 5


def test_what_the_readings_come_to_shows_while_there_are_any(scrape: Scrape) -> None:
    """The number that steers, of each pool that is seen at the last step."""
    scrape.ledger.pressures = {Pool.SHORT: 1.5, Pool.LONG: 0.0}
    assert [scrape.value("pool_pressure", pool=pool) for pool in Pool] == [1.5, 0.0]
    scrape.ledger.pressures = {Pool.LONG: 0.25}
    assert [scrape.value("pool_pressure", pool=pool) for pool in Pool] == [None, 0.25]


def test_readings_that_can_no_longer_be_used_vanish(scrape: Scrape) -> None:
    """An old number would look like a fresh one."""
    scrape.ledger.pool_states[Pool.SHORT] = PoolState(1, 1.0, 1.0, 1.0)
    assert scrape.value("pool_waiting", pool="short") == 1.0
    scrape.ledger.pool_states[Pool.SHORT] = None
    assert scrape.value("pool_waiting", pool="short") is None


def test_instances_and_polls_show_by_what_they_came_to(scrape: Scrape) -> None:
    """Also where no reading can be used: that is when they are looked at."""
    scrape.ledger.pool_instances[Pool.LONG] = {"fresh": 0, "silent": 2}
    scrape.ledger.polls[Pool.LONG, "timeout"] += 9
    assert scrape.value("pool_instances", pool="long", standing="fresh") == 0
    assert scrape.value("pool_instances", pool="long", standing="silent") == 2
    assert scrape.value("pool_polls_total", pool="long", outcome="timeout") == 9


def test_spilling_shows_by_the_pool_that_is_relieved(scrape: Scrape) -> None:
    """Nothing where nothing steers; 0 while no pool is relieved."""
    assert scrape.value("spill_share", pool="short") is None
    scrape.ledger.steering = Steering(8192)
    assert [scrape.value("spill_share", pool=pool) for pool in Pool] == [0.0, 0.0]
    scrape.ledger.steering = Steering(8192, Pool.LONG, 0.25)
    assert [scrape.value("spill_share", pool=pool) for pool in Pool] == [0.0, 0.25]


def test_the_threshold_shows_as_it_is_followed(scrape: Scrape) -> None:
    """Beside its moves and what bounds it."""
    assert (scrape.value("threshold"), scrape.value("short_max_model_len")) == (8192, 16_384)
    assert scrape.value("threshold_moves_total", direction="up") == 0
    scrape.router.steer(Steering(4096))
    scrape.ledger.threshold_moves["down"] += 1
    assert scrape.value("threshold") == 4096
    assert scrape.value("threshold_moves_total", direction="down") == 1
