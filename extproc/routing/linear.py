"""Prompt tokens as a linear function of byte counts; knows no request and no threshold.

    tokens = Σ w_f · count_f + w_s · structure bytes + w_0 + w_m · messages + w_t · tools

Counts are what tokens come from (a word begins, three digits end), so the relation is linear, with an intercept for
what the chat template adds. Errors matter by their share of the prompt, so every row is divided by the prior's estimate
of it, and what is fitted is the relative distance of the truth from that estimate.
"""

import math
from typing import Protocol

import numpy as np

from extproc.routing import kernels, prior
from extproc.routing.kernels import Array
from extproc.routing.ridge import Ridge
from extproc.routing.values import MAX_BYTES_PER_TOKEN

TERMS = len(prior.WEIGHTS)
"""Byte counts, then structure bytes, one prompt, its messages, its tools."""
_FORGETTING = 0.999
"""An answer weighs half after 700 others."""
_NOISE = 0.08
"""Relative error of a linear estimate: standard deviation over sources of text."""
_TRUST = 0.3
"""Standard deviation over vocabularies of a weight's relative distance from the prior's."""


RATIO_MIN = 0.3
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
        self._weights = np.stack((self.ridge.prior, np.zeros(TERMS)))
        """The prior's, and by how much ours are greater."""
        self.update()

    def tokens(self, shares: Array, sizes: Sizes, *, prompts: int = 1) -> float:
        """The estimate; at least one. With `prompts` 0, of a piece of a prompt, which the template begins elsewhere."""
        framing = (sizes.structure_bytes, prompts, sizes.message_count, sizes.tool_count)
        by_prior, shift = kernels.linear(self._weights, shares, sizes.text_bytes, framing)
        of_prior = max(1.0, sizes.text_bytes / MAX_BYTES_PER_TOKEN, by_prior)
        return max(1.0, RATIO_MIN * of_prior, of_prior + shift)

    def row(self, shares: Array, sizes: Sizes) -> tuple[Array, float]:
        """φ, the terms of a prompt as shares of the prior's estimate of it; and the logarithm of that estimate.

        The prior knows no text of more than `MAX_BYTES_PER_TOKEN`: its weights are of either sign, and make less than
        nothing of a run of one character, by which nothing can be divided.
        """
        framing = (sizes.structure_bytes, 1, sizes.message_count, sizes.tool_count)
        least = max(1.0, sizes.text_bytes / MAX_BYTES_PER_TOKEN)
        row, tokens = kernels.row_of(self.ridge.prior, self.ridge.scale, shares, sizes.text_bytes, framing, least)
        return row, math.log(tokens)

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
        self._weights[1] = self.ridge.scale * self.ridge.delta
