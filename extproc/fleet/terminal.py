"""What the planner's commands share at a terminal: consoles, a progress bar, a command line to repeat. No figures."""

import datetime as dt
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from extproc.errors import ConfigurationError

_PLAIN_WIDTH = 170
"""Where the output is no terminal: wide enough to keep every table whole."""
_FIRST = "starting"


def console(*, to_stderr: bool) -> Console:
    """A console that never writes control codes to anything but a terminal, and keeps tables whole there."""
    found = Console(stderr=to_stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=to_stderr, highlight=False, width=_PLAIN_WIDTH)


@contextmanager
def progress(output: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is told what is being done, how much of it is, and of how much; silent where it cannot be redrawn."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = output.is_terminal and not output.is_dumb_terminal
    with Progress(*columns, console=output, transient=True, disable=not shown) as bar:
        task = bar.add_task(_FIRST, total=None)

        def show(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield show


def command_line() -> str:
    """What was typed, to be typed again."""
    return shlex.join(["dualpool", *sys.argv[1:]])


def today() -> str:
    """The date in words."""
    return f"{dt.datetime.now(tz=dt.UTC):%-d %B %Y}"  # noqa: TID251 - a report says when it was made


def check_writable(report: Path) -> None:
    """Refuse a place for a report before anything is computed.

    Raises:
        ConfigurationError: it is a folder, or stands in none.
    """
    if report.is_dir() or not report.parent.is_dir():
        raise ConfigurationError(f"the report cannot be written to {report}: expected a file in a folder that exists")
