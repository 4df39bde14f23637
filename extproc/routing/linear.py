"""Prompt tokens as a linear function of byte counts; knows no request and no threshold.

    tokens = Σ w_f · count_f + w_s · structure bytes + w_0 + w_m · messages + w_t · tools

Counts are what tokens come from (a word begins, three digits end), so the relation is linear, with an intercept for
what the chat template adds. Errors matter by their share of the prompt, so every row is divided by the prior's estimate
of it, and what is fitted is the relative distance of the truth from that estimate.
"""

import math
from typing import Protocol

import numpy as np

from extproc.routing import prior
from extproc.routing.features import COUNT, Array
from extproc.routing.ridge import Ridge
from extproc.routing.values import MAX_BYTES_PER_TOKEN

TERMS = len(prior.WEIGHTS)
"""Byte counts, then structure bytes, one prompt, its messages, its tools."""
_FRAMING = prior.WEIGHTS[COUNT:]
_FORGETTING = 0.999
"""An answer weighs half after 700 others."""
_NOISE = 0.08
"""Relative error of a linear estimate: standard deviation over sources of text."""
_TRUST = 0.3
"""Standard deviation over vocabularies of a weight's relative distance from the prior's."""
_RATIO_MIN = 0.3
"""The fit never takes less than this share of the prior's estimate, whatever it was taught."""


class Sizes(Protocol):
    """What the estimate needs beside the shares: facts of a request have it, and so has a piece of its prompt."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes, structure included."""
        ...

    @property
    def structure_bytes(self) -> int:
        """The part of them that is JSON the template writes anew."""
        ...

    @property
    def message_count(self) -> int:
        """Messages the template frames."""
        ...

    @property
    def tool_count(self) -> int:
        """Tool definitions."""
        ...


class LinearFit:
    """One serving model's weights. Not thread-safe."""

    def __init__(self) -> None:
        self.ridge = Ridge(prior.WEIGHTS, scale_min=prior.SCALE_MIN, noise=_NOISE, trust=_TRUST, forgetting=_FORGETTING)
        self.update()

    def tokens(self, shares: Array, sizes: Sizes, *, prompts: int = 1) -> float:
        """The estimate; at least one. With `prompts` 0, of a piece of a prompt, which the template begins elsewhere."""
        text_bytes, structure_bytes = sizes.text_bytes, sizes.structure_bytes
        messages, tools = sizes.message_count, sizes.tool_count
        of_shares: list[float] = self._of_shares.dot(shares).tolist()
        by_prior, shift = of_shares
        structure, prompt, message, tool = _FRAMING
        by_prior = text_bytes * by_prior + structure * structure_bytes
        by_prior += prompt * prompts + message * messages + tool * tools
        structure, prompt, message, tool = self._framing_shift
        shift = text_bytes * shift + structure * structure_bytes
        shift += prompt * prompts + message * messages + tool * tools
        of_prior = max(1.0, text_bytes / MAX_BYTES_PER_TOKEN, by_prior)
        return max(1.0, _RATIO_MIN * of_prior, of_prior + shift)

    def row(self, shares: Array, sizes: Sizes) -> tuple[Array, float]:
        """φ, the terms of a prompt as shares of the prior's estimate of it; and the logarithm of that estimate.

        The prior knows no text of more than `MAX_BYTES_PER_TOKEN`: its weights are of either sign, and make less than
        nothing of a run of one character, by which nothing can be divided.
        """
        framing = (sizes.structure_bytes, 1.0, sizes.message_count, sizes.tool_count)
        counts = np.concatenate((shares * sizes.text_bytes, framing))
        tokens = max(1.0, sizes.text_bytes / MAX_BYTES_PER_TOKEN, float(counts @ self.ridge.prior))
        return counts * self.ridge.scale / tokens, math.log(tokens)

    def log_ratio(self, rows: Array) -> Array:
        """log(estimate / prior's estimate) of rows φ, of shape (n, TERMS) or (TERMS,)."""
        logs: Array = np.log(np.maximum(1.0 + rows @ self.ridge.delta, _RATIO_MIN))
        return logs

    def learn(self, row: Array, log_ratio: float) -> None:
        """Take in that the truth was `exp(log_ratio)` times the prior's estimate."""
        self.ridge.learn(row, math.expm1(log_ratio))
        self.update()

    def discount(self, share: float) -> None:
        """Keep that share of what was learned: the world has changed."""
        self.ridge.discount(share)
        self.update()

    def update(self) -> None:
        """Take over the ridge's weights; to be called when it was replaced."""
        shift = self.ridge.weights - self.ridge.prior
        self._of_shares = np.stack((self.ridge.prior[:COUNT], shift[:COUNT]))
        self._framing_shift: list[float] = shift[COUNT:].tolist()
