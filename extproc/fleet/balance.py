"""The balances of one instance at x requests ending per engine step: tokens, sequences, KV blocks, time of a step.

It knows vLLM's scheduling rules (vllm/v1/core/sched/scheduler.py) as balances of means; what is sought or promised is
the business of `extproc.fleet.capacity`, whose docstring derives them.
"""

import math
from dataclasses import dataclass

import numpy as np

from extproc.fleet.backlog import Backlog, Grid, backlog, backlog_mixed, grid, queued
from extproc.fleet.crossing import crossing
from extproc.fleet.demand import Demand
from extproc.fleet.latency import Rhythm, tpot_exceeds, tpot_s
from extproc.fleet.preemption import Border, border, computed_before, return_rate
from extproc.fleet.values import Floats, InstanceSpec, Slo

_NUDGE = 0.05
"""Share by which the batch is raised to see how steps answer."""
_NEAR = 0.005
"""Of a chance: closer than that preemptions are not sought."""
_ALIKE = 1e-3
"""Share of a step by which two guesses of it may differ."""


@dataclass(frozen=True, slots=True)
class State:
    """The instance with x requests ending per step."""

    ends: float
    """x."""
    decoding: float
    recomputed: float
    beat: Rhythm
    blocks: float
    """Mean of KV blocks that are used or claimed."""
    blocks_variance: float
    sequences: float
    bunching: float
    """Variance of the sequences over that of a Poisson number."""


def full_batch(spec: InstanceSpec, asked: Demand, ends: float, *, preempting: bool = True) -> State:
    """Saturated by KV or sequences: each end lets the next in, so arrivals keep step with steps.

    The more is computed anew, the more prompts wait for budget, whose blocks meanwhile are free to grow into, and the
    less is computed anew: where the two agree is sought.
    """
    if not preempting:
        return _state(spec, asked, ends, recomputed=0.0)
    moves = border(spec, asked, ends)

    def found(later: float) -> tuple[State, float]:
        state = _state(spec, asked, ends, recomputed=moves.recomputed(asked.prompt_mean, later), moves=moves)
        return state, computed_before(asked, moves, state.beat.on, state.beat.queue, state.beat.prompts)

    state, seen = found(1.0)
    if seen > 1.0 - _NEAR:
        return state
    return found(crossing(lambda share: found(share)[1] - share, (0.0, 1.0), seen - 1.0, near=_NEAR))[0]


def paced(spec: InstanceSpec, asked: Demand, ends: float) -> State:
    """Below saturation: arrivals keep step with the clock, so longer steps see more of them."""
    return _state(spec, asked, ends, recomputed=0.0, paced=True)


def compute_bound(spec: InstanceSpec, asked: Demand, ends: float) -> State:
    """Every step full: the queue waits outside the instance and claims nothing."""
    decoding = ends * asked.decode_steps
    budget = spec.max_num_batched_tokens - decoding
    on = Grid(1, 1, budget, np.ones(1))
    always = Backlog(np.ones(1), np.array([0.0, 1.0]))
    chunks = 1.0 + (asked.prompt_tokens - 1) / budget
    steps_s = _steps_s(spec, asked, decoding, on, chunks)
    return _assemble(asked, ends, Rhythm(on, always, steps_s, ends), held=chunks, recomputed=0.0, drag=0.0)


def _state(
    spec: InstanceSpec,
    asked: Demand,
    ends: float,
    *,
    recomputed: float,
    paced: bool = False,
    moves: Border | None = None,
) -> State:
    """Solve the prefill queue and price its steps."""
    decoding = ends * asked.decode_steps
    budget = max(1.0, spec.max_num_batched_tokens - decoding)
    prompts = ends * (1.0 + recomputed / asked.prompt_mean)
    busy = min(1.0, prompts * asked.prompt_mean / budget)
    on = _grid(asked, prompts, budget, moves)
    alone, behind = np.ceil(asked.prompt_tokens / budget), 1.0 + (asked.prompt_tokens - 1) / budget
    chunks = (1.0 - busy) * alone + busy * behind
    steps_s = _steps_s(spec, asked, decoding, on, chunks)
    if paced:
        queue, nothing = _paced_queue(on, steps_s, prompts, asked.prompt_mean)
    else:
        queue, nothing = _full_queue(on, prompts, moves)
    held = (chunks + queue.waiting_cells / on.step_cells) * prompts / ends
    more = _steps_s(spec, asked, decoding * (1 + _NUDGE), on, chunks)
    drag = float((more[0] - steps_s[0]) / steps_s[0]) / _NUDGE
    # A prompt of less than half a cell counts as none on the grid, but makes a step mixed.
    unseen = max(0.0, 1.0 - nothing) * float(queue.taken[0])
    unseen_s = unseen * spec.steps.mixed_kv_s * _resident(asked, decoding)
    return _assemble(
        asked, ends, Rhythm(on, queue, steps_s, prompts, unseen_s), held=held, recomputed=recomputed, drag=drag
    )


def _grid(asked: Demand, prompts: float, budget: float, moves: Border | None) -> Grid:
    """For a queue of such prompts, which the border makes come in bunches."""
    square = asked.mean(asked.prompt_tokens.astype(np.float64) ** 2)
    bunches = moves.variance(prompts) if moves else 0.0
    variance = prompts * square + bunches * asked.prompt_mean**2
    waiting = queued(prompts * asked.prompt_mean, variance, budget)
    return grid(budget, asked.prompt_tokens, asked.weight, waiting)


def _full_queue(on: Grid, prompts: float, moves: Border | None) -> tuple[Backlog, float]:
    """Solve the queue for arrivals that the border lets in, or one for each end.

    With it goes the chance that nothing came where the grid sees nothing.
    """
    rates, chances = (moves.arrivals(prompts), moves.chances) if moves else (np.array([prompts]), np.ones(1))
    none, unseen = (float(chances @ np.exp(-rates * seen)) for seen in (1.0, 1.0 - on.prompts[0]))
    return backlog_mixed(on, rates, chances), none / max(unseen, 1e-300)


def _paced_queue(on: Grid, steps_s: Floats, prompts: float, prompt_tokens: float) -> tuple[Backlog, float]:
    """Solve the queue for arrivals per second that make `prompts` per step on average.

    Mean step = empty step + prefill tokens · time per token; only the last depends on how prefill bunches, and little.
    """
    tokens = prompts * prompt_tokens
    each_s = float((steps_s[-1] - steps_s[0]) / on.step_tokens[-1])
    for _ in range(4):
        arrivals = prompts * steps_s / (steps_s[0] + tokens * each_s)
        queue = backlog(on, arrivals)
        before_s, taken = each_s, max(float(queue.taken @ on.step_tokens), 1e-12)
        each_s = float(queue.taken @ steps_s - steps_s[0]) / taken
        if abs(each_s - before_s) * tokens < _ALIKE * float(steps_s[0]):
            break
    return queue, float(np.exp(-arrivals[0] * on.prompts[0]))


def _assemble(asked: Demand, ends: float, beat: Rhythm, *, held: Floats, recomputed: float, drag: float) -> State:
    """Add up KV and sequences; a prompt holds all of its blocks for `held` steps before its first decode step."""
    return State(
        ends=ends,
        decoding=ends * asked.decode_steps,
        recomputed=recomputed,
        beat=beat,
        blocks=ends * (asked.decode_blocks + asked.mean(asked.blocks * held)),
        blocks_variance=ends * (asked.decode_blocks_squared + asked.mean(asked.blocks**2 * held)),
        sequences=ends * (asked.decode_steps + asked.mean(held)),
        bunching=_bunching(beat, drag),
    )


def _bunching(beat: Rhythm, drag: float) -> float:
    """Variance of the batch over Poisson's, by linear noise about the mean.

    An arrival adds one, and its prefill of w seconds holds back z = λ·w/(1 − prefill share) ends; a larger batch takes
    longer steps, by `drag` per cent for each per cent, so what is too many leaves more slowly:
    (E[(1 + z)²] + 1)/(2·(1 − drag)).
    """
    rate, free = beat.prompts / beat.step_s, max(1.0 - beat.prefill_share, 0.02)
    mean, square = beat.prompt_s
    return float((2 + 2 * mean * rate / free + square * (rate / free) ** 2) / 2 / max(1.0 - drag, 0.02))


def _steps_s(spec: InstanceSpec, asked: Demand, decoding: float, on: Grid, chunks: Floats) -> Floats:
    """Time of a step by the cells of prefill it takes: the formula of `StepTimes`, its chunks' terms per token."""
    steps, prefill = spec.steps, on.step_tokens
    pairs = steps.pair_s * asked.mean(asked.prompt_tokens.astype(np.float64) ** 2) / 2
    earlier = steps.earlier_s * asked.mean(asked.prompt_tokens * (chunks - 1) / 2)
    resident = _resident(asked, decoding)
    sequences = decoding + prefill / asked.prompt_mean * asked.mean(chunks)
    times = _at(steps.dense_s, decoding + prefill) + _at(steps.sequences_s, sequences) + steps.kv_s * resident
    times[1:] += steps.mixed_kv_s * resident
    return np.asarray(times + prefill * (pairs + earlier) / asked.prompt_mean, dtype=np.float64)


def _resident(asked: Demand, decoding: float) -> float:
    """Tokens of so many decoding requests."""
    return decoding / max(asked.decode_steps, 1e-12) * asked.decode_tokens


def _at(table: Floats, places: Floats) -> Floats:
    """Read a table between its entries."""
    return np.asarray(np.interp(places, np.arange(len(table)), table), dtype=np.float64)


def fill(spec: InstanceSpec, asked: Demand, state: State) -> float:
    """Share of the scarcer of KV blocks and sequences that the state needs, when saturated."""
    return max(kv_fill(spec, asked, state), state.sequences / spec.max_num_seqs)


def kv_fill(spec: InstanceSpec, asked: Demand, state: State) -> float:
    """KV blocks in use, and unused before the gate and above the watermark, over all.

    Growth eats into the watermark until an end makes room: an exponential depth with the rate of `return_rate`.
    """
    gate = asked.mean(asked.blocks**2) / (2 * asked.mean(asked.blocks))
    above = 0.0
    if spec.watermark:
        kept, rate = spec.watermark * spec.kv_blocks, return_rate(asked)
        above = kept - (1.0 - math.exp(-rate * kept)) / rate
    return float((state.blocks + gate + above) / spec.kv_blocks)


def state_tpot_s(spec: InstanceSpec, asked: Demand, state: State, percentile: float) -> float:
    """TPOT at a percentile of requests, with the swings of the batch over time."""
    return tpot_s(state.beat, _swing_s(spec, asked, state), asked, percentile)


def breaks_tpot(spec: InstanceSpec, asked: Demand, state: State, slo: Slo) -> bool:
    """Whether TPOT at the percentile of the SLO is longer than promised."""
    return tpot_exceeds(state.beat, _swing_s(spec, asked, state), asked, slo.percentile, slo.tpot_s)


def _swing_s(spec: InstanceSpec, asked: Demand, state: State) -> float:
    """One deviation of the batch over time: each sequence brings its own time and its resident tokens."""
    spread = (state.bunching * state.decoding) ** 0.5
    tokens = np.array([state.decoding, state.decoding + spread])
    dense, each = np.diff(_at(spec.steps.dense_s, tokens)), np.diff(_at(spec.steps.sequences_s, tokens))
    return float(dense[0] + each[0]) + spec.steps.kv_s * _resident(asked, spread)
