"""Prompts that share the token budget of engine steps, as a queue in discrete time.

It knows cells of tokens and steps, nothing of vLLM, of seconds or of KV. One step takes up to `step_cells` cells of the
backlog; meanwhile prompts arrive as a compound Poisson process. The stationary distribution is exact on the grid.
"""

from dataclasses import dataclass

import numpy as np

from extproc.fleet.compiled import compiled
from extproc.fleet.values import Floats, Ints

_MOST_CELLS = 512
"""Of the backlog."""
_MOST_WORK = 256**2 * 32
"""Of cells squared times those of a step: the queue is then solved in less than a millisecond."""
_QUEUES = 5.0
"""Mean backlogs that are told apart: all but e⁻⁵ of an exponential one."""
_LEAST_IDLE = 0.02
"""Of a step's budget: nearer to full the backlog is cut off."""
_FINEST = 32
"""Cells of one step's budget at most."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tokens in cells of equal width."""

    step_cells: int
    """Of one step's budget."""
    cells: int
    """Of the longest backlog that is told apart."""
    tokens_per_cell: float
    prompts: Floats
    """Probability of a prompt of so many cells, 0 to 2·cells; the mean of tokens is kept."""

    @property
    def step_tokens(self) -> Floats:
        """Prefill tokens of a step that takes 0, 1, … step_cells cells."""
        return np.asarray(np.arange(self.step_cells + 1) * self.tokens_per_cell, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The queue at rest."""

    waiting: Floats
    """Probability of so many cells before a step."""
    taken: Floats
    """Probability of a step that takes so many cells."""

    @property
    def waiting_cells(self) -> float:
        """Mean over steps of the cells that a step leaves behind."""
        left = np.maximum(0, np.arange(len(self.waiting)) - (len(self.taken) - 1))
        return float(self.waiting @ left)


def grid(budget_tokens: float, prompt_tokens: Ints, weight: Floats, queued_tokens: float = 0.0) -> Grid:
    """Choose cells fine enough for a step and few enough for the longest prompt behind a queue of so many tokens."""
    longest = float(prompt_tokens.max()) / budget_tokens
    reach = max(4.0, 1.5 * longest + 2.0, longest + _QUEUES * queued_tokens / budget_tokens + 2.0)
    step_cells = int(max(1, min(_FINEST, (_MOST_WORK / reach**2) ** (1 / 3), _MOST_CELLS / reach)))
    cells = int(min(_MOST_CELLS, np.ceil(reach * step_cells)))
    width = budget_tokens / step_cells
    return Grid(step_cells, cells, width, spread(prompt_tokens / width, weight, 2 * cells))


def queued(mean: float, variance: float, most: float) -> float:
    """Mean backlog where work of such moments comes in each step, of which a step does so much: in heavy traffic.

    Kingman's variance/(2·(most − mean)), cut off where hardly anything is idle.
    """
    return variance / (2 * max(most - mean, _LEAST_IDLE * most))


def spread(sizes: Floats, weight: Floats, cells: int) -> Floats:
    """Put sizes in cells on integers, each shared by its two neighbours so that the mean stays."""
    low = np.minimum(np.floor(sizes).astype(np.int64), cells - 1)
    part = np.minimum(sizes - low, 1.0)
    mass = np.bincount(low, weight * (1.0 - part), cells + 1) + np.bincount(low + 1, weight * part, cells + 1)
    return np.asarray(mass[:cells], dtype=np.float64)


def compound(rates: Floats, sizes: Floats) -> Floats:
    """Distributions of the sum of Poisson many sizes, one row per rate.

    The characteristic function of a compound Poisson sum is exp(rate·(φ − 1)), with φ that of one size.
    """
    phi = np.fft.rfft(sizes)
    rows = np.fft.irfft(np.exp(rates[:, None] * (phi[None, :] - 1.0)), len(sizes), axis=1)
    return np.asarray(np.maximum(rows, 0.0), dtype=np.float64)


def mixed(rates: Floats, chances: Floats, sizes: Floats) -> Floats:
    """Distribution of the sum of Poisson many sizes where the rate itself is drawn."""
    phi = np.fft.rfft(sizes)
    row = np.fft.irfft(chances @ np.exp(rates[:, None] * (phi[None, :] - 1.0)), len(sizes))
    return np.asarray(np.maximum(row, 0.0), dtype=np.float64)


def backlog(on: Grid, arrivals: Floats) -> Backlog:
    """Solve the queue: `arrivals[k]` prompts on average come during a step that takes k cells."""
    return _solved(on, compound(arrivals, on.prompts), arrivals)


def backlog_mixed(on: Grid, rates: Floats, chances: Floats) -> Backlog:
    """Solve the queue: in each step the mean number of prompts that come is one of the rates, by chance."""
    sums, mean = mixed(rates, chances, on.prompts), float(chances @ rates)
    return _solved(on, np.tile(sums, (on.step_cells + 1, 1)), np.full(on.step_cells + 1, mean))


def _solved(on: Grid, sums: Floats, arrivals: Floats) -> Backlog:
    """Solve the queue, and take what found no room at the last cell as more full steps, so that no work is lost."""
    waiting = _stationary(_transitions(sums, on.cells), on.step_cells)
    taken, cells = _fold(waiting, on.step_cells), np.arange(on.step_cells + 1)
    size = float(on.prompts @ np.arange(len(on.prompts)))
    lost, idle = float(taken @ (arrivals * size - cells)), float(taken @ (on.step_cells - cells))
    more = min(1.0, max(0.0, lost) / max(idle, 1e-12))
    waiting *= 1.0 - more
    waiting[-1] += more
    return Backlog(waiting, _fold(waiting, on.step_cells))


@compiled
def _transitions(sums: Floats, cells: int) -> Floats:
    """Probability of a backlog of j cells after one of i: less what the step takes, more what comes.

    `sums[k]` is the distribution of what comes during a step of k cells; what finds no room stays at the last cell.
    """
    most = len(sums) - 1
    matrix = np.zeros((cells, cells))
    for before in range(cells):
        taken = min(before, most)
        left, total = before - taken, 0.0
        for after in range(left, cells):
            matrix[before, after] = sums[taken, after - left]
            total += matrix[before, after]
        matrix[before, cells - 1] += max(0.0, 1.0 - total)
        total = max(total, 1.0)
        for after in range(left, cells):
            matrix[before, after] /= total
    return matrix


@compiled
def _stationary(steps: Floats, falls: int) -> Floats:
    """Distribution that a step leaves as it is, of a chain that falls by `falls` at most; `steps` is used up.

    States are left out from the last on: what leads there is led on to where the chain goes from there (Grassmann,
    Taksar and Heyman, Operations Research 33, 1985), so nothing is ever subtracted. A state leads no further down than
    `falls`, so that n² · falls / 2 products do.
    """
    size = len(steps)
    for last in range(size - 1, 0, -1):
        low = max(0, last - falls)
        leaves = steps[last, low:last].sum()
        for before in range(last):
            share = steps[before, last] / leaves
            steps[before, last] = share
            if share > 0.0:
                for after in range(low, last):
                    steps[before, after] += share * steps[last, after]
    rest = np.zeros(size)
    rest[0] = 1.0
    for state in range(1, size):
        for before in range(state):
            rest[state] += rest[before] * steps[before, state]
    total: float = rest.sum()
    for state in range(size):
        rest[state] /= total
    return rest


def _fold(by_waiting: Floats, step_cells: int) -> Floats:
    """From cells that wait to cells that a step takes."""
    folded = by_waiting[: step_cells + 1].copy()
    folded[-1] += by_waiting[step_cells + 1 :].sum()
    return np.asarray(folded, dtype=np.float64)
