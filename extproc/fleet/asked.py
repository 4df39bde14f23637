"""Turns what an operator types into the planner's nouns: a workload, a catalogue, an objective, a context.

Knows how flags are spelt and what stands for those not given; computes nothing of any fleet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet import checks
from extproc.fleet.answers import Plan
from extproc.fleet.arrivals import ArrivalKind
from extproc.fleet.cost import Assumed, budgets
from extproc.fleet.declared import parse_policy
from extproc.fleet.hardware.catalog import Catalog, builtin
from extproc.fleet.hardware.checkpoints import unnamed
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.shapes import assumptions
from extproc.fleet.hardware.versions import LATEST
from extproc.fleet.options import PlanOptions
from extproc.fleet.prices import chosen, priced
from extproc.fleet.samples import FixedShare
from extproc.fleet.values import Slo
from extproc.fleet.workload import Lengths, Options, Workload, of_cdf, of_preset, of_trace
from extproc.traces import LengthCdf, Trace, read_log, read_trace

PRESET, MODEL, GPU = "azure-2023", "llama-3-70b", "a100-80gb"
"""For who asks for nothing else: the traffic, model and GPU of arXiv 2604.08075."""
RATE_PER_S = 1000.0
MAX_MODEL_LEN = 65_536
_MS = {"ttft": "ttft_s", "tpot": "tpot_s"}


@dataclass(frozen=True, slots=True)
class TrafficFlags:
    """Which requests come; at most one of the first three is given."""

    preset: str | None = None
    trace: Path | None = None
    cdf: Path | None = None
    output_share: float | None = None
    """How a distribution of totals is split; only with one."""
    rate_per_s: float | None = None
    arrivals: str | None = None
    dispersion: float | None = None
    """At least 1; makes arrivals bursty."""
    max_tokens: str | None = None
    """As `extproc.fleet.declared.FORMS` writes policies."""
    logs: tuple[Path, ...] = ()
    """Access logs of our own, taken as one; in place of the first three."""

    def workload(self) -> Workload:
        """What they describe.

        Raises:
            ConfigurationError: they contradict each other, or a file cannot be used.
        """
        given = [flag for flag in ("preset", "trace", "cdf") if getattr(self, flag) is not None]
        if len(given) > 1:
            raise ConfigurationError(f"--{given[0]} and --{given[1]} both say what comes: give one of them")
        if self.output_share is not None and self.cdf is None:
            raise ConfigurationError("--output-share splits the totals of a distribution: give it with --cdf")
        if self.logs:
            more = f" and {len(self.logs) - 1} more" if len(self.logs) > 1 else ""
            return of_trace(read_log(self.logs), self.logs[0].name + more, self._options(self.rate_per_s))
        if self.trace is not None:
            requests = read_trace(self.trace)
            if isinstance(requests, LengthCdf):
                raise ConfigurationError(f"{self.trace} is a distribution of lengths, no trace: give it with --cdf")
            return of_trace(requests, self.trace.name, self._options(self.rate_per_s))
        options = self._options(RATE_PER_S if self.rate_per_s is None else self.rate_per_s)
        if self.cdf is not None:
            lengths = read_trace(self.cdf)
            if isinstance(lengths, Trace):
                raise ConfigurationError(f"{self.cdf} is a trace, no distribution of lengths: give it with --trace")
            return of_cdf(lengths, self.cdf.name, options, output=_split_of(self.output_share))
        return of_preset(self.preset or PRESET, options)

    def _options(self, rate_per_s: float | None) -> Options:
        return Options(
            rate_per_s=rate_per_s,
            arrivals=None if self.arrivals is None else ArrivalKind(self.arrivals),
            declared=None if self.max_tokens is None else parse_policy(self.max_tokens),
            dispersion=self.dispersion,
        )


def _split_of(output_share: float | None) -> FixedShare:
    if output_share is None:
        return FixedShare()
    if not 0.0 < output_share < 1.0:
        raise ConfigurationError(f"--output-share {output_share} must lie between 0 and 1")
    return FixedShare(output_share)


@dataclass(frozen=True, slots=True)
class CatalogFlags:
    """Where GPUs, models and prices come from, beside what the package brings."""

    gpus: Path | None = None
    models: Path | None = None
    prices: tuple[str, ...] = ()
    """`GPU=USD`, per GPU and hour."""

    def catalog(self) -> Catalog:
        """The catalogue with them.

        Raises:
            ConfigurationError: a file or a price cannot be read.
        """
        return priced(builtin().extended(gpus=self.gpus, models=self.models), self.prices)

    def chosen(self, names: Sequence[str]) -> tuple[Gpu, ...]:
        """GPUs by their names or files, each once.

        Raises:
            ConfigurationError: as for `catalog`; or one is not known, or a price is for none that is.
        """
        return chosen(self.catalog(), names, self.prices)

    def served(self, name: str, *, quantization: str | None = None, kv_cache_dtype: str | None = None) -> Model:
        """The model as it is served: with weights and KV as vLLM's flags have them, else as its entry does.

        Raises:
            ConfigurationError: it is not known, or is quantised already, and otherwise.
        """
        model = self.catalog().model(name)
        if kv_cache_dtype not in (None, "auto"):
            model = model.model_copy(update={"kv_dtype": kv_cache_dtype})
        if quantization is None or model.formats == {quantization}:
            return model
        if model.formats != {"bf16"}:
            raise ConfigurationError(
                f"--quantization {quantization} is for 16-bit weights, and {name} has them in"
                f" {' and '.join(sorted(model.formats))}: vLLM refuses this. Leave the flag out."
            )
        return model.model_copy(update={"dtype": quantization, "quantized_at_start": True})


def slo_of(
    goodput: Sequence[str] = (),
    *,
    ttft_ms: float | None = None,
    tpot_ms: float | None = None,
    percentile: float | None = None,
    ttft_ms_per_token: float = 0.0,
) -> Slo:
    """What is promised to users; what is not given is as `Slo` has it.

    Args:
        goodput: `ttft:2000` and `tpot:80`, in milliseconds, as `vllm bench serve --goodput` takes them.
        ttft_ms: the same, by itself.
        tpot_ms: likewise.
        percentile: of requests that must keep both.
        ttft_ms_per_token: what a prompt is allowed where it comes to more than ttft_ms.

    Raises:
        ConfigurationError: one is not of that form, given twice, or not above 0.
    """
    given: dict[str, float] = {}
    for text in goodput:
        name, _, ms = text.partition(":")
        if name not in _MS or not _is_number(ms):
            raise ConfigurationError(
                f"--goodput {text!r} is not understood: expected ttft:MS or tpot:MS, such as ttft:2000"
            )
        given[name] = float(ms)
    for name, value in (("ttft", ttft_ms), ("tpot", tpot_ms)):
        if value is not None and given.setdefault(name, value) != value:
            raise ConfigurationError(f"--{name} {value:g} and --goodput {name}:{given[name]:g} contradict each other")
    if not all(0.0 < value < float("inf") for value in given.values()):
        raise ConfigurationError("the times of an objective are milliseconds above 0")
    if percentile is not None and not 0.0 < percentile < 100.0:  # noqa: PLR2004 - a percentage
        raise ConfigurationError(f"--percentile {percentile:g} must lie between 0 and 100, such as 99")
    if not 0.0 <= ttft_ms_per_token < float("inf"):
        raise ConfigurationError(f"--ttft-per-token {ttft_ms_per_token:g} must be 0 or more, in milliseconds")
    slo = Slo(ttft_s_per_token=ttft_ms_per_token / 1000)
    slo = replace(slo, **{_MS[name]: value / 1000 for name, value in given.items()})
    return slo if percentile is None else replace(slo, percentile=percentile)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def context_of(max_model_len: int | None) -> int:
    """The longest context: what is given, else `MAX_MODEL_LEN`, the worst case that fleets are provisioned for.

    Raises:
        ConfigurationError: it is below 1.
    """
    if max_model_len is None:
        return MAX_MODEL_LEN
    checks.positive([("--max-model-len", max_model_len)])
    return max_model_len


def context_notes(model: Model, max_model_len: int, lengths: Lengths) -> tuple[str, ...]:
    """What to know of a model and a context: what is assumed, what vLLM lacks or refuses, what does not fit."""
    found = [f"{model.name}: {assumption}." for assumption in assumptions(model)]
    found += [note] if (note := unnamed(model)) else []
    if max_model_len > model.max_context:
        found.append(
            f"{model.name} was made for {model.max_context:,} tokens: vLLM takes --max-model-len {max_model_len:,} only"
            " with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1, and answers may suffer beyond."
        )
    beyond = float(lengths.weight[budgets(lengths, Assumed.DECLARED) > max_model_len].sum() / lengths.weight.sum())
    if beyond > 0.0:
        found.append(
            f"{100 * beyond:.2g} % of requests do not fit {max_model_len:,} tokens with what they declare: no fleet"
            " answers those in full."
        )
    return tuple(found)


def short_share(lengths: Lengths, threshold_tokens: int) -> float:
    """Share of requests whose true budget is within a threshold."""
    fits = budgets(lengths, Assumed.DECLARED) <= threshold_tokens
    return float(np.sum(lengths.weight[fits]) / np.sum(lengths.weight))


@dataclass(frozen=True, slots=True)
class PlanFlags:
    """What `dualpool plan` is asked; what is empty or None takes the default of `PlanOptions`."""

    traffic: TrafficFlags
    known: CatalogFlags
    model: str = MODEL
    gpus: tuple[str, ...] = ()
    max_model_len: int | None = None
    tensor_parallel: tuple[int, ...] = ()
    max_num_seqs: int | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    vllm: str = LATEST
    goodput: tuple[str, ...] = ()
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    percentile: float | None = None
    thresholds: tuple[int, ...] = ()
    utilisation_cap: float = 0.85
    promise: float = 0.001
    seeds: int = 3
    requests: int = 10_000
    jobs: int | None = None

    def options(self) -> PlanOptions:
        """The question.

        Raises:
            ConfigurationError: a flag or a file cannot be used.
        """
        counts = {"--max-num-seqs": [self.max_num_seqs], "--threshold": self.thresholds,
                  "--tensor-parallel-size": self.tensor_parallel}  # fmt: skip
        checks.positive((flag, value) for flag, values in counts.items() for value in values)
        options = PlanOptions(
            workload=self.traffic.workload(),
            model=self.known.served(self.model, quantization=self.quantization, kv_cache_dtype=self.kv_cache_dtype),
            gpus=self.known.chosen(self.gpus or (GPU,)),
            max_model_len=context_of(self.max_model_len),
            slo=slo_of(self.goodput, ttft_ms=self.ttft_ms, tpot_ms=self.tpot_ms, percentile=self.percentile),
            vllm=self.vllm,
            thresholds=self.thresholds,
            utilisation_cap=checks.share("--utilization-cap", self.utilisation_cap),
            promise=checks.promise(self.promise),
            seeds=self.seeds,
            requests=self.requests,
            max_num_seqs=self.max_num_seqs,
            jobs=self.jobs,
        )
        return replace(options, tensor_parallel=self.tensor_parallel) if self.tensor_parallel else options


def with_context_notes(plan: Plan, options: PlanOptions) -> Plan:
    """A plan that says what to know of its longest context."""
    more = context_notes(options.model, options.max_model_len, options.workload.lengths())
    return replace(plan, notes=(*plan.notes, *more))
