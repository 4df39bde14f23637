"""Notices that errors are no longer what was promised: a new tokenizer, a new template; knows errors alone.

A one-sided cumulative sum (Page's CUSUM) of outliers, errors beyond three stated deviations. Their usual share is
learned, slowly, and twice it is allowed for, so that traffic in which some usage is always false raises no alarm for
ever.
"""

_OUTLIER = 3.0
_ALLOWED = 0.05
"""Share of outliers that is never an alarm."""
_SLOWLY = 1.0 / 500.0
_ALARM = 2.5
"""Outliers in excess of what is allowed. Where a fifth of all answers are outliers it is reached after about 20."""


class Vigil:
    """Watches the errors of one serving model."""

    def __init__(self) -> None:
        self.alarms = 0
        """How often errors have left what was stated for them."""
        self._usual = 0.0
        self._excess = 0.0

    def observe(self, error: float) -> bool:
        """Take in an error in deviations that were stated for it; True where that raises an alarm."""
        outlier = abs(error) > _OUTLIER
        self._excess = max(0.0, self._excess + outlier - _ALLOWED - 2.0 * self._usual)
        self._usual += _SLOWLY * (outlier - self._usual)
        if self._excess < _ALARM:
            return False
        self._excess = 0.0
        self.alarms += 1
        return True
