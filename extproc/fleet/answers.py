"""The nouns of a plan: what was asked, every fleet that was weighed, and the verdict. Values only; drawn elsewhere."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from extproc.fleet.values import Series, Slo
from extproc.routing.values import Pool

HOURS_PER_YEAR = 8760
PLANNER = 2
"""Of the planner that answers: raised when the same question gets other figures. The first wrote no number."""


class Interval(NamedTuple):
    """A mean over replications with its 95 % confidence interval (Student's t); a single one has no bounds: NaN."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ask:
    """What an operator wants to know."""

    workload: str
    source: str
    """One sentence on where the workload comes from."""
    model: str
    gpus: tuple[str, ...]
    """GPUs that may be used; the first is the one the fleet has."""
    rate_per_s: float
    slo: Slo
    max_model_len: int
    """The longest context the fleet must serve."""
    vllm: str
    thresholds: tuple[int, ...]
    """That were tried."""
    requests: int
    """Simulated in each replication."""
    seeds: int
    promise: float
    """Acceptable share of requests that our router sends short and do not fit."""
    priced: bool = True
    """Else not all GPUs have a price: GPUs are counted instead, and every sum of money is NaN."""


class Baseline(StrEnum):
    """What a fleet is configured like."""

    B0 = "B0"
    """The paper's assumption: as many sequences as max_model_len fits into the KV cache."""
    B1 = "B1"
    """vLLM's defaults."""
    B2 = "B2"
    """One pool, tuned."""
    B2_HARDWARE = "B2_hardware"
    """One pool, tuned, on another of the GPUs that may be used: what they save without a split."""
    SPLIT = "split"
    """Two pools on the same hardware, each tuned."""
    SPLIT_HARDWARE = "split_hardware"
    """Two pools, of which the short one may have fewer or cheaper GPUs for each instance."""


class RouterKind(StrEnum):
    """Who routes to two pools."""

    NONE = "none"
    ORACLE = "oracle"
    ANYTIME = "anytime"
    """Ours."""
    EMA = "ema"
    """Published."""
    FIXED = "fixed"
    """Four bytes a token."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One pool of a fleet."""

    pool: Pool
    instances: int
    """By simulation where it was confirmed, else by the closed form."""
    instances_closed_form: int
    instance: str
    """GPU and tensor parallelism."""
    gpus: int
    usd_per_hour: float
    command: str
    """The vLLM command line of an instance."""
    rate_per_s: float
    """That it gets."""
    capacity_per_s: float
    """Requests per second that one instance sustains within the objective, by the closed form."""
    limit: str
    """What binds it there: `kv`, `sequences`, `compute`, `tpot`, `ttft`."""
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    long_prefill_token_threshold: int
    """0 for none."""
    kv_blocks: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a simulation of a pool or a fleet came to, over replications; times in seconds, shares of all arrivals."""

    ttft_p50_s: Interval
    ttft_p99_s: Interval
    tpot_p50_s: Interval
    tpot_p99_s: Interval
    slo_share: Interval
    preemptions_per_mille: Interval
    rejected: Interval
    truncated: Interval
    running_mean: Interval
    kv_mean: Interval
    """Share of KV blocks in use; NaN for a fleet of two pools."""
    ttft_curve: tuple[list[float], list[float]] = ([], [])
    """Seconds, and the share of requests that do not exceed them, of all replications together."""
    tpot_curve: tuple[list[float], list[float]] = ([], [])
    series: Series = field(default_factory=Series)
    """Of the first replication."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the simulation says of a fleet."""

    fleet: Measured
    pools: tuple[Measured, ...]
    """In the order of the fleet's pools."""
    under: Interval
    """Share of requests sent short that do not fit."""
    over: Interval
    """Share of requests sent long that fit."""
    stages: dict[str, float] = field(default_factory=dict)
    """Share of decisions by the stage that settled them; empty where no router decided."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """One way to serve the workload."""

    name: str
    """Short, for tables: `B1 vLLM defaults`."""
    sentence: str
    """What it is, for people."""
    baseline: Baseline
    router: RouterKind
    threshold_tokens: int | None
    """None for one pool."""
    pools: tuple[PoolPlan, ...]
    infeasible: str | None = None
    """Why it cannot be built; the figures then mean nothing."""
    gpu_range: Interval | None = None
    """GPUs needed, over replications sized one by one; None where it was not simulated."""
    usd_range: Interval | None = None
    """USD per hour, likewise."""
    confirmed: Confirmed | None = None
    saving_b1: Interval | None = None
    """Share of the cost of B1 that it saves, replication by replication; None where either was not sized."""
    saving_b2: Interval | None = None

    @property
    def gpus(self) -> int:
        """All of them."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def gpus_closed_form(self) -> int:
        """As the closed form says."""
        return sum(pool.gpus // max(1, pool.instances) * pool.instances_closed_form for pool in self.pools)

    @property
    def usd_per_hour(self) -> float:
        """Of all pools."""
        return sum(pool.usd_per_hour for pool in self.pools)

    @property
    def usd_per_year(self) -> float:
        """Of 8,760 hours."""
        return HOURS_PER_YEAR * self.usd_per_hour


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What two pools on the same hardware come to at one threshold, by the closed form."""

    threshold_tokens: int
    short_share: float
    """Of requests, by their true budget."""
    gpus: int
    usd_per_hour: float
    saving_b1: float
    """Share of the cost of B1; negative where two pools cost more."""
    saving_b2: float
    saving_published: float
    """α (1 − 1/ρ), the published formula, with the throughput ratio that its own assumption (B0) gives."""
    infeasible: str | None = None
    confirmed_usd: Interval | None = None
    """USD per hour, over replications sized by simulation; None where it was not simulated."""
    confirmed_b1: Interval | None = None
    """Saving against B1, replication by replication, both sized by simulation."""
    confirmed_b2: Interval | None = None


class Verdict(StrEnum):
    """The answer in one word."""

    SPLIT = "split"
    """Two pools save money, beyond what chance explains."""
    SPLIT_HARDWARE = "split_hardware"
    """They do if the short pool gets other hardware."""
    NO_DIFFERENCE = "no_difference"
    """Two pools do not help here."""
    LONG_POOL_EMPTY = "long_pool_empty"
    """No request needs the long pool: one short pool would do."""
    INFEASIBLE = "infeasible"
    """No fleet of these GPUs serves this."""


@dataclass(frozen=True, slots=True)
class Saving:
    """Of the recommended fleet against one other."""

    against: str
    gpus: int
    """Fewer than that fleet has."""
    usd_per_year: Interval
    share: Interval
    """Of that fleet's cost; negative where the recommended one costs more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer."""

    ask: Ask
    verdict: Verdict
    sentence: str
    """The verdict in words, with its figures and its baseline."""
    fleets: tuple[FleetPlan, ...]
    """Baselines first."""
    recommended: int | None
    """Position in `fleets`; None where none is feasible."""
    savings: tuple[Saving, ...]
    sweep: tuple[SweepRow, ...]
    notes: tuple[str, ...] = ()
    """What to know before acting on this: assumptions, extrapolations, where closed form and simulation disagree."""
    seconds: float = 0.0
    """It took."""
