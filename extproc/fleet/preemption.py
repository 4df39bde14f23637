"""What preemption computes again in a saturated instance, and how it bunches the prompts that are let in.

Lay all requests along a line in the order of their admission, each as long as the KV blocks it holds; the instance
holds the line up to a border. Growth of the decoding ones moves all that stands behind them up, an end moves it down;
what passes the border upwards is preempted, what passes it downwards is let in. Knows these moves as a random walk
(one compound Poisson sum of freed blocks and a constant growth per step), and nothing of seconds.
"""

from dataclasses import dataclass

import numpy as np

from extproc.fleet.backlog import Backlog, Grid, compound, mixed, spread
from extproc.fleet.demand import Demand
from extproc.fleet.values import BLOCK_TOKENS, Floats, InstanceSpec

_MOVES = 64
"""Amounts of freed blocks that are told apart."""
_TAIL = 6.0
"""Standard deviations of the blocks freed in a step."""
_MOST_STEPS = 16
"""For which a prompt waits for budget: whoever waits longer has as many behind it."""


@dataclass(frozen=True, slots=True)
class Border:
    """The moves of a step, at so many ends per step."""

    chances: Floats
    """Of the amounts of blocks that ends free in a step."""
    downwards: Floats
    """Prompts that pass downwards, on average, at each of the amounts."""
    passages: float
    """How often a prompt passes upwards after it was let in, if nothing is free beyond it."""
    rate: float
    """Chance per block that the walk ever rises by it (Lundberg's exponent)."""

    def recomputed(self, prompt_tokens: float, comes_back: float) -> float:
        """Tokens per request that are computed again.

        Each passage is the last but with a chance q, so there are q/(1 − q); what is free beyond makes q rarer.
        """
        again = self.passages / (1.0 + self.passages) * comes_back
        return prompt_tokens * again / (1.0 - again)

    def arrivals(self, prompts: float) -> Floats:
        """Prompts at each of the amounts that come to `prompts` on average."""
        return np.asarray(self.downwards * (prompts / float(self.chances @ self.downwards)), dtype=np.float64)


def border(asked: Demand, ends: float) -> Border:
    """Find the moves at so many ends per step.

    What growth takes that no end of the same step frees passes upwards, and the rest of what ends free downwards.
    """
    growth, finals = ends * growth_blocks(asked), asked.final_blocks.astype(np.float64)
    mean, square = ends * float(asked.output_weight @ finals), ends * float(asked.output_weight @ finals**2)
    width = max(growth, float(finals.max()), (mean + _TAIL * square**0.5) / 2) / _MOVES
    sizes = spread(finals / width, asked.output_weight, 2 * _MOVES)
    chances, net = compound(np.array([ends]), sizes)[0], np.arange(2 * _MOVES) * width - growth
    blocks = asked.mean(asked.blocks)
    upwards = float(chances @ np.maximum(0.0, -net)) / (ends * blocks)
    return Border(chances, np.maximum(0.0, net) / blocks, upwards, return_rate(asked))


def growth_blocks(asked: Demand) -> float:
    """Blocks by which all decoding requests grow between two ends."""
    return max(asked.decode_steps / BLOCK_TOKENS, 1e-9)


def return_rate(asked: Demand) -> float:
    """Lundberg's exponent: the root of r·growth = 1 − E[exp(−r·freed)], growth being even and ends random."""
    growth = growth_blocks(asked)
    rate = 1.0 / growth
    for _ in range(40):
        rate = (1.0 - float(asked.output_weight @ np.exp(-rate * asked.final_blocks))) / growth
    return max(rate, 1e-9)


def comes_back(spec: InstanceSpec, moves: Border, on: Grid, queue: Backlog, prompts: float) -> float:
    """Chance that growth ever reaches a prompt again whose last chunk was computed, by exp(−rate·blocks).

    Free beyond it are the watermark and what all behind it still wait to be computed, as chunks take blocks one by one:
    what came with it and in the steps up to its last, less what its last step has left for them.
    """
    arrivals = moves.arrivals(prompts)
    with_it = float(moves.chances @ arrivals**2) / prompts / 2
    phi = np.fft.rfft(on.prompts)
    half, step = np.exp(with_it * (phi - 1.0)), moves.chances @ np.exp(arrivals[:, None] * (phi - 1.0))
    size, most = len(on.prompts), on.step_cells
    left = np.zeros(size)
    left[: len(queue.waiting) - most] = queue.waiting[most:]
    left[0] += queue.waiting[:most].sum()
    up_to = np.maximum(0.0, np.fft.irfft(np.fft.rfft(left) * half * phi, size))
    cells = np.arange(size)
    steps = np.maximum(1, -(-cells // most))
    count = min(_MOST_STEPS, max(1, on.cells // most))
    behind = np.maximum(0.0, np.fft.irfft(half * step ** np.arange(count)[:, None], size, axis=1))
    slack = steps * most - cells
    exponent = moves.rate * on.tokens_per_cell / BLOCK_TOKENS
    # by the cells that the last step leaves to those behind: E[exp(−rate·what remains of them)]
    remains = np.exp(-exponent * np.maximum(0, cells[None, :] - np.arange(most + 1)[:, None]))
    chance = (behind @ remains.T) / behind.sum(axis=1, keepdims=True)
    found = chance[np.minimum(steps, count) - 1, np.minimum(slack, most)]
    kept = np.exp(-moves.rate * spec.watermark * spec.kv_blocks)
    return float(kept * (up_to @ found) / up_to.sum())
