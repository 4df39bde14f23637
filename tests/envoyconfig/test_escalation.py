from collections.abc import Callable

from extproc.envoyconfig.bootstrap import bootstrap
from extproc.envoyconfig.escalation import SHORT_THEN_LONG, escalating_cluster, hedging, once_more
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.envoyconfig.render import as_plain

Build = Callable[..., EnvoyOptions]


def test_the_long_pool_comes_second() -> None:
    """The order of the clusters is that of the attempts, and neither is described anew."""
    plain = as_plain(escalating_cluster(), {})
    assert plain["cluster_type"]["typed_config"]["clusters"] == ["short", "long"]
    assert "load_assignment" not in plain


def test_refusals_come_in_floods() -> None:
    """A full queue refuses everybody at once: Envoy's default of three second attempts at a time would not do."""
    (thresholds,) = as_plain(escalating_cluster(), {})["circuit_breakers"]["thresholds"]
    assert thresholds["max_retries"] >= 65_536


def test_a_request_is_asked_twice_at_most_and_never_twice_in_one_pool() -> None:
    """One retry, which leaves out the pool already asked, for refusals and lost connections alone."""
    policy = as_plain(once_more(None), {})
    assert policy["num_retries"] == 1
    assert policy["retry_priority"]["typed_config"]["update_frequency"] == 1
    assert set(policy["retry_on"].split(",")) == {"reset", "retriable-status-codes"}
    assert policy["retriable_status_codes"] == [400, 503]


def test_without_patience_of_its_own_an_attempt_may_be_silent() -> None:
    """Hedging is off unless a time is named."""
    assert hedging(None) is None
    assert once_more(None).per_try_timeout is None


def test_both_pools_name_themselves_and_only_the_short_one_is_backed(options: Build) -> None:
    """Each endpoint says its pool, for the answer; the long pool has none behind it."""
    several = (Address("127.0.0.1", 8001), Address("127.0.0.1", 8003))
    clusters = {c["name"]: c for c in as_plain(bootstrap(options(short=several)), {})["static_resources"]["clusters"]}
    for pool in ("short", "long"):
        (locality,) = clusters[pool]["load_assignment"]["endpoints"]
        said = [endpoint["metadata"] for endpoint in locality["lb_endpoints"]]
        assert said == [{"filter_metadata": {"dualpool": {"pool": pool}}}] * len(said)
    assert clusters["short"]["load_assignment"]["policy"] == {"overprovisioning_factor": 100_000}
    assert "policy" not in clusters["long"]["load_assignment"]
    assert SHORT_THEN_LONG in clusters
