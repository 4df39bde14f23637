"""What preemption computes again in a saturated instance, and how it bunches the prompts that are let in.

Lay all requests along a line in the order of their admission, each as long as the KV blocks it holds; the instance
holds the line up to a border. Growth of the decoding ones moves all that stands behind them up, an end moves it down;
what passes the border upwards is preempted, what passes it downwards is let in. Knows these moves as a random walk
(one compound Poisson sum of freed blocks and a constant growth per step), and nothing of seconds.
"""

from dataclasses import dataclass

import numpy as np

from extproc.fleet.backlog import Backlog, Grid, compound, spread
from extproc.fleet.demand import Demand
from extproc.fleet.values import BLOCK_TOKENS, Floats, InstanceSpec

_MOVES = 64
"""Amounts of freed blocks that are told apart, up to the most that one end frees."""
_TAIL = 6.0
"""Standard deviations of the blocks freed in a step."""
_MOST_STEPS = 32
"""For which a prompt is seen to wait for budget."""


@dataclass(frozen=True, slots=True)
class Border:
    """The moves of a step, at so many ends per step."""

    chances: Floats
    """Of the amounts of blocks that ends free in a step."""
    downwards: Floats
    """Prompts that pass downwards, on average, at each of the amounts."""
    returns: float
    """Chance that a prompt that has passed downwards passes upwards again."""
    later: Floats
    """Share of these that do so in more than 0, 1, 2, … steps."""

    def recomputed(self, prompt_tokens: float, later: float) -> float:
        """Tokens per request that are computed again, if a prompt that returns was computed before with chance `later`.

        Each passage is the last but with the chance q, so there are q/(1 − q).
        """
        return prompt_tokens * self.returns / (1.0 - self.returns) * later

    def arrivals(self, prompts: float) -> Floats:
        """Prompts at each of the amounts that come to `prompts` on average."""
        return np.asarray(self.downwards * (prompts / float(self.chances @ self.downwards)), dtype=np.float64)

    def variance(self, prompts: float) -> float:
        """Of the number that is Poisson's mean."""
        return float(self.chances @ self.arrivals(prompts) ** 2) - prompts**2


def border(spec: InstanceSpec, asked: Demand, ends: float) -> Border:
    """Find the moves at so many ends per step.

    What growth takes that no end of the same step frees passes upwards, and the rest of what ends free downwards; that
    is, per block that a prompt brings, passages and 1 + passages. A watermark makes q rarer by exp(−rate·watermark).
    """
    growth, finals = ends * growth_blocks(asked), asked.final_blocks.astype(np.float64)
    mean, square = ends * float(asked.output_weight @ finals), ends * float(asked.output_weight @ finals**2)
    width = max(growth, float(finals.max()), (mean + _TAIL * square**0.5) / 2) / _MOVES
    sizes = spread(finals / width, asked.output_weight, 2 * _MOVES)
    chances, net = compound(np.array([ends]), sizes)[0], np.arange(2 * _MOVES) * width - growth
    blocks = asked.mean(asked.blocks)
    upwards = float(chances @ np.maximum(0.0, -net)) / (ends * blocks)
    kept = float(np.exp(-return_rate(asked) * spec.watermark * spec.kv_blocks)) if spec.watermark else 1.0
    again = upwards / (1.0 + upwards)
    return Border(chances, np.maximum(0.0, net) / blocks, again * kept, _later(chances, net / width, again))


def _later(chances: Floats, net: Floats, again: float) -> Floats:
    """Share of returns that take more than 0, 1, … steps: the walk from where prompts come to lie, until it is back.

    A step down by so much lets in prompts that come to lie anywhere within it. Places are in cells; growth of a part of
    a cell moves a cell with that chance.
    """
    size = 2 * len(net)
    places = np.clip(net[None, :] - np.arange(size)[:, None], 0.0, 1.0) @ chances
    places /= places.sum()
    low = int(np.floor(net[0]))
    part = net[0] - low
    moves = np.convolve(chances, [1.0 - part, part])
    left = [1.0]
    for _ in range(_MOST_STEPS):
        moved = np.convolve(places, moves)
        left.append(left[-1] - float(moved[:-low].sum()) / max(again, 1e-12))
        places = moved[-low : size - low]
    return np.asarray(np.maximum(0.0, left), dtype=np.float64)


def growth_blocks(asked: Demand) -> float:
    """Blocks by which all decoding requests grow between two ends."""
    return max(asked.decode_steps / BLOCK_TOKENS, 1e-9)


def return_rate(asked: Demand) -> float:
    """Chance per block that the walk ever rises by it, Lundberg's exponent.

    The root of r·growth = 1 − E[exp(−r·freed)], growth being even and ends random.
    """
    growth = growth_blocks(asked)
    rate = 1.0 / growth
    for _ in range(40):
        rate = (1.0 - float(asked.output_weight @ np.exp(-rate * asked.final_blocks))) / growth
    return max(rate, 1e-9)


def computed_before(asked: Demand, moves: Border, on: Grid, queue: Backlog, prompts: float) -> float:
    """Chance that a prompt that returns was computed by then, rather than still waiting for the budget of a step.

    Before it stand what the last step left and half of what was let in with it; a part of it counts for a part.
    """
    with_it = (moves.variance(prompts) / prompts + prompts) / 2
    size, most = len(on.prompts), on.step_cells
    left = np.zeros(size)
    left[: len(queue.waiting) - most] = queue.waiting[most:]
    left[0] += queue.waiting[:most].sum()
    half = spread(asked.prompt_tokens / (2 * on.tokens_per_cell), asked.weight, size)
    both = np.fft.rfft(left) * np.exp(with_it * (np.fft.rfft(on.prompts) - 1.0)) * np.fft.rfft(half)
    until = np.maximum(0.0, np.fft.irfft(both, size))
    steps = np.maximum(0, -(-np.arange(size) // most) - 1)
    return float(until @ moves.later[np.minimum(steps, _MOST_STEPS)] / until.sum())
