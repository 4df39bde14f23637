"""Ends a command that starts programs on SIGINT or SIGTERM, so that none of them is left behind; starts none itself."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: every block inside cleans up, and the program exits with 130."""
    int_after = signal.signal(signal.SIGINT, signal.default_int_handler)
    term_after = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        yield
    except KeyboardInterrupt:
        # Python takes its time to end, and a second signal meanwhile would change the status.
        int_after = term_after = signal.SIG_IGN
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, int_after)
        signal.signal(signal.SIGTERM, term_after)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect only after the block.

    For where an exception does harm or is lost: a program half started would be left behind, and pydantic swallows what
    is raised while it builds its models, at imports and when an Envoy configuration is rendered.
    """
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    """As SIGINT, because that is what asyncio turns into a cancellation."""
    signal.raise_signal(signal.SIGINT)
