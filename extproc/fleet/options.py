"""What an operator asks of the planner, and what follows from it before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.answers import Ask, RouterKind
from extproc.fleet.configurations import TENSOR_PARALLEL, Choice
from extproc.fleet.cost import Assumed, budgets
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.prices import counted
from extproc.fleet.values import ABSENT, Floats, InstanceSpec, Ints, Slo, StepTimes
from extproc.fleet.workload import Workload, busiest
from extproc.settings import Settings

THRESHOLDS = (1024, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384, 24_576, 32_768, 65_536)
_IN_ORDER_MOST = 200_000
"""Requests of a trace that are simulated in their order, the busiest: several seconds for each try of a whole pool."""
_SLACK = 2.0
"""A long prompt may take so many times what its prefill takes on an instance that has nothing else to do."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """A question."""

    workload: Workload
    model: Model
    gpus: tuple[Gpu, ...]
    """The first is the one the fleet has; the others the short pool may have too."""
    max_model_len: int
    slo: Slo = field(default_factory=Slo)
    """With `ttft_s_per_token` 0 it is set to what the longest context takes, by `_SLACK`."""
    tensor_parallel: tuple[int, ...] = TENSOR_PARALLEL
    vllm: str = "0.33"
    thresholds: tuple[int, ...] = ()
    """To try; empty for `THRESHOLDS` below max_model_len."""
    utilisation_cap: float = 0.85
    """Share of what keeps the objective that is planned for: fleets are sized for the rate divided by it."""
    promise: float = 0.001
    seeds: int = 3
    requests: int = 10_000
    """Simulated in each try of sizing; confirmation takes three times as many."""
    max_num_seqs: int | None = None
    jobs: int | None = None
    priced: bool = True
    """Whether every GPU has a price; `completed` finds out."""

    @property
    def rate_per_s(self) -> float:
        """Of the workload."""
        return self.workload.rate_per_s

    def tried_thresholds(self) -> tuple[int, ...]:
        """In ascending order, below the longest context."""
        return tuple(sorted(t for t in self.thresholds or THRESHOLDS if t < self.max_model_len))

    def settling_s(self) -> float:
        """Seconds in which a fleet that began empty comes near its usual load: what answers under way still take.

        Of an answer of n tokens that is met under way, E[n²] ÷ 2E[n] tokens are left in the mean (renewal theory: long
        ones are met more often), each in the objective's time per token.
        """
        lengths = self.workload.lengths()
        declared = np.where(lengths.declared_tokens == ABSENT, lengths.output_tokens, lengths.declared_tokens)
        written = np.minimum(lengths.output_tokens, declared)
        left = float(lengths.weight @ written**2) / (2.0 * float(lengths.weight @ written))
        return left * self.slo.tpot_s

    def choice(self, *, hardware: bool = False) -> Choice:
        """What an instance may be: on the first GPU, or with `hardware` on any of them."""
        gpus = self.gpus if hardware else self.gpus[:1]
        return Choice(self.model, gpus, self.tensor_parallel, self.vllm, self.max_num_seqs)

    def settings(self, router: RouterKind, threshold_tokens: int) -> Settings:
        """Of the service that would route."""
        return Settings(
            threshold_tokens=threshold_tokens,
            promise=self.promise,
            estimator="anytime" if router is RouterKind.ANYTIME else router.value,  # type: ignore[arg-type]
        )

    def ask(self) -> Ask:
        """As the report says it."""
        return Ask(
            self.workload.name,
            self.workload.source,
            self.model.name,
            tuple(gpu.name for gpu in self.gpus),
            self.rate_per_s,
            self.slo,
            self.max_model_len,
            self.vllm,
            self.tried_thresholds(),
            self.requests,
            self.seeds,
            self.promise,
            self.priced,
        )


def completed(options: PlanOptions) -> PlanOptions:
    """With the time that long prompts are allowed, GPUs counted where prices are missing, and checked.

    Raises:
        ConfigurationError: no instance of the first GPU holds one longest context, no threshold is below it, or more
            requests are beyond it than may fail.
    """
    if not options.tried_thresholds():
        raise ConfigurationError(f"No threshold lies below max_model_len {options.max_model_len}.")
    options = replace(options, workload=busiest(options.workload, _IN_ORDER_MOST))
    fitting = _fitting(options)
    _check_lengths(options)
    if not all(gpu.usd_per_hour for gpu in options.gpus):
        options = replace(options, gpus=counted(options.gpus), priced=False)
    if options.slo.ttft_s_per_token:
        return options
    per_token = _SLACK * min(_prefill_s_per_token(options, tp) for tp in fitting)
    return replace(options, slo=replace(options.slo, ttft_s_per_token=per_token))


def _check_lengths(options: PlanOptions) -> None:
    """More requests beyond the context than may fail: no number of GPUs helps."""
    lengths = options.workload.lengths()
    beyond = budgets(lengths, Assumed.ACTUAL) > options.max_model_len
    share = float(lengths.weight[beyond].sum())
    if share > 1.0 - options.slo.percentile / 100:
        raise ConfigurationError(
            f"{100 * share:.1f} % of requests take more tokens than max_model_len {options.max_model_len}, and only"
            f" {100 - options.slo.percentile:g} % may fail: give a longer --max-model-len."
        )


def _fitting(options: PlanOptions) -> Sequence[int]:
    """Tensor parallelism with which one longest context fits."""
    fitting, refusal = [], ""
    for tensor_parallel in options.tensor_parallel:
        try:
            _instance(options, tensor_parallel)
            fitting.append(tensor_parallel)
        except ConfigurationError as error:
            refusal = str(error)
    if not fitting:
        raise ConfigurationError(f"No instance of {options.gpus[0].name} serves this: {refusal}")
    return fitting


def _instance(options: PlanOptions, tensor_parallel: int) -> InstanceSpec:
    return instance_of(
        options.model, options.gpus[0], tensor_parallel, max_model_len=options.max_model_len, vllm=options.vllm
    )


def _prefill_s_per_token(options: PlanOptions, tensor_parallel: int) -> float:
    """Of a prompt that fills the context, on an instance that has nothing else to do."""
    spec = _instance(options, tensor_parallel)
    prompt = np.array([options.max_model_len - 1])
    return float(alone_s(spec.steps, spec.max_num_batched_tokens, prompt)[0]) / options.max_model_len


def alone_s(steps: StepTimes, batched_tokens: int, prompt_tokens: Ints) -> Floats:
    """Prefill of prompts, each on an idle instance, in chunks: their steps' times, and attention over all pairs."""
    full, rest = np.divmod(prompt_tokens, batched_tokens)
    chunks = full + (rest > 0)
    dense = full * steps.dense_s[batched_tokens] + np.where(rest > 0, steps.dense_s[rest], 0.0)
    earlier = batched_tokens * chunks * (chunks - 1) / 2
    return np.asarray(
        dense + chunks * steps.sequences_s[1] + steps.pair_s * prompt_tokens**2 / 2 + steps.earlier_s * earlier
    )
