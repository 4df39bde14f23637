"""A file → `Trace` or `LengthCdf`: tells its format by what it holds, and names the line where it does not fit."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from extproc.errors import ConfigurationError
from extproc.traces.cdf import LengthCdf, as_cdf
from extproc.traces.columns import Columns, Record, Trace
from extproc.traces.files import read_lines
from extproc.traces.lines import (
    CSV_PROMPT,
    KEYS,
    LOG_KEY,
    MOONCAKE_KEY,
    MOONCAKE_TICK_S,
    csv_reader,
    mooncake_record,
)
from extproc.traces.logs import LogColumns

FORMATS = (
    f"a CSV with a column {' or '.join(CSV_PROMPT)}, JSONL with {MOONCAKE_KEY} or {LOG_KEY},"
    " or a JSON list of [tokens, cumulative share]"
)
"""What `read_trace` reads, for messages."""
_Lines = Iterator[tuple[int, str]]
_TORN_SHARE = 0.01
"""Of the lines of a log that may have no end, or one where that is less: each time a process is killed leaves one, and
the next process goes on behind it. Where there are more something else tore them, and the others are no fair sample."""
_BAD = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, msgspec.MsgspecError)


def read_trace(path: Path, *, seed: int = 0) -> Trace | LengthCdf:
    """What a file says of traffic.

    Recognised by its first line: Azure's LLM inference traces (CSV, 2023 and 2024), lengths alone as CSV
    (num_prefill_tokens, num_decode_tokens), Mooncake's traces (JSONL), our access log (JSONL, see
    `extproc.traces.lines`), or a table of cumulative shares (JSON). Files ending in .xz and .gz are unpacked.

    Args:
        path: the file.
        seed: of the spread of Mooncake's times, which are rounded to three seconds, and of what `read_log` draws.

    Raises:
        ConfigurationError: the file cannot be read, or a line does not fit; its number is named.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise _mistake(str(path), "it is empty")
    number, line = first
    if MOONCAKE_KEY in line:
        return _records(path, chain([first], lines), mooncake_record, tick_s=MOONCAKE_TICK_S, seed=seed)
    if LOG_KEY in line:
        return read_log([path], seed=seed)
    if _is_object_of_others(line):
        raise _mistake(f"{path}, line {number}", f"no key is known: {KEYS}")
    if line.lstrip()[:1] in "[{":
        return _cdf(path, line + "".join(rest for _, rest in lines))
    of_csv = csv_reader(line)
    if of_csv is None:
        raise _mistake(f"{path}, line {number}", "it names no column of prompt lengths")
    return _records(path, lines, of_csv)


def read_log(paths: Sequence[Path], *, seed: int = 0) -> Trace:
    """What our own access logs say of traffic, all of them together: those of several processes, or renamed ones.

    Args:
        paths: the files.
        seed: of what is drawn for requests whose answers nobody read.

    Raises:
        ConfigurationError: a file cannot be read, a line does not fit, more lines than killed processes leave have no
            end, or no answer of them all was read.
    """
    columns = LogColumns()
    for path in paths:
        _add_log(columns, path)
    where = ", ".join(map(str, paths))
    if not columns.read:
        raise _mistake(where, f"it holds no request with a prompt's length, and {columns.unread} without")
    return columns.trace(seed=seed)


def _add_log(columns: LogColumns, path: Path) -> None:
    """One file; its last line may be torn whatever the others are."""
    lines, torn, last = 0, [], 0
    for lines, (last, line) in enumerate(read_lines(path), 1):  # noqa: B007 - the last ones count
        try:
            if not columns.add(line):
                torn.append(last)
        except _BAD as error:
            raise _mistake(f"{path}, line {last}", error) from error
    inside = [number for number in torn if number != last]
    if len(inside) > max(1, int(_TORN_SHARE * lines)):
        raise _mistake(
            f"{path}, line {inside[0]}", f"no }} ends it, nor {len(inside) - 1} more of {lines} lines before the last"
        )


def _is_object_of_others(line: str) -> bool:
    """A whole JSON object that is no table of lengths: a request whose keys nobody knows."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "cdf" not in found


def _records(path: Path, lines: _Lines, read: Callable[[str], Record], *, tick_s: float = 0.0, seed: int = 0) -> Trace:
    columns, cut = Columns(), 0
    for number, line in lines:
        try:
            columns.add(read(line))
        except _BAD as error:
            # Only the last line of a file has no end; one that fits all the same is taken as it stands.
            if not line.endswith("\n"):
                cut = 1
                break
            raise _mistake(f"{path}, line {number}", error) from error
    trace = columns.trace(tick_s=tick_s, seed=seed)._replace(cut=cut)
    if not trace.requests:
        raise _mistake(str(path), "it holds no request with a prompt")
    return trace


def _cdf(path: Path, document: str) -> LengthCdf:
    try:
        return as_cdf(json.loads(document))
    except _BAD as error:
        raise _mistake(str(path), error) from error


def _mistake(where: str, what: object) -> ConfigurationError:
    return ConfigurationError(f"{where} is no trace ({what}); expected {FORMATS}")
