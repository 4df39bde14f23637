"""Reads a recorded vLLM run from its directory; knows the files' fields, and neither GPUs nor the simulator.

The files are those of casys-kaist/LLMServingSim's bench: `requests.jsonl` (a line for each request), `meta.json`
(engine arguments, resolved configuration, blocks, device) and `timeseries.csv` (running, waiting, KV; may be missing).
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.errors import ConfigurationError
from extproc.fleet.recordedengine import Engine, engine_of
from extproc.fleet.values import Floats, Ints

_TIMES = ("arrival_time", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")


class Requests(NamedTuple):
    """Columns of one length in the order of arrival; seconds on the engine's clock from the first arrival on."""

    arrival_s: Floats
    """When the front end could pass it on: arrival, shifted by the shortest time that any took to the engine."""
    prompt_tokens: Ints
    output_tokens: Ints
    """Written; at least 1."""
    queued_s: Floats
    """When the engine took it in, between two steps. NaN where not recorded; likewise below."""
    scheduled_s: Floats
    first_token_s: Floats
    last_token_s: Floats

    @property
    def longest_tokens(self) -> int:
        """Of the prompt and answer of one that ran to its end; 0 for none."""
        tokens = (self.prompt_tokens + self.output_tokens)[self.complete]
        return int(tokens.max()) if len(tokens) else 0

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which ran to their end with all times recorded."""
        return np.asarray(np.isfinite(self.queued_s + self.first_token_s + self.last_token_s))


class Timeline(NamedTuple):
    """The state of all engines together at the ends of equal spans."""

    time_s: Floats
    running: Floats
    waiting: Floats
    kv_share: Floats | None
    """Of all blocks, in use; None where not recorded."""
    preemptions: int | None
    """In all."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One run."""

    directory: Path
    engine: Engine
    requests: Requests
    timeline: Timeline | None
    skipped: int
    """Lines of requests that never came to the engine or lack their lengths."""
    prefix_hits: bool = False
    """Whether prompts were found in the cache that other requests had left there."""


def read_recording(directory: Path) -> Recording:
    """A run's directory.

    Raises:
        ConfigurationError: requests.jsonl or meta.json is missing or cannot be read, or no request ran to its end.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is no directory; expected one with requests.jsonl and meta.json.")
    engine = engine_of(_json(directory / "meta.json"), str(directory / "meta.json"))
    rows = list(_lines(directory / "requests.jsonl"))
    kept = [row for row in rows if _usable(row)]
    requests = _requests(kept)
    if not requests.complete.any():
        raise ConfigurationError(
            f"{directory / 'requests.jsonl'} has no complete request: each needs input_toks, output_toks, queued_ts, "
            "first_token_ts and last_token_ts."
        )
    ticks = _ticks(directory / "timeseries.csv")
    hits = any(_cell(row, "prompt_cached_throughput") > 0 for row in ticks)
    timeline = _timeline(directory / "timeseries.csv", ticks)
    return Recording(directory, engine, requests, timeline, len(rows) - len(kept), prefix_hits=hits)


def _usable(row: Mapping[str, Any]) -> bool:
    """Whether it came to the engine; it counts as load even if it was aborted there."""
    prompt = row.get("input_toks")
    return math.isfinite(_time(row, "queued_ts")) and isinstance(prompt, int) and prompt > 0


def _requests(rows: Sequence[Mapping[str, Any]]) -> Requests:
    times = {name: np.array([_time(row, name) for row in rows], dtype=np.float64) for name in _TIMES}
    queued = times["queued_ts"]
    arrival = queued.copy()
    if rows and np.isfinite(times["arrival_time"]).all():
        arrival = times["arrival_time"] + (queued - times["arrival_time"]).min()
    order = np.argsort(arrival, kind="stable")
    origin = arrival.min() if rows else 0.0
    ones = (arrival, *(times[name] for name in _TIMES[1:]))
    arrival_s, *others = (column[order] - origin for column in ones)
    prompts = np.array([int(row["input_toks"]) for row in rows], dtype=np.int64)[order]
    outputs = np.array([max(1, int(row.get("output_toks") or 1)) for row in rows], dtype=np.int64)[order]
    return Requests(arrival_s, prompts, outputs, *others)


def _time(row: Mapping[str, Any], name: str) -> float:
    """NaN where there is none; vLLM leaves 0 where nothing happened."""
    found = row.get(name)
    return float(found) if isinstance(found, (int, float)) and found > 0 else math.nan


def _ticks(path: Path) -> list[dict[str, str]]:
    """Rows of a time series; none where there is no such file."""
    try:
        with path.open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from error


def _timeline(path: Path, rows: Sequence[Mapping[str, str]]) -> Timeline | None:
    """None where there is nothing in it."""
    if not rows:
        return None
    try:
        time_s, running, waiting = (
            np.array([float(row[name]) for row in rows]) for name in ("t", "running", "waiting")
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} is no time series with columns t, running, waiting: {error!r}.") from error
    kv_share = np.array([_cell(row, "kv_cache_pct") for row in rows]) / 100
    preempted = np.array([_cell(row, "preempted") for row in rows]).sum()
    return Timeline(
        *(time_s, running, waiting),
        kv_share=kv_share if kv_share.sum() > 0 else None,
        preemptions=int(preempted) if math.isfinite(preempted) else None,
    )


def _cell(row: Mapping[str, Any], name: str) -> float:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError):
        return math.nan


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{path} holds no JSON object.")
    return content


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, Mapping):
                    raise ConfigurationError(f"{path}, line {number}: expected a JSON object.")
                yield row
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {number}: not JSON: {error}") from error
