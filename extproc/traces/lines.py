"""One line of each format → `Record`; knows the formats' names, and refuses what does not fit with a ValueError.

Our own access log is one JSON object a line:

    {"time": "2026-01-31T08:00:00.125Z", "prompt_tokens": 1200, "completion_tokens": 310, "max_tokens": 1024,
     "category": "prose", "pool": "short"}

`time` is ISO 8601, taken for UTC where it names no zone; `arrival_s` in seconds from any moment may stand in its place.
`max_tokens` and `category` may be missing or null; other keys, such as `pool`, are passed over.
"""

import csv
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from extproc.routing.values import Category
from extproc.traces.columns import Record

CSV_PROMPT, CSV_OUTPUT = ("ContextTokens", "num_prefill_tokens"), ("GeneratedTokens", "num_decode_tokens")
CSV_TIME = "TIMESTAMP"
MOONCAKE_KEY, LOG_KEY = "input_length", "prompt_tokens"
MOONCAKE_TICK_S = 3.0
"""Mooncake's times are rounded down to this (kvcache-ai/Mooncake, traces of FAST'25)."""
_MS = 1e-3


class MooncakeLine(msgspec.Struct):
    """A line of Mooncake's traces."""

    input_length: int
    output_length: int | None = None
    timestamp: float | None = None
    hash_ids: list[int] = []


class LogLine(msgspec.Struct):
    """A line of our own access log."""

    prompt_tokens: int
    completion_tokens: int | None = None
    arrival_s: float | None = None
    time: str | None = None
    max_tokens: int | None = None
    category: Category | None = None


def mooncake_record(line: str) -> Record:
    """A line with input_length."""
    parsed = _mooncake.decode(line)
    time_s = None if parsed.timestamp is None else parsed.timestamp * _MS
    return Record(parsed.input_length, parsed.output_length, time_s, prefixes=parsed.hash_ids)


def log_record(line: str) -> Record:
    """A line of our access log."""
    parsed = _log.decode(line)
    time_s = parsed.arrival_s if parsed.time is None else seconds_of(parsed.time)
    return Record(parsed.prompt_tokens, parsed.completion_tokens, time_s, parsed.max_tokens, parsed.category)


def csv_reader(header: str) -> Callable[[str], Record] | None:
    """What reads the other lines of a CSV with this header; None where it names no prompt lengths."""
    names = next(csv.reader([header]))
    prompt, output, time = (_position(names, of) for of in (CSV_PROMPT, CSV_OUTPUT, (CSV_TIME,)))
    if prompt is None:
        return None

    def record(line: str) -> Record:
        cells = next(csv.reader([line]))
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} cells under {len(names)} names")
        return Record(
            int(cells[prompt]),
            None if output is None else int(cells[output]),
            None if time is None else seconds_of(cells[time]),
        )

    return record


def seconds_of(text: str) -> float:
    """A time as seconds: ISO 8601, UTC where it names no zone, to the microsecond; or a number as it stands.

    Azure's traces of 2023 have seven digits after the second's point and no zone, those of 2024 six and `+00:00`.
    """
    try:
        return float(text)
    except ValueError:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((at for at, name in enumerate(names) if name.strip() in wanted), None)


_mooncake = msgspec.json.Decoder(MooncakeLine)
_log = msgspec.json.Decoder(LogLine)
