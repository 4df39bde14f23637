"""One line of each format → `Record`; knows the formats' names, and refuses what does not fit with a ValueError.

Our own access log is one JSON object a line; `extproc.traces.accesslog` names all its keys, of which these count here:

    {"time": "2026-01-31T08:00:00.125Z", "pool": "short", "reason": "fits", "budget_tokens": 2300, "max_tokens": 1024,
     "category": "prose", "weight": 5.0, "prompt_tokens": 1200, "completion_tokens": 310}

`time` is ISO 8601, taken for UTC where it names no zone; `arrival_s` in seconds from any moment may stand in its place.
All but `prompt_tokens` may be missing or null, and it too where `pool` says that there was a request: `LogColumns` has
what becomes of those. Other keys are passed over.
"""

import csv
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from extproc.routing.values import Category
from extproc.traces.accesslog import Count, RequestWeight
from extproc.traces.columns import Record

CSV_PROMPT, CSV_OUTPUT = ("ContextTokens", "num_prefill_tokens"), ("GeneratedTokens", "num_decode_tokens")
CSV_TIMES = ("TIMESTAMP",)
MOONCAKE_KEY, LOG_KEY = "input_length", "prompt_tokens"
MOONCAKE_TICK_S = 3.0
"""Mooncake's times are rounded down to this (kvcache-ai/Mooncake, traces of FAST'25)."""
_MS = 1e-3


KEYS = (
    f"a request of Mooncake's has {MOONCAKE_KEY}, output_length, timestamp and hash_ids, one of our access log has"
    f" {LOG_KEY}, completion_tokens, max_tokens, category and time or arrival_s, a table of lengths has cdf"
)
"""That are known in JSON, for messages."""


class MooncakeLine(msgspec.Struct):
    """A line of Mooncake's traces."""

    input_length: int
    output_length: int | None = None
    timestamp: float | None = None
    hash_ids: list[int] = []


class LogLine(msgspec.Struct):
    """A line of our own access log, as far as it tells what came."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    arrival_s: float | None = None
    time: str | None = None
    max_tokens: Count | None = None
    category: Category | None = None
    weight: RequestWeight | None = None
    pool: str | None = None
    reason: str | None = None
    budget_tokens: Count | None = None

    @property
    def time_s(self) -> float | None:
        """When it came.

        Raises:
            ValueError: the time is none.
        """
        return self.arrival_s if self.time is None else seconds_of(self.time)


def mooncake_record(line: str) -> Record:
    """A line with input_length."""
    parsed = _mooncake.decode(line)
    time_s = None if parsed.timestamp is None else parsed.timestamp * _MS
    return Record(parsed.input_length, parsed.output_length, time_s, prefixes=parsed.hash_ids)


def csv_reader(header: str) -> Callable[[str], Record] | None:
    """What reads the other lines of a CSV with this header; None where it names no prompt lengths."""
    names = next(csv.reader([header]))
    prompt, output, time = (_position(names, of) for of in (CSV_PROMPT, CSV_OUTPUT, CSV_TIMES))
    if prompt is None:
        return None

    def record(line: str) -> Record:
        cells = next(csv.reader([line]))
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} cells under {len(names)} names")
        return Record(
            _count(cells[prompt]),
            None if output is None else _count(cells[output]),
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


def _count(cell: str) -> int:
    """A whole number; spreadsheets and data frames write it as 5.0 where another cell of the column is empty."""
    try:
        return int(cell)
    except ValueError:
        value = float(cell)
        if not value.is_integer():
            raise
        return int(value)


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Of a column by its name, however that is written: ContextTokens, context_tokens."""
    plain = {_plain(name) for name in wanted}
    return next((at for at, name in enumerate(names) if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return name.strip().replace("_", "").lower()


_mooncake = msgspec.json.Decoder(MooncakeLine)
log_line = msgspec.json.Decoder(LogLine).decode
"""A line of our access log; raises msgspec.MsgspecError for what is none."""
