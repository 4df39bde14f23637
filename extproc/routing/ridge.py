"""Ridge regression towards a prior, fitted recursively with forgetting; knows numbers alone.

Sufficient statistics S ← λS + φφᵀ and b ← λb + φy of past rows; weights w = w_prior + s·δ with (S + Λ)δ = b. In this
form (the information form of recursive least squares) the prior's precision Λ never fades, so directions that the
rows do not excite stay where the prior puts them instead of drifting (covariance wind-up), and statistics of several
replicas add. Every solution is computed from the statistics anew, so rounding errors do not build up.
"""

from collections.abc import Sequence

import numpy as np

from extproc.routing import kernels
from extproc.routing.kernels import Array


class Ridge:
    """Weights of a linear relation. Not thread-safe."""

    def __init__(
        self, prior: Sequence[float], *, scale_min: float, noise: float, trust: float, forgetting: float
    ) -> None:
        """Weights as the prior has them.

        Args:
            prior: weights before the first row.
            scale_min: the least that one unit of δ stands for; otherwise it is the prior's weight.
            noise: standard deviation of y around the relation.
            trust: standard deviation of δ: how far weights may lie from the prior's, in shares of them.
            forgetting: λ, what remains of a row after the next one.
        """
        self.prior: Array = np.array(prior)
        self.scale = np.maximum(np.abs(self.prior), scale_min)
        terms = len(self.prior)
        self.information: Array = np.zeros((terms, terms))
        self.moment: Array = np.zeros(terms)
        self.delta: Array = np.zeros(terms)
        self._noise = noise
        self._forgetting = forgetting
        self._precision = (noise / trust) ** 2
        """Of each δ: Λ has it along its diagonal, and nothing beside."""

    @property
    def weights(self) -> Array:
        """w, as it stands."""
        return self.prior + self.scale * self.delta

    def learn(self, row: Array, value: float) -> None:
        """Take in a row φ, which is scaled already, and its y."""
        kernels.take_in(self.information, self.moment, row, value, self._forgetting)
        self.solve()

    def discount(self, share: float) -> None:
        """Keep that share of what was learned: the world has changed."""
        self.information *= share
        self.moment *= share
        self.solve()

    def solve(self) -> None:
        """Weights from the statistics; to be called when these were replaced."""
        self.delta = kernels.solution(self.information, self._precision, self.moment)

    def variance(self, row: Array) -> float:
        """Of φδ, from what the statistics leave open: large for rows unlike any seen."""
        return self._noise**2 * max(0.0, float(row @ kernels.solution(self.information, self._precision, row)))
