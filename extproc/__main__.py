"""`python -m extproc` and the script `dualpool` are one command; knows what signals mean before it has begun."""

import os
import signal
import sys


def main() -> None:
    """Run the command line. `serve` hears signals before all else is imported, which takes a tenth of a second."""
    if sys.argv[1:2] == ["serve"]:
        _hear_signals()
    from extproc.cli import main as run  # noqa: PLC0415 - see above

    run()


def _hear_signals() -> None:
    """Whoever has just started the service may already ask it to read its settings anew, or to stop.

    It reads them later than this, so that the first asks for nothing; and there is nothing yet that could drain. A
    worker is started with SIGHUP held back, so that none ends it before this line.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    # Not an exception: pydantic swallows what is raised while it builds its models, at imports.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))


if __name__ == "__main__":
    main()
