"""Percentiles of TTFT and TPOT of an instance whose prefill queue is known.

It knows distributions over steps, nothing of vLLM, KV or what is promised.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from extproc.fleet.backlog import Backlog, Grid, compound
from extproc.fleet.demand import Demand
from extproc.fleet.values import Floats

_SPREADS = 6.0
"""Standard deviations above the mean that must lie on the grid; above it sums are normal."""

_CLASSES_PER_E = 4
"""Of prompts by what they are promised, in logarithmic steps."""
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Steps of an instance at rest, and what they are asked to take."""

    on: Grid
    queue: Backlog
    steps_s: Floats
    """Time of a step that takes 0, 1, … cells of prefill."""
    prompts: float
    """Per step."""
    unseen_s: float = 0.0
    """Mean over steps of what the grid is too coarse for."""

    @property
    def step_s(self) -> float:
        """Mean over steps."""
        return float(self.queue.taken @ self.steps_s) + self.unseen_s

    @property
    def cell_s(self) -> float:
        """Time that a cell of prefill adds, on average."""
        cells = float(self.queue.taken @ np.arange(len(self.steps_s)))
        return (self.step_s - float(self.steps_s[0])) / max(cells, 1e-12)

    @property
    def prompt_s(self) -> Floats:
        """First and second moment of the time that a prompt's prefill adds."""
        cells = np.arange(len(self.on.prompts))
        return np.array([self.on.prompts @ cells * self.cell_s, self.on.prompts @ cells**2 * self.cell_s**2])

    @property
    def prefill_share(self) -> float:
        """Share of the time that prefill adds to the steps."""
        return self.prompts / self.step_s * float(self.prompt_s[0])

    @property
    def ending_s(self) -> float:
        """Mean time of steps by the prefill they take: of the step in which a prompt ends."""
        taking = self.queue.taken * np.arange(len(self.steps_s))
        return float(taking @ self.steps_s) / max(float(taking.sum()), 1e-300)


def ttft_s(beat: Rhythm, percentile: float) -> float:
    """Time from a Poisson arrival to the end of the step that finishes its prompt.

    A request comes during a step in proportion to the step's time, waits for its rest (a quarter or three quarters),
    then for whole steps full of the prompts before it, and for the step that takes its last cell and others' after it.
    """
    waits, masses = _waits(beat, beat.on.prompts)
    return quantile(waits, masses, percentile)


def ttft_missed(beat: Rhythm, ttft_s: float, ttft_s_per_token: float) -> float:
    """Share of requests whose first token takes longer than promised: the larger of a time and a time per token."""
    allowed = np.maximum(ttft_s, ttft_s_per_token * beat.on.tokens_per_cell * np.arange(len(beat.on.prompts)))
    missed = 0.0
    for bound_s, prompts in _by_bound(allowed, beat.on.prompts):
        waits, masses = _waits(beat, prompts)
        missed += float(masses[waits > bound_s].sum())
    return missed


def _by_bound(allowed_s: Floats, prompts: Floats) -> list[tuple[float, Floats]]:
    """Classes of prompts that are promised about the same: the least promise of each, and its prompts' masses."""
    steps = np.log(allowed_s / allowed_s[0]) * _CLASSES_PER_E
    place = steps.astype(np.int64)
    classes = [(float(allowed_s[place == k].min()), np.where(place == k, prompts, 0.0)) for k in np.unique(place)]
    return [(bound_s, masses) for bound_s, masses in classes if masses.sum() > _NEGLIGIBLE]


def _waits(beat: Rhythm, prompts: Floats) -> tuple[Floats, Floats]:
    """TTFT of requests with such prompts, and its masses, which sum to those of the prompts."""
    on, times = beat.on, beat.steps_s
    share = beat.queue.taken * times / beat.step_s
    half = compound(beat.prompts * times / beat.step_s / 2, on.prompts)
    ahead = _ahead(beat, half, prompts)
    cells = np.arange(ahead.shape[1])
    whole = np.maximum(0, -(-cells // on.step_cells) - 1)
    rest = np.clip(cells - whole * on.step_cells, 0, on.step_cells)
    last = _last_s(beat, half)
    work = whole * times[-1] + np.where(whole == 0, last[:, rest], last[-1, rest])
    waits = np.concatenate([(part * times[:, None] + work).ravel() for part in (0.25, 0.75)])
    return waits, np.tile((share[:, None] * ahead).ravel() / 2, 2)


def _ahead(beat: Rhythm, others: Floats, prompts: Floats) -> Floats:
    """By the cells that the present step takes: masses of cells up to the end of a new request's prompt.

    Before it stand what this step leaves and what came in the first half of it.
    """
    on, size = beat.on, len(prompts)
    left = np.zeros((on.step_cells + 1, size))
    left[:-1, 0] = 1.0
    rest = beat.queue.waiting[on.step_cells :]
    left[-1, : len(rest)] = rest / max(rest.sum(), 1e-300)
    both = np.fft.rfft(left, axis=1) * np.fft.rfft(others, axis=1) * np.fft.rfft(prompts)
    return np.asarray(np.maximum(np.fft.irfft(both, size, axis=1), 0.0), dtype=np.float64)


def _last_s(beat: Rhythm, behind: Floats) -> Floats:
    """Mean time of a step that takes so many cells for sure, and of what came behind them what it can."""
    top = beat.on.step_cells
    near = behind[:, : top + 1].copy()
    near[:, -1] += np.maximum(0.0, 1.0 - near.sum(axis=1))
    filled = np.minimum(np.arange(top + 1)[:, None] + np.arange(top + 1), top)
    return np.asarray(near @ beat.steps_s[filled].T, dtype=np.float64)


def tpot_s(beat: Rhythm, swing_s: float, asked: Demand, percentile: float) -> float:
    """Mean time between tokens of a request at a percentile over requests.

    The O − 1 steps of a request last as they would without prefill, plus the prefill of all prompts that come from the
    step that ends its own prompt to its last; these prolong the time in which more come, so that the sum is a branching
    one (Borel and Tanner) with the prefill share as its ratio. `swing_s` is one standard deviation of the empty step
    over time. Only a full step bounds the mean.
    """
    if not len(asked.outputs):
        return 0.0
    mean_s, low, high = beat.step_s, float(beat.steps_s[0]), float(beat.steps_s[-1])
    above = _exceedances(beat, asked)
    for _ in range(30):
        middle = (low + high) / 2
        missed = float(asked.outputs_weight @ above(middle))
        low, high = (middle, high) if missed > 1 - percentile / 100 else (low, middle)
    tail = NormalDist().inv_cdf(percentile / 100)
    return mean_s + max(0.0, float(np.hypot(max(0.0, high - mean_s), tail * swing_s)))


def tpot_exceeds(beat: Rhythm, swing_s: float, asked: Demand, percentile: float, bound_s: float) -> bool:
    """Whether `tpot_s` is above a bound, without searching for it: the sum of prefill alone must leave the swing."""
    if not len(asked.outputs):
        return False
    room, swing = bound_s - beat.step_s, NormalDist().inv_cdf(percentile / 100) * swing_s
    if room < max(0.0, swing):
        return True
    within_s = beat.step_s + (room**2 - swing**2) ** 0.5
    if within_s >= float(beat.steps_s[-1]):
        return False
    return float(asked.outputs_weight @ _exceedances(beat, asked)(within_s)) > 1 - percentile / 100


@dataclass(frozen=True, slots=True)
class _Sums:
    """Prefill that classes of requests meet: on the grid where it fits, else by mean and deviation."""

    steps: Floats
    empty_s: float
    cell_s: float
    means: Floats
    deviations: Floats
    fits: np.ndarray[tuple[int], np.dtype[np.bool_]]
    beyond: Floats
    """Of shape (classes that fit, cells): probability of more cells."""

    def __call__(self, tpot: float) -> Floats:
        """Probability, by class, of a TPOT above this one."""
        cells = (tpot - self.empty_s) * self.steps / self.cell_s
        missed = np.zeros(len(cells))
        for at in np.flatnonzero(~self.fits).tolist():
            missed[at] = 1 - NormalDist(self.means[at], self.deviations[at]).cdf(cells[at])
        places = np.clip(cells[self.fits], 0, self.beyond.shape[1] - 1).astype(np.int64)
        missed[self.fits] = self.beyond[np.arange(len(places)), places]
        return missed


def _exceedances(beat: Rhythm, asked: Demand) -> _Sums:
    """Sum prompts by class of output."""
    on, share = beat.on, min(beat.prefill_share, 0.98)
    rate = beat.prompts / beat.step_s
    arrivals = rate * ((asked.outputs - 1) * beat.steps_s[0] + beat.ending_s)
    cells = np.arange(len(on.prompts))
    mean, square = float(on.prompts @ cells), float(on.prompts @ cells**2)
    means = arrivals * mean / (1 - share)
    deviations = np.sqrt(arrivals * ((square - mean**2) / (1 - share) + mean**2 / (1 - share) ** 3)) + 1e-9
    fits = means + _SPREADS * deviations < len(cells)
    phi = np.fft.rfft(on.prompts)
    family = phi
    for _ in range(60):
        family = phi * np.exp(share * (family - 1))
    masses = np.fft.irfft(np.exp(arrivals[fits][:, None] * (family - 1)), len(cells), axis=1)
    beyond = np.clip(1 - np.cumsum(masses, axis=1), 0, 1)
    return _Sums(asked.outputs, float(beat.steps_s[0]), max(beat.cell_s, 1e-12), means, deviations, fits, beyond)


def quantile(values: Floats, masses: Floats, percentile: float) -> float:
    """Smallest value at which the masses, which sum to about 1, reach the percentile."""
    order = np.argsort(values)
    reached = np.cumsum(masses[order])
    place = int(np.searchsorted(reached, percentile / 100 * reached[-1]))
    return float(values[order[min(place, len(order) - 1)]])
