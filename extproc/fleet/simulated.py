"""A fleet that an operator describes, simulated several times: what `dualpool simulate` does. Shows nothing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from extproc.assembly import steering_rules
from extproc.errors import ConfigurationError
from extproc.fleet import checks
from extproc.fleet.asked import (
    TrafficFlags,
    short_share,
    slo_of,
)
from extproc.fleet.confirm import Replication, confirmed, replicate
from extproc.fleet.described import FleetFlags
from extproc.fleet.dispatch import Chance, Dispatch, Oracle, Routed, Single
from extproc.fleet.report.runs import Run
from extproc.fleet.report.wording import POOLS
from extproc.fleet.simulation import RunRules
from extproc.fleet.steered import Polling
from extproc.fleet.values import Outcome, PoolSpec, Slo
from extproc.fleet.workload import Workload
from extproc.routing.steerer import SteeringRules
from extproc.settings import Settings

_REQUESTS = 50_000
_WARM_UP_SHARE = 0.2
_ROUTERS = {
    "anytime": "this product's router",
    "ema": "the published router",
    "fixed": "four bytes a token",
    "oracle": "the truth",
    "random": "chance",
    "single": "one pool, no router",
}
_STEERED = frozenset({"anytime", "ema", "fixed"})
"""Routers of the service."""
_OUTCOMES = {
    Outcome.COMPLETED: "completed",
    Outcome.TRUNCATED: "truncated",
    Outcome.REJECTED_LENGTH: "refused for their length (400)",
    Outcome.REJECTED_BUSY: "refused for the queue (503)",
    Outcome.FAILED: "failed with their engine",
    Outcome.UNFINISHED: "unfinished",
}


@dataclass(frozen=True, slots=True)
class Replicate:
    """One run of the fleet: a task for another process."""

    pools: tuple[PoolSpec, ...]
    workload: Workload
    router: str
    settings: Settings
    rules: RunRules
    steering: SteeringRules | None = None
    """None to leave the router alone."""

    @property
    def effort(self) -> float:
        """By its requests."""
        return float(self.rules.requests)

    def perform(self) -> Replication:
        """With a router that has learned nothing yet."""
        threshold = self.settings.threshold_tokens if len(self.pools) > 1 else None
        return replicate(self.pools, self.workload, self._dispatch(), self.rules, threshold)

    def _dispatch(self) -> Dispatch | Routed:
        threshold, seed = self.settings.threshold_tokens, self.rules.seed
        if self.router == "single":
            return Single()
        if self.router == "oracle":
            return Oracle(threshold)
        if self.router == "random":
            return Chance(short_share(self.workload.lengths(), threshold), seed)
        polling = None if self.steering is None else Polling(self.steering, self.settings.pool_poll_s)
        return Routed(self.settings, seed, polling=polling)


@dataclass(frozen=True, slots=True)
class Asked:
    """A simulation that can be done."""

    title: str
    tasks: tuple[Replicate, ...]
    """One for each seed."""
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulateFlags:
    """What `dualpool simulate` is asked."""

    fleet: FleetFlags
    traffic: TrafficFlags
    router: str | None = None
    """None for the service's, or for none where there is one pool."""
    spillover: bool = False
    adaptive_threshold: bool = False
    promise: float = 0.001
    goodput: tuple[str, ...] = ()
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    ttft_ms_per_token: float = 0.0
    requests: int | None = None
    duration_s: float | None = None
    seeds: int = 4

    def asked(self) -> Asked:
        """The runs to do.

        Raises:
            ConfigurationError: a flag or a file cannot be used.
        """
        workload, pools = self.traffic.workload(), self.fleet.pools()
        if self.fleet.prefix_caching and workload.rows.prefixes is None:
            raise ConfigurationError("--enable-prefix-caching needs a --trace whose requests name their hash_ids")
        router = self._router(len(pools))
        slo = slo_of(self.goodput, ttft_ms=self.ttft_ms, tpot_ms=self.tpot_ms, ttft_ms_per_token=self.ttft_ms_per_token)
        settings = Settings(
            threshold_tokens=self.fleet.threshold_tokens,
            short_max_model_len=self.fleet.short_context(),
            spillover=self.spillover,
            adaptive_threshold=self.adaptive_threshold,
            promise=checks.promise(self.promise),
            estimator=router if router in {"ema", "fixed"} else "anytime",  # type: ignore[arg-type]
        )
        rules = [self._rules(workload, slo, seed) for seed in range(self.seeds)]
        steering = self._steering(router, settings)
        tasks = tuple(Replicate(pools, workload, router, settings, each, steering) for each in rules)
        size = " + ".join(f"{pool.instances} × {pool.instance.name}" for pool in pools)
        title = f"{size} under {workload.rate_per_s:,.6g} requests/s of {workload.name}"
        return Asked(title, tasks, self._facts(workload, router, rules[0]), self.fleet.notes(workload))

    def _router(self, pools: int) -> str:
        router = self.router or ("single" if pools == 1 else "anytime")
        if (pools == 1) != (router == "single"):
            wanted = "--instances, or no --router" if pools == 1 else "--short and --long with another --router"
            raise ConfigurationError(f"--router {router} and {pools} pool(s) contradict each other: give {wanted}")
        return router

    def _steering(self, router: str, settings: Settings) -> SteeringRules | None:
        if not (self.spillover or self.adaptive_threshold):
            return None
        if router not in _STEERED:
            raise ConfigurationError(
                f"--spillover and --adaptive-threshold steer the service's router: leave out --router {router}"
            )
        return steering_rules(settings)

    def _rules(self, workload: Workload, slo: Slo, seed: int) -> RunRules:
        if self.requests is not None and self.duration_s is not None:
            raise ConfigurationError("--requests and --duration both say how long: give one of them")
        requests = self.requests or _REQUESTS
        if self.duration_s is not None:
            if not 0.0 < self.duration_s < math.inf:
                raise ConfigurationError(f"--duration {self.duration_s:g} must be above 0, in seconds")
            requests = max(1, math.ceil(self.duration_s * workload.rate_per_s))
        return RunRules(requests, seed=seed, warm_up_share=_WARM_UP_SHARE, slo=slo)

    def _facts(self, workload: Workload, router: str, rules: RunRules) -> tuple[tuple[str, str], ...]:
        return (
            ("Workload", f"{workload.name}. {workload.source}"),
            ("Parted by", _ROUTERS[router]),
            ("Runs", f"{self.seeds} of {rules.requests:,} requests; the first {rules.warm_up_share:.0%} not counted"),
            ("vLLM", f"scheduling as in version {self.fleet.vllm}"),
        )


def conclude(asked: Asked, replications: Sequence[Replication]) -> Run:
    """What the runs came to."""
    first = asked.tasks[0]
    return Run(
        title=asked.title,
        slo=first.rules.slo,
        specs=first.pools,
        confirmed=confirmed(replications),
        facts=asked.facts,
        notes=(*_arrivals(first.pools, replications), *_steered(replications), *asked.notes),
        course=replications[0].run.course,
    )


def _steered(replications: Sequence[Replication]) -> list[str]:
    """What was steered, over all runs."""
    courses = [replication.run.course for replication in replications if replication.run.course is not None]
    if not courses:
        return []
    thresholds = [tokens for course in courses for tokens in course.threshold_tokens]
    from_short = max(share for course in courses for share in course.spilled_from_short)
    from_long = max(share for course in courses for share in course.spilled_from_long)
    said = f"Steered: threshold from {min(thresholds):,} to {max(thresholds):,} tokens; at most {from_short:.0%} of the"
    said += f" short pool's requests spilled to the long one, {from_long:.0%} of the long pool's to the short one."
    return [said]


def _arrivals(pools: Sequence[PoolSpec], replications: Sequence[Replication]) -> list[str]:
    """What became of the requests of each pool, over all runs."""
    found = []
    for at, pool in enumerate(pools):
        outcomes = sum((replication.run.pools[at].outcomes for replication in replications), Counter[Outcome]())
        parts = ", ".join(f"{count:,} {_OUTCOMES[outcome]}" for outcome, count in sorted(outcomes.items()))
        name = POOLS[pool.pool].capitalize() if len(pools) > 1 else "One pool"
        found.append(f"{name}: {outcomes.total():,} requests; {parts or 'none came'}.")
    return found
