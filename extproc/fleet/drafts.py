"""Fleets that are weighed against each other, before any is simulated: what they consist of, by the closed form."""

from dataclasses import dataclass, replace

from extproc.fleet.answers import Baseline, RouterKind
from extproc.fleet.capacity import Capacities, Capacity
from extproc.fleet.configurations import cheapest, default_instance, held_back, slots_instance, tuned_instance
from extproc.fleet.cost import Assumed, Demanded, Split, instances_for, published_saving, rate_within_slo, split
from extproc.fleet.options import PlanOptions
from extproc.fleet.values import InstanceSpec, Slo
from extproc.fleet.workload import Lengths
from extproc.routing.values import Pool

_PARTS = (2, 4)
"""Of a step's tokens, one of which a long prompt gets where it is held back."""
_FAILING_MOST = 0.1
"""Of a pool's requests: no pool may be given up because it has few of them."""


@dataclass(frozen=True, slots=True)
class PoolDraft:
    """One pool by the closed form."""

    pool: Pool
    spec: InstanceSpec
    share: float
    """Of all requests."""
    sustains: Capacity
    instances: int

    @property
    def usd_per_hour(self) -> float:
        """Of all instances."""
        return self.instances * self.spec.usd_per_hour


@dataclass(frozen=True, slots=True)
class Draft:
    """A fleet by the closed form."""

    name: str
    sentence: str
    baseline: Baseline
    router: RouterKind
    threshold_tokens: int | None
    pools: tuple[PoolDraft, ...] = ()
    infeasible: str | None = None

    @property
    def usd_per_hour(self) -> float:
        """Of all pools; infinite where there is no such fleet."""
        return sum(pool.usd_per_hour for pool in self.pools) if self.infeasible is None else float("inf")


def holding_back(draft: Draft, longest_tokens: int) -> list[Draft]:
    """The same fleet whose long prompts, if they take several steps, leave a half or three quarters of each to others.

    In two pools that is for the long one.
    """
    *others, last = draft.pools
    tokens = last.spec.max_num_batched_tokens
    if longest_tokens <= tokens:
        return []
    return [
        replace(draft, pools=(*others, replace(last, spec=held_back(last.spec, max(1, tokens // part)))))
        for part in _PARTS
    ]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Two pools at one threshold: a task for another process."""

    options: PlanOptions
    threshold_tokens: int
    tuned: InstanceSpec
    """One pool's best: the split on the same hardware has its GPU and tensor parallelism."""
    slots: InstanceSpec
    """B0's instance."""

    @property
    def effort(self) -> float:
        """Much the same for each."""
        return 1.0

    def perform(self) -> "ThresholdDrafts":
        """Both splits, and what the published formula promises."""
        lengths = self.options.workload.lengths()
        parts = split(lengths, self.threshold_tokens, assumed=Assumed.DECLARED)
        if parts.share <= 0.0 or not len(parts.long.weight):
            which = "short" if parts.share <= 0.0 else "long"
            return ThresholdDrafts(self.threshold_tokens, parts.share, f"the {which} pool would be empty")
        of_short, of_long = (replace(self.options, slo=slo) for slo in pool_slos(self.options.slo, parts.share))
        known, of_rest = Capacities(parts.short, of_short.slo), Capacities(parts.long, of_long.slo)
        long = _pool(of_long, Pool.LONG, self._same(), of_rest, 1.0 - parts.share, self.options.max_model_len)
        short = _pool(of_short, Pool.SHORT, self._same(), known, parts.share, self.threshold_tokens)
        other = _pool(of_short, Pool.SHORT, self.options, known, parts.share, self.threshold_tokens)
        if long is None:
            return ThresholdDrafts(self.threshold_tokens, parts.share, "no instance holds the longest context")
        return ThresholdDrafts(
            self.threshold_tokens,
            parts.share,
            None if short or other else "no instance serves the short pool",
            (short, long) if short else (),
            (other, long) if other else (),
            self._published(lengths, parts, short.spec if short else None),
        )

    def _same(self) -> PlanOptions:
        """The hardware of one pool."""
        options = self.options
        return replace(options, gpus=options.gpus[:1], tensor_parallel=(self.tuned.gpus,))

    def _published(self, lengths: Lengths, parts: Split, short: InstanceSpec | None) -> float:
        """α (1 − 1/ρ) with ρ from as many sequences as whole contexts fit, of either pool, when saturated."""
        if short is None:
            return float("nan")
        slo = self.options.slo
        fast = Capacities(parts.short, slo).saturated(slots_instance(short)).rate_per_s
        slow = Capacities(lengths, slo).saturated(self.slots).rate_per_s
        return published_saving(parts.share, max(1.0, fast / slow))


@dataclass(frozen=True, slots=True)
class ThresholdDrafts:
    """What two pools come to at one threshold."""

    threshold_tokens: int
    short_share: float
    infeasible: str | None = None
    same: tuple[PoolDraft, ...] = ()
    """Short and long pool on the hardware of one pool; empty where no such instance starts."""
    other: tuple[PoolDraft, ...] = ()
    """With the short pool on whatever costs least."""
    published: float = float("nan")

    @property
    def usd_same(self) -> float:
        """Per hour; infinite where there is none."""
        return sum(pool.usd_per_hour for pool in self.same) if self.same else float("inf")

    @property
    def usd_other(self) -> float:
        """Per hour; infinite where there is none."""
        return sum(pool.usd_per_hour for pool in self.other) if self.other else float("inf")


@dataclass(frozen=True, slots=True)
class Homogeneous:
    """One pool, as each baseline has it."""

    b0: Draft
    b1: Draft
    b2: Draft
    other: Draft | None = None
    """On another GPU, where several may be used and another one costs less: what is not to be taken for a merit of two
    pools."""

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """All of them."""
        return (self.b0, self.b1, self.b2, *([self.other] if self.other else []))


@dataclass(frozen=True, slots=True)
class OnePool:
    """The baselines: a task for another process."""

    options: PlanOptions

    @property
    def effort(self) -> float:
        """There is one."""
        return 1.0

    def perform(self) -> Homogeneous:
        """All of them."""
        return homogeneous(self.options)


def homogeneous(options: PlanOptions) -> Homogeneous:
    """The baselines; at least one instance must start (`options.completed` has made sure)."""
    known, context = Capacities(options.workload.lengths(), options.slo), options.max_model_len
    default = default_instance(options.choice(), known, context)
    tuned = tuned_instance(options.choice(), known, context)
    assert default is not None and tuned is not None  # noqa: PT018
    # Tuning never costs more than not tuning: the defaults are among what it may choose.
    tuned = cheapest([tuned, default], known) or tuned
    return Homogeneous(
        _single(options, "B0 slots", Baseline.B0, slots_instance(default), known),
        _single(options, "B1 vLLM defaults", Baseline.B1, default, known),
        _single(options, "B2 tuned", Baseline.B2, tuned, known),
        _elsewhere(options, tuned, known),
    )


def _elsewhere(options: PlanOptions, tuned: InstanceSpec, known: Capacities) -> Draft | None:
    """One pool on the other GPUs that may be used, unless those of the fleet cost least."""
    found = tuned_instance(options.choice(hardware=True), known, options.max_model_len)
    if found is None or found.name == tuned.name or cheapest([tuned, found], known) is tuned:
        return None
    return _single(options, f"B2 tuned, {found.name}", Baseline.B2_HARDWARE, found, known)


_SENTENCES = {
    Baseline.B0: "One pool that runs only as many requests at a time as whole contexts fit into GPU memory: what the"
    " published savings are measured against.",
    Baseline.B1: "One pool as vLLM starts it if nobody sets anything but the longest context.",
    Baseline.B2: "One pool with vLLM's batch settings chosen for this traffic, --long-prefill-token-threshold among"
    " them: what a careful operator runs today.",
    Baseline.B2_HARDWARE: "One pool with vLLM's batch settings chosen for this traffic, on another of the GPUs that may"
    " be used: what those save without a split.",
}


def _single(options: PlanOptions, name: str, baseline: Baseline, spec: InstanceSpec, known: Capacities) -> Draft:
    pool = _drafted(options, Pool.LONG, spec, known, 1.0)
    return Draft(name, _SENTENCES[baseline], baseline, RouterKind.NONE, None, (pool,))


def _pool(  # noqa: PLR0917 - one line for each pool above
    options: PlanOptions, pool: Pool, hardware: PlanOptions, known: Capacities, share: float, context: int
) -> PoolDraft | None:
    choice = hardware.choice(hardware=True)
    spec = tuned_instance(choice, known, context)
    return None if spec is None else _drafted(options, pool, spec, known, share)


def _drafted(options: PlanOptions, pool: Pool, spec: InstanceSpec, known: Capacities, share: float) -> PoolDraft:
    sustains = known.of(spec)
    demanded = Demanded(options.rate_per_s, options.slo, options.utilisation_cap)
    # Where the closed form sees no way to keep the objective, the rate of a full instance is where a search begins.
    rate = rate_within_slo(sustains) or sustains.saturated.rate_per_s
    instances = instances_for(share * options.rate_per_s, rate, demanded)
    return PoolDraft(pool, spec, share, sustains, instances)


def pool_slos(slo: Slo, short_share: float) -> tuple[Slo, Slo]:
    """The objective of all requests as those of a short and a long pool with such a share of them.

    A single pool may miss the objective for whichever requests it likes, and does for the longest ones. So that two
    pools are held to no more, each may have half of all misses: the rarer ones of the pools a larger part of its own
    requests, up to `_FAILING_MOST`; what it may not use goes to the other one.
    """
    missing = 1.0 - slo.percentile / 100
    most = max(_FAILING_MOST, missing)
    rare = min(short_share, 1.0 - short_share)
    of_rare = min(most, missing / 2 / rare) if rare else most
    of_other = (missing - rare * of_rare) / (1.0 - rare)
    rarely, often = (replace(slo, percentile=100 * (1.0 - part)) for part in (of_rare, of_other))
    return (rarely, often) if short_share < 1.0 - short_share else (often, rarely)
