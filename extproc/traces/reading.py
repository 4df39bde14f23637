"""A file → `Trace` or `LengthCdf`: tells its format by what it holds, and names the line where it does not fit."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec

from extproc.errors import ConfigurationError
from extproc.traces.cdf import LengthCdf, as_cdf
from extproc.traces.columns import Columns, Record, Trace
from extproc.traces.files import read_lines
from extproc.traces.lines import (
    CSV_PROMPT,
    LOG_KEY,
    MOONCAKE_KEY,
    MOONCAKE_TICK_S,
    csv_reader,
    log_record,
    mooncake_record,
)

FORMATS = (
    f"a CSV with a column {' or '.join(CSV_PROMPT)}, JSONL with {MOONCAKE_KEY} or {LOG_KEY},"
    " or a JSON list of [tokens, cumulative share]"
)
"""What `read_trace` reads, for messages."""
_Lines = Iterator[tuple[int, str]]
_BAD = (ValueError, TypeError, KeyError, AttributeError, OverflowError, msgspec.MsgspecError)


def read_trace(path: Path, *, seed: int = 0) -> Trace | LengthCdf:
    """What a file says of traffic.

    Recognised by its first line: Azure's LLM inference traces (CSV, 2023 and 2024), lengths alone as CSV
    (num_prefill_tokens, num_decode_tokens), Mooncake's traces (JSONL), our access log (JSONL, see
    `extproc.traces.lines`), or a table of cumulative shares (JSON). Files ending in .xz and .gz are unpacked.

    Args:
        path: the file.
        seed: of the spread of Mooncake's times, which are rounded to three seconds.

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
        return _records(path, chain([first], lines), log_record)
    if line.lstrip()[:1] in "[{":
        return _cdf(path, line + "".join(rest for _, rest in lines))
    of_csv = csv_reader(line)
    if of_csv is None:
        raise _mistake(f"{path}, line {number}", "it names no column of prompt lengths")
    return _records(path, lines, of_csv)


def _records(path: Path, lines: _Lines, read: Callable[[str], Record], *, tick_s: float = 0.0, seed: int = 0) -> Trace:
    columns = Columns()
    for number, line in lines:
        try:
            columns.add(read(line))
        except _BAD as error:
            raise _mistake(f"{path}, line {number}", error) from error
    trace = columns.trace(tick_s=tick_s, seed=seed)
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
