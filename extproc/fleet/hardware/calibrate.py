"""Refits a GPU's corrections from a vLLM run that a user recorded; knows the run's files and `StepTimes`, no simulator.

Two scales are estimated, each a ratio of medians: decode from how long requests took for each output token against what
a step with the running batch of that time should take, prefill from how long the first token took after a request was
scheduled. Both see only what a run did: one that was never loaded says little about load.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Corrections, Gpu
from extproc.fleet.values import Floats, InstanceSpec

_FEWEST = 20
_MOST_COMPARED = 1000
"""Prompts that are compared with all others: enough for a median, and bounded."""
_TIMES = ("scheduled_ts", "first_token_ts", "last_token_ts")


@dataclass(frozen=True, slots=True)
class Refit:
    """Corrections beside those the step times had already, and what they leave."""

    corrections: Corrections
    requests: int
    decode_residual: float
    """Median of |corrected / measured − 1| of time per output token."""
    prefill_residual: float
    """Likewise of the time from scheduling to the first token."""

    def as_yaml(self, gpu: Gpu) -> str:
        """An entry that the catalogue reads in place of this GPU's, with what it was measured on."""
        kept = self.corrections.model_dump()
        note = f"refit from {self.requests} requests; residuals {self.decode_residual:.1%}, {self.prefill_residual:.1%}"
        return yaml.safe_dump({gpu.name: {"like": gpu.name, "corrections": kept, "source": note}}, sort_keys=False)


def refit(directory: Path, instance: InstanceSpec) -> Refit:
    """Corrections under which the instance's step times meet the recorded run on its median request.

    Raises:
        ConfigurationError: the run's files are missing, unreadable, or hold fewer than 20 requests with two tokens.
    """
    requests = _requests(directory / "requests.jsonl")
    load = _running(directory / "timeseries.csv")
    columns = {
        name: np.array([float(row[name]) for row in requests]) for name in (*_TIMES, "input_toks", "output_toks")
    }
    origin = columns["scheduled_ts"].min()
    measured, modelled = _decode(columns, load, origin, instance)
    decode = float(np.median(measured / modelled))
    waited, prefill = _prefill(columns, load, origin, instance, decode)
    scale = float(np.median(waited / prefill))
    return Refit(
        corrections=Corrections(decode_scale=decode, prefill_scale=scale),
        requests=len(requests),
        decode_residual=float(np.median(np.abs(decode * modelled / measured - 1))),
        prefill_residual=float(np.median(np.abs(scale * prefill / waited - 1))),
    )


def _decode(
    columns: Mapping[str, Floats], load: tuple[Floats, Floats], origin: float, instance: InstanceSpec
) -> tuple[Floats, Floats]:
    """Measured seconds per output token, and a step's with the batch that ran midway.

    The tokens that were read meanwhile for others are spread over the steps: a share of time that no request can tell
    from decode, so it is added as the run's mean prefill time for each step.
    """
    duration = columns["last_token_ts"] - columns["first_token_ts"]
    measured = duration / np.maximum(columns["output_toks"] - 1, 1)
    middle = (columns["last_token_ts"] + columns["first_token_ts"]) / 2 - origin
    running = _at(load, middle)
    modelled = _step_s(instance, running, running * float(np.mean(columns["input_toks"] + columns["output_toks"] / 2)))
    span = columns["last_token_ts"].max() - origin
    reading = float(np.sum(_prompt_s(instance, columns["input_toks"]))) / span
    return measured, modelled / max(1.0 - min(reading, 0.9), 0.1)


def _prefill(
    columns: Mapping[str, Floats], load: tuple[Floats, Floats], origin: float, instance: InstanceSpec, decode: float
) -> tuple[Floats, Floats]:
    """Seconds from scheduling to the first token beyond one decode step, and what all that prefilled then should take.

    Prompts share steps, so one waits for others too: each other prompt counts by the share of its own time that falls
    within this one's.
    """
    start, end = columns["scheduled_ts"], columns["first_token_ts"]
    chosen = np.unique(np.linspace(0, len(start) - 1, _MOST_COMPARED).astype(int))
    shared = np.minimum(end[chosen, None], end) - np.maximum(start[chosen, None], start)
    prompt = _prompt_s(instance, columns["input_toks"])
    work = (np.maximum(shared, 0.0) / np.maximum(end - start, 1e-6)) @ prompt
    running = _at(load, start[chosen] - origin)
    mean_tokens = float(np.mean(columns["input_toks"] + columns["output_toks"] / 2))
    waited = (end - start)[chosen]
    step = decode * _step_s(instance, running, running * mean_tokens)
    return np.maximum(waited - step, 0.1 * waited), work


def _step_s(instance: InstanceSpec, running: Floats, resident: Floats) -> Floats:
    steps = instance.steps
    count = np.clip(np.round(running).astype(int), 1, instance.max_num_seqs)
    tokens = np.minimum(resident, instance.kv_blocks * 16)
    return np.asarray(steps.dense_s[count] + steps.sequences_s[count] + steps.kv_s * tokens)


def _prompt_s(instance: InstanceSpec, prompt_tokens: Floats) -> Floats:
    """What prompts add to steps that run anyhow."""
    steps, budget = instance.steps, instance.max_num_batched_tokens
    whole, rest = np.divmod(prompt_tokens.astype(int), budget)
    dense = whole * (steps.dense_s[budget] - steps.dense_s[1]) + (steps.dense_s[rest] - steps.dense_s[1])
    return np.asarray(np.maximum(dense + steps.pair_s * prompt_tokens**2 / 2, 1e-6))


def _at(load: tuple[Floats, Floats], when_s: Floats) -> Floats:
    return np.maximum(np.interp(when_s, *load), 1.0)


def _requests(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        complete = list(_complete(rows))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a recording of requests: {error!r}.") from error
    if len(complete) < _FEWEST:
        raise ConfigurationError(
            f"{path} has {len(complete)} requests of two tokens or more; at least {_FEWEST} are due."
        )
    return complete


def _complete(rows: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    return (dict(row) for row in rows if row["output_toks"] > 1 and all(row[name] for name in _TIMES))


def _running(path: Path) -> tuple[Floats, Floats]:
    try:
        with path.open(encoding="utf-8") as lines:
            rows = [(float(row["t"]), float(row["running"])) for row in csv.DictReader(lines)]
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"{path} needs columns t and running: {error!r}.") from error
    if not rows:
        raise ConfigurationError(f"{path} has no rows.")
    table = np.array(rows)
    return table[:, 0], table[:, 1]
