"""Notices that errors are no longer what was promised: a new tokenizer, a new template; knows errors alone.

A one-sided cumulative sum (Page's CUSUM) of outliers, errors beyond three stated deviations, each by its size. What
they usually come to is learned, quickly at first, and twice that is allowed for: traffic in which some usage is always
false soon raises no alarm. Chance also bunches outliers the more the more there are, so the alarm is set higher with
what is usual.
"""

_OUTLIER = 3.0
"""Stated deviations from which on an error counts, as a multiple of this."""
_SIZE_MAX = 2.0
"""However absurd, one outlier counts as two, so that none raises an alarm alone."""
_ALLOWED = 0.05
"""Outliers for each answer that are never an alarm."""
_SLOWLY = 1.0 / 500.0
_UNEVENTFUL = 100.0
"""Answers without an outlier that stand for those before the first: errors that are all outliers from the first on, as
where the vocabulary was changed while the service was down, are then an alarm, and not what is usual."""
_ALARM = 3.1
"""Outliers in excess of what is allowed. Two absurd errors within ten answers, or four at the margin, reach it."""
_BUNCHED = 60.0
"""Outliers in excess that are no alarm either, for each that is usual of an answer."""


class Vigil:
    """Watches the errors of one serving model."""

    def __init__(self) -> None:
        self.alarms = 0
        """How often errors have left what was stated for them."""
        self.answers = 0
        self.usual = 0.0
        """Size of outliers for each answer."""
        self._excess = 0.0

    def observe(self, error: float) -> bool:
        """Take in an error in deviations that were stated for it; True where that raises an alarm."""
        size = min(_SIZE_MAX, abs(error) / _OUTLIER) if abs(error) > _OUTLIER else 0.0
        self._excess = max(0.0, self._excess + size - _ALLOWED - 2.0 * self.usual)
        alarming = self._excess >= _ALARM + _BUNCHED * self.usual
        self.answers += 1
        self.usual += max(_SLOWLY, 1.0 / (_UNEVENTFUL + self.answers)) * (size - self.usual)
        if not alarming:
            return False
        self._excess = 0.0
        self.alarms += 1
        return True

    def absorb(self, alarms: int, answers: int, usual: float) -> None:
        """Add what another replica has seen, what is usual by its answers."""
        self.alarms += alarms
        self.answers += answers
        self.usual += answers / max(1, self.answers) * (usual - self.usual)
