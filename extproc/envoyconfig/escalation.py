"""What Envoy does with a request that the short pool refuses or loses: it asks the long pool, once, by itself.

And with one that an instance of the long pool loses: it asks another, or the same again where there is one only. Knows
retries and the names of the two pools; must not know their instances. docs/adr/0013-escalation.md has what was tried,
and what each value here prevents.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCustomClusterType,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignmentPolicy
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    HedgePolicy,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
)
from envoy_data_plane.envoy.extensions.clusters.aggregate.v3 import ClusterConfig as AggregateCluster
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig
from envoy_data_plane.envoy.type.v3 import Int64Range
from envoy_data_plane.google.protobuf import Any

from extproc.envoyconfig.render import under
from extproc.routing.values import Pool

SHORT_THEN_LONG: Final = "short_then_long"
"""The cluster of the short route."""

LONG_LARGE: Final = "long_large"
"""The route of bodies that exceed the listener's buffer limit by their content-length."""

LARGE_BODY_LIMIT_BYTES: Final = 16 * 2**20
"""How much of such a body is kept for a second attempt: millions of tokens of text, or a dozen images in base64.

Each such request holds as much as it has sent, 16 MiB at most, until its answer begins. A thousand at a time take
16 GiB: a larger limit would sooner lose Envoy than save a request.
"""

NEVER_REACHED: Final = 65_536

_OF_THE_CLUSTER: Final = {
    "cluster_type": (
        "The short pool, and the long one for a second attempt or while no short instance is well. Connections, health "
        "checks and balancing stay with the two clusters."
    ),
    "lb_policy": "Chooses one of the two clusters; that cluster's own policy chooses the instance.",
    "circuit_breakers thresholds": (
        "Second attempts at the same time. Envoy's default of 3 would hand 297 of 300 simultaneous refusals to the "
        "clients."
    ),
}

_OF_THE_ROUTE: Final = {
    "retry_policy retry_on": (
        "The instance could not be reached or broke off before its answer began, or answered with a status below. An "
        "answer that has begun is never taken back."
    ),
    "retry_policy num_retries": "What the long pool says stands: a client's mistake is asked twice at most.",
    "retry_policy retriable_status_codes": (
        "400: up to 0.31 vLLM refuses so what does not fit its context. 503: a full queue (from 0.29). Not 500: it may "
        "be the request that breaks the engine."
    ),
    "retry_policy retry_priority": "The second attempt leaves out the pool of the first.",
    "retry_policy retry_back_off base_interval": "Another pool is asked, so there is nothing to wait for.",
    "retry_policy per_try_timeout": (
        "Seconds without an answer's beginning after which the long pool is asked as well; the first attempt goes on."
    ),
    "hedge_policy": "Nothing is cut: of the two attempts the one that answers first is taken.",
}

_OF_THE_LONG_ROUTE: Final = {
    "retry_policy retry_on": (
        "The instance could not be reached or broke off before its answer began: until a health check finds out, the "
        "one that is gone has the fewest requests in flight and would take the next. What an instance says stands."
    ),
    "retry_policy num_retries": "Two instances at once are hardly gone, and a request may be what breaks them.",
    "retry_policy retry_host_predicate": "The second attempt leaves out the instance of the first.",
    "retry_policy host_selection_retry_max_attempts": (
        "Choices until one is another: of two instances the one that is gone has fewer requests, and is chosen three "
        "times in four. The only instance is asked again."
    ),
    "retry_policy retry_back_off base_interval": "Another instance is asked, so there is nothing to wait for.",
}

_OF_THE_LARGE_ROUTE: Final = {
    "match headers": (
        "Above the listener's buffer limit. The service decides these without their bodies, so that what is kept "
        "changes nothing in what it is sent; of all bodies it would, and chunked ones of 20 MB would reach it whole. "
        "Bodies above what is kept match the next route: nothing is kept in vain."
    ),
    "request_body_buffer_limit": (
        "Envoy can ask again only with a body that it still holds, and the listener's limit lets go of these: without "
        "it they are lost with the instance that had them. The price is memory: as much as the body has, until its "
        "answer begins."
    ),
}

_OF_THE_SHORT_POOL: Final = {
    "overprovisioning_factor": (
        "Percent. One well instance in a thousand keeps the pool's requests. Envoy's default of 140 sends part of them "
        "long once fewer than 72 % are well, which is for the service's spillover to decide."
    ),
}

WHY: Final = {
    **under(f"clusters {SHORT_THEN_LONG}", _OF_THE_CLUSTER),
    **under(f"routes {Pool.SHORT.value}", _OF_THE_ROUTE),
    **under(f"routes {Pool.LONG.value}", _OF_THE_LONG_ROUTE),
    **under(f"routes {LONG_LARGE}", _OF_THE_LONG_ROUTE | _OF_THE_LARGE_ROUTE),
    **under(f"clusters {Pool.SHORT.value}", _OF_THE_SHORT_POOL),
}


def escalating_cluster() -> Cluster:
    """Both pools as one, the short pool first.

    Aggregate rather than composite (from Envoy 1.37), which would go on asking a short pool that hangs.
    """
    pools = AggregateCluster(clusters=[Pool.SHORT.value, Pool.LONG.value])
    return Cluster(
        name=SHORT_THEN_LONG,
        cluster_type=ClusterCustomClusterType(name="envoy.clusters.aggregate", typed_config=Any.pack(pools)),
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        circuit_breakers=CircuitBreakers(thresholds=[CircuitBreakersThresholds(max_retries=NEVER_REACHED)]),
    )


def stays_while_one_is_well() -> ClusterLoadAssignmentPolicy:
    """How the short pool's endpoints are weighed against the long pool's: not at all while one of them is well."""
    return ClusterLoadAssignmentPolicy(overprovisioning_factor=100_000)


def once_more(hedge_after_s: float | None) -> RetryPolicy:
    """The second attempt, on the pool that was not asked; after that time also where the first is merely silent."""
    other_pool = PreviousPrioritiesConfig(update_frequency=1)
    return RetryPolicy(
        retry_on="reset,retriable-status-codes",
        num_retries=1,
        retriable_status_codes=[400, 503],
        retry_priority=RetryPolicyRetryPriority(
            name="envoy.retry_priorities.previous_priorities", typed_config=Any.pack(other_pool)
        ),
        retry_back_off=RetryPolicyRetryBackOff(base_interval=timedelta(milliseconds=1)),
        per_try_timeout=None if hedge_after_s is None else timedelta(seconds=hedge_after_s),
    )


def once_elsewhere() -> RetryPolicy:
    """The second attempt of a request that an instance lost before it said anything, at another one of its pool."""
    another = PreviousHostsPredicate()
    return RetryPolicy(
        retry_on="reset",
        num_retries=1,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(another)
            )
        ],
        host_selection_retry_max_attempts=100,
        retry_back_off=RetryPolicyRetryBackOff(base_interval=timedelta(milliseconds=1)),
    )


def larger_than(buffer_limit_bytes: int) -> HeaderMatcher:
    """The bodies that the listener's limit would let go of, and that are still kept."""
    kept = Int64Range(start=buffer_limit_bytes + 1, end=LARGE_BODY_LIMIT_BYTES + 1)
    return HeaderMatcher(name="content-length", range_match=kept)


def hedging(hedge_after_s: float | None) -> HedgePolicy | None:
    """Whether a silent attempt goes on beside the second one."""
    return None if hedge_after_s is None else HedgePolicy(hedge_on_per_try_timeout=True)
