"""A fleet that an operator describes, simulated several times: what `dualpool simulate` does. Shows nothing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from extproc.errors import ConfigurationError
from extproc.fleet.asked import (
    GPU,
    MODEL,
    CatalogFlags,
    TrafficFlags,
    context_notes,
    context_of,
    gpus_of,
    short_share,
    slo_of,
)
from extproc.fleet.confirm import Replication, confirmed, replicate
from extproc.fleet.dispatch import Chance, Dispatch, Oracle, Routed, Single
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.versions import LATEST
from extproc.fleet.report.runs import Run
from extproc.fleet.report.wording import POOLS
from extproc.fleet.simulation import RunRules
from extproc.fleet.values import Balancing, Outcome, Overflow, PoolSpec, Slo
from extproc.fleet.workload import Workload
from extproc.routing.values import Pool
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
_OUTCOMES = {
    Outcome.COMPLETED: "completed",
    Outcome.TRUNCATED: "truncated",
    Outcome.REJECTED_LENGTH: "refused for their length (400)",
    Outcome.REJECTED_BUSY: "refused for the queue (503)",
    Outcome.FAILED: "failed with their engine",
    Outcome.UNFINISHED: "unfinished",
}


@dataclass(frozen=True, slots=True)
class FleetFlags:
    """Instances as an operator configures them; those of the short pool where it differs."""

    known: CatalogFlags
    instances: int | None = None
    """Of one pool; None where there are two."""
    short: int | None = None
    long: int | None = None
    threshold_tokens: int = 8192
    """And the longest context of the short pool."""
    model: str = MODEL
    gpu: str = GPU
    short_gpu: str | None = None
    tensor_parallel: int = 8
    short_tensor_parallel: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    short_max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    short_max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    watermark: float = 0.0
    prefix_caching: bool = False
    max_queued_requests: int | None = None
    overflow: str | None = None
    vllm: str = LATEST
    balancing: str = Balancing.LEAST_REQUEST.value
    deaths_per_hour: float = 0.0

    def pools(self) -> tuple[PoolSpec, ...]:
        """One, or the short and the long one.

        Raises:
            ConfigurationError: they contradict each other, or vLLM would not start such an instance.
        """
        two = self.short is not None or self.long is not None
        if self.instances is not None and two:
            raise ConfigurationError("--instances is for one pool: give it, or --short and --long")
        if self.instances is not None:
            return (self._pool(Pool.LONG, self.instances),)
        if self.short is None or self.long is None:
            raise ConfigurationError("how many instances: give --short and --long, or --instances for one pool")
        if self.context() <= self.threshold_tokens:
            raise ConfigurationError(
                f"--threshold {self.threshold_tokens} must be below the long pool's --max-model-len {self.context()}"
            )
        return (self._pool(Pool.SHORT, self.short), self._pool(Pool.LONG, self.long))

    def context(self) -> int:
        """The longest."""
        return context_of(self.max_model_len)

    def notes(self, workload: Workload) -> tuple[str, ...]:
        """What to know of it."""
        return context_notes(self.known.catalog().model(self.model), self.context(), workload.lengths())

    def _pool(self, pool: Pool, instances: int) -> PoolSpec:
        catalog, short = self.known.catalog(), pool is Pool.SHORT
        name = (short and self.short_gpu) or self.gpu
        spec = instance_of(
            catalog.model(self.model),
            gpus_of(catalog, (name,), self.known.prices)[0],
            (short and self.short_tensor_parallel) or self.tensor_parallel,
            max_model_len=self.threshold_tokens if short else self.context(),
            max_num_seqs=(short and self.short_max_num_seqs) or self.max_num_seqs,
            max_num_batched_tokens=(short and self.short_max_num_batched_tokens) or self.max_num_batched_tokens,
            vllm=self.vllm,
            gpu_memory_utilization=self.gpu_memory_utilization,
            watermark=self.watermark,
            overflow=None if self.overflow is None else Overflow(self.overflow),
            max_queued_requests=self.max_queued_requests,
            prefix_caching=self.prefix_caching,
        )
        return PoolSpec(pool, instances, replace(spec, deaths_per_hour=self.deaths_per_hour), Balancing(self.balancing))


@dataclass(frozen=True, slots=True)
class Replicate:
    """One run of the fleet: a task for another process."""

    pools: tuple[PoolSpec, ...]
    workload: Workload
    router: str
    settings: Settings
    rules: RunRules

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
        return Routed(self.settings, seed)


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
    promise: float = 0.001
    goodput: tuple[str, ...] = ()
    ttft_ms: float | None = None
    tpot_ms: float | None = None
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
        slo = slo_of(self.goodput, ttft_ms=self.ttft_ms, tpot_ms=self.tpot_ms)
        settings = Settings(
            threshold_tokens=self.fleet.threshold_tokens,
            promise=self.promise,
            estimator=router if router in {"ema", "fixed"} else "anytime",  # type: ignore[arg-type]
        )
        rules = [self._rules(workload, slo, seed) for seed in range(self.seeds)]
        tasks = tuple(Replicate(pools, workload, router, settings, each) for each in rules)
        size = " + ".join(f"{pool.instances} × {pool.instance.name}" for pool in pools)
        title = f"{size} under {workload.rate_per_s:,.6g} requests/s of {workload.name}"
        return Asked(title, tasks, self._facts(workload, router, rules[0]), self.fleet.notes(workload))

    def _router(self, pools: int) -> str:
        router = self.router or ("single" if pools == 1 else "anytime")
        if (pools == 1) != (router == "single"):
            wanted = "--instances, or no --router" if pools == 1 else "--short and --long with another --router"
            raise ConfigurationError(f"--router {router} and {pools} pool(s) contradict each other: give {wanted}")
        return router

    def _rules(self, workload: Workload, slo: Slo, seed: int) -> RunRules:
        if self.requests is not None and self.duration_s is not None:
            raise ConfigurationError("--requests and --duration both say how long: give one of them")
        requests = self.requests or _REQUESTS
        if self.duration_s is not None:
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
        notes=(*_arrivals(first.pools, replications), *asked.notes),
    )


def _arrivals(pools: Sequence[PoolSpec], replications: Sequence[Replication]) -> list[str]:
    """What became of the requests of each pool, over all runs."""
    found = []
    for at, pool in enumerate(pools):
        outcomes = sum((replication.run.pools[at].outcomes for replication in replications), Counter[Outcome]())
        parts = ", ".join(f"{count:,} {_OUTCOMES[outcome]}" for outcome, count in sorted(outcomes.items()))
        name = POOLS[pool.pool].capitalize() if len(pools) > 1 else "One pool"
        found.append(f"{name}: {outcomes.total():,} requests; {parts or 'none came'}.")
    return found
