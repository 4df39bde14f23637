"""What is said of our own bugs, whichever part has them: that there was one and where, never what it was about."""

import logging
from traceback import extract_tb
from types import TracebackType

from extproc.telemetry.ledger import Ledger

_log = logging.getLogger(__name__)


def confess(ledger: Ledger, error: Exception) -> None:
    """Count a bug, and log where it is at the 1st, 10th, 100th …: never its text, which may quote a request."""
    ledger.record_internal_error()
    count = ledger.internal_errors
    if str(count).rstrip("0") == "1":
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(extract_tb(error.__traceback__)))
        _log.error("internal error %d: %s at %s", count, type(error).__name__, where)


class Confessing:
    """A block whose bugs are confessed and end there: neither learning nor counting must break traffic. Reusable."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Confess a bug; let what is none, such as a cancellation, go on."""
        if not isinstance(error, Exception):
            return False
        confess(self._ledger, error)
        return True
