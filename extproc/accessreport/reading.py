"""Access logs → a tally, line by line; a line that is none is counted and no obstacle."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from extproc.accessreport.tally import Tally
from extproc.traces.accesslog import AccessLine, decode
from extproc.traces.files import read_lines


def tally_of(paths: Sequence[Path]) -> Tally:
    """What the lines of some logs come to.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    tally = Tally()
    for path in paths:
        for _, text in read_lines(path, errors="replace"):
            tally.add(_line(text))
    return tally


def _line(text: str) -> AccessLine | None:
    try:
        return decode(text)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None
