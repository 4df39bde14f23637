"""An estimate as a distribution; knows arithmetic alone.

Errors are taken as logarithms: they scale with the prompt, and an estimate is never negative.
"""

import msgspec


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """An estimate as a distribution: the logarithm of the tokens has this mean and standard deviation."""

    log_tokens: float
    spread: float

    def position(self, log_tokens: float) -> float:
        """Where a number of tokens lies, in standard deviations from the mean."""
        return (log_tokens - self.log_tokens) / self.spread
