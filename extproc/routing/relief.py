"""Which of a pool's requests go to the other one while it is under pressure; knows no load, only a share."""

from extproc.routing.values import Pool


class Relief:
    """Takes the given share of requests, evenly spread and without chance. Not thread-safe."""

    __slots__ = ("_credit", "_share", "short_max_model_len", "spill_from")

    def __init__(self, short_max_model_len: int) -> None:
        self.spill_from: Pool | None = None
        """The pool to relieve; None while there is none."""
        self.short_max_model_len = short_max_model_len
        """The largest budget the short pool can hold, at or above the threshold."""
        self._share = 0.0
        self._credit = 0.0

    def turn(self, spill_from: Pool | None, share: float) -> None:
        """Relieve this pool of that share of its requests from now on."""
        if spill_from is not self.spill_from:
            self._credit = 0.0
        self.spill_from = spill_from if share > 0 else None
        self._share = share

    def takes_one(self) -> bool:
        """Whether the next request that could go is one of the share."""
        self._credit += self._share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
