"""What one instance sustains for a length distribution, in closed form: no clock, no events, no randomness.

It knows vLLM's scheduling rules (vllm/v1/core/sched/scheduler.py) as balances of means, and nothing of pools, prices or
routing. Everything is found for x, the requests that end per engine step; seconds come last.

Balances, with P and O the tokens of a request, n = x·E[O − 1] decoding sequences (Little's law in steps):
  tokens of a step     x·(E[P] + E[O − 1]) ≤ max_num_batched_tokens
  sequences            x·E[O − 1 + prefill steps + steps spent waiting for budget] ≤ max_num_seqs
  KV blocks            x·E[Σ over decode steps ⌈(P + j)/16⌉ + ⌈P/16⌉·(prefill and waiting steps)] + unused ≤ kv_blocks
  resident tokens read x·E[Σ over decode steps (P + j)]
Prefill takes what decoding leaves of the budget; how it bunches is the queue of `extproc.fleet.backlog`, whose steps
are priced one by one, as the time of a step is not linear in its tokens (roofline: weights first, compute later).

Saturated, the admission gate (free blocks must hold the whole next prompt, strictly first come first served) leaves
blocks unused: the next prompt is met in proportion to its size, so E[B²]/(2·E[B]) of blocks B on average. Decoding then
grows into what is left and preempts the youngest; since the running requests are always the oldest, each downward move
of the border between running and waiting recomputes what it passes, as `extproc.fleet.preemption` derives. Prefix
caching is left out.

Against the simulator the saturated rate is within 3 % for spread lengths, whatever binds. It was up to 11 % off where
KV or sequences bind hundreds of requests that are all alike: filled at once, the instance goes on ending and admitting
them in waves, which no balance of means knows; `Capacity.in_waves` says so. Where KV and the budget of steps bind
together (prompts of many steps), it is 1 to 2 % high: to the queue of prompts arrivals go on while it is long, although
the instance then ends fewer requests, and lets fewer in.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.balance import State, breaks_tpot, compute_bound, fill, full_batch, kv_fill, paced, state_tpot_s
from extproc.fleet.crossing import crossing
from extproc.fleet.demand import Demand, demand
from extproc.fleet.latency import ttft_missed, ttft_s
from extproc.fleet.values import BLOCK_TOKENS, InstanceSpec, Slo
from extproc.fleet.workload import Lengths

_HALVINGS = 11
"""Of the bisection: to 1/2,048 of its range."""


_ALIKE = 0.15
"""Coefficient of variation of outputs below which they come in waves: at 0.2 the simulator shows none."""
_LEAST = 1e-4
"""Of the rate at which steps are full: an instance that gives less gives nothing."""


class Limit(StrEnum):
    """What keeps an instance from more."""

    KV = "kv"
    """KV blocks."""
    SEQUENCES = "sequences"
    """max_num_seqs."""
    COMPUTE = "compute"
    """Steps are full: max_num_batched_tokens in each."""
    TPOT = "tpot"
    TTFT = "ttft"


@dataclass(frozen=True, slots=True)
class Steady:
    """An instance at rest under a load."""

    rate_per_s: float
    """Requests offered; those that the instance refuses for their length are among them."""
    limit: Limit
    step_s: float
    """Mean over steps."""
    decoding: float
    """Mean of decoding sequences in a step."""
    kv_share: float
    """Mean share of the KV blocks that hold or are set aside for something."""
    recomputed_tokens: float
    """Per request, after preemptions; estimated for the saturated state only."""
    ttft_s: float
    """At the percentile of the SLO; infinite when saturated, as the queue never empties."""
    tpot_s: float
    """Likewise; when saturated preemptions add to it, which is left out."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one instance sustains."""

    saturated: Steady
    """Batch full, queue never empty: the most it can give."""
    within_slo: Steady | None
    """The highest Poisson load that keeps the SLO; None where even a single request breaks it, then see `breaks`."""
    breaks: Limit
    """What binds within the SLO."""
    rejected: float
    """Share of offered requests that are refused for their length."""
    in_waves: bool = False
    """Outputs are so alike that requests admitted together end together, when KV or sequences bind: the saturated rate
    is a mean over waves, and may be 10 % off."""


class Capacities:
    """What instances sustain under one length distribution and objective; of equal ones it is computed once."""

    def __init__(self, lengths: Lengths, slo: Slo) -> None:
        """Nothing is computed yet."""
        self._lengths, self._slo = lengths, slo
        self._saturated: dict[tuple[object, ...], tuple[Demand, Steady]] = {}
        self._found: dict[tuple[object, ...], Capacity] = {}

    def of(self, spec: InstanceSpec) -> Capacity:
        """See `capacity`."""
        key = _key(spec)
        if key not in self._found:
            asked, full = self._full(spec, key)
            within, breaks = _within(spec, asked, self._slo, full)
            self._found[key] = Capacity(full, within, breaks, asked.rejected, _in_waves(asked, full))
        return self._found[key]

    def sustains(self, spec: InstanceSpec, rate_per_s: float) -> bool:
        """Whether it may sustain such a rate within the SLO, sooner found than how much: by halves until one tells."""
        key = _key(spec)
        if key in self._found:
            within = self._found[key].within_slo
            return within is not None and within.rate_per_s >= rate_per_s
        return _may_sustain(spec, *self._full(spec, key), self._slo, rate_per_s)

    def saturated(self, spec: InstanceSpec) -> Steady:
        """The first part of it: never less than what the instance sustains within the SLO, and sooner found."""
        return self._full(spec, _key(spec))[1]

    def _full(self, spec: InstanceSpec, key: tuple[object, ...]) -> tuple[Demand, Steady]:
        if key not in self._saturated:
            asked = _asked(spec, self._lengths)
            self._saturated[key] = (asked, _saturated(spec, asked, self._slo))
        return self._saturated[key]


def _key(spec: InstanceSpec) -> tuple[object, ...]:
    """Equal for equal instances: arrays by their content."""
    values = (getattr(part, each.name) for part in (spec.steps, spec) for each in fields(part) if each.name != "steps")
    return tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in values)


def capacity(spec: InstanceSpec, lengths: Lengths, slo: Slo) -> Capacity:
    """Find the rates that an instance sustains, saturated and within the SLO.

    Within the SLO arrivals are Poisson and KV use and sequences stay below their bounds at the percentile of the SLO
    (normal approximation of M/G/∞), so that hardly anyone is preempted or waits for KV; TTFT and TPOT are each kept at
    the percentile of served requests. Close to the saturated rate a queue that forms by chance drains slowly: leave
    room, such as the utilisation cap of `extproc.fleet.cost`.

    Raises:
        ConfigurationError: the KV cache does not hold one request of max_model_len, or no request can be served.
    """
    return Capacities(lengths, slo).of(spec)


def saturated(spec: InstanceSpec, lengths: Lengths, slo: Slo) -> Steady:
    """The first part of `capacity`: never less than what the instance sustains within the SLO, and sooner found.

    Raises:
        ConfigurationError: as for `capacity`.
    """
    return Capacities(lengths, slo).saturated(spec)


def _asked(spec: InstanceSpec, lengths: Lengths) -> Demand:
    """Check that such an instance starts."""
    if spec.kv_blocks * BLOCK_TOKENS < spec.max_model_len:
        raise ConfigurationError(
            f"The KV cache of {spec.kv_blocks * BLOCK_TOKENS} tokens does not hold one request of max_model_len "
            f"{spec.max_model_len}: vLLM refuses to start. Lower max_model_len or use more GPU memory."
        )
    return demand(spec, lengths)


def _saturated(spec: InstanceSpec, asked: Demand, slo: Slo) -> Steady:
    """Fill the steps with tokens if KV and sequences allow it, else find the fullest that they allow."""
    ends = spec.max_num_batched_tokens / (asked.prompt_mean + asked.decode_steps)
    state, limit = compute_bound(spec, asked, ends), Limit.COMPUTE
    if fill(spec, asked, state) > 1.0:
        over = 1.0 - fill(spec, asked, state)
        ends = crossing(
            lambda x: 1.0 - fill(spec, asked, full_batch(spec, asked, x)), (ends * _LEAST, ends), over, near=1e-4
        )
        state = full_batch(spec, asked, ends)
        limit = Limit.KV if kv_fill(spec, asked, state) > state.sequences / spec.max_num_seqs else Limit.SEQUENCES
    if limit is Limit.SEQUENCES:
        state = full_batch(spec, asked, ends, preempting=False)
    return _steady(spec, asked, state, limit, (np.inf, state_tpot_s(spec, asked, state, slo.percentile)))


def _in_waves(asked: Demand, full: Steady) -> bool:
    """Whether ends spread less over a lifetime than it takes to blur those of one admission."""
    if full.limit is Limit.COMPUTE or not len(asked.outputs):
        return False
    mean, square = float(asked.outputs_weight @ asked.outputs), float(asked.outputs_weight @ asked.outputs**2)
    return bool(square - mean**2 < (_ALIKE * mean) ** 2)


def _may_sustain(spec: InstanceSpec, asked: Demand, full: Steady, slo: Slo, rate_per_s: float) -> bool:
    """False only where a load of less than the rate breaks a bound already."""
    low, high = 0.0, full.rate_per_s * full.step_s * (1.0 - asked.rejected)
    ceiling = (full.rate_per_s * (1.0 - asked.rejected), full.limit)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        state = paced(spec, asked, middle)
        enough = bool(state.ends / state.beat.step_s >= rate_per_s * (1.0 - asked.rejected))
        holds = _broken(spec, asked, slo, state, ceiling) is None
        if holds == enough:
            return holds
        low, high = (middle, high) if holds else (low, middle)
    return True


def _within(spec: InstanceSpec, asked: Demand, slo: Slo, full: Steady) -> tuple[Steady | None, Limit]:
    """Raise the load until something gives; never beyond the saturated rate, to which a full instance would fall."""
    most = full.rate_per_s * full.step_s * (1.0 - asked.rejected)
    ceiling = (full.rate_per_s * (1.0 - asked.rejected), full.limit)
    ends = _highest(lambda x: _broken(spec, asked, slo, paced(spec, asked, x), ceiling) is None, most)
    above = paced(spec, asked, ends + most * 2.0**-_HALVINGS)
    broken = _broken(spec, asked, slo, above, ceiling) or full.limit
    if ends == 0.0:
        return None, broken
    state = paced(spec, asked, ends)
    return _steady(spec, asked, state, broken, _latencies(spec, asked, slo, state)), broken


def _highest(holds: Callable[[float], bool], most: float) -> float:
    """Bisect for the largest x up to `most` for which it holds; 0 where it never does."""
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _broken(spec: InstanceSpec, asked: Demand, slo: Slo, state: State, ceiling: tuple[float, Limit]) -> Limit | None:
    """Return the first bound that the state does not keep."""
    tail = NormalDist().inv_cdf(slo.percentile / 100)
    spread = tail * state.bunching**0.5
    if state.blocks + spread * state.blocks_variance**0.5 > spec.kv_blocks:
        return Limit.KV
    if state.sequences + spread * state.sequences**0.5 > spec.max_num_seqs:
        return Limit.SEQUENCES
    if state.ends / state.beat.step_s > ceiling[0]:
        return ceiling[1]
    if breaks_tpot(spec, asked, state, slo):
        return Limit.TPOT
    missed = ttft_missed(state.beat, max(slo.ttft_s - spec.api_s, 1e-6), slo.ttft_s_per_token)
    return Limit.TTFT if missed > 1 - slo.percentile / 100 else None


def _latencies(spec: InstanceSpec, asked: Demand, slo: Slo, state: State) -> tuple[float, float]:
    """TTFT and TPOT at the percentile of the SLO."""
    return spec.api_s + ttft_s(state.beat, slo.percentile), state_tpot_s(spec, asked, state, slo.percentile)


def _steady(spec: InstanceSpec, asked: Demand, state: State, limit: Limit, latencies: tuple[float, float]) -> Steady:
    """From steps to seconds."""
    return Steady(
        rate_per_s=state.ends / state.beat.step_s / (1.0 - asked.rejected),
        limit=limit,
        step_s=state.beat.step_s,
        decoding=state.decoding,
        kv_share=min(1.0, state.blocks / spec.kv_blocks),
        recomputed_tokens=state.recomputed,
        ttft_s=latencies[0],
        tpot_s=latencies[1],
    )
