"""Step times straight from measured kernel times of one GPU and model; knows no roofline.

The files are those of casys-kaist/LLMServingSim's bench: microseconds of one operator of one layer by tokens
(profile_dense.csv), of the last operators by sequences (profile_per_sequence.csv) and of one layer's attention by what
prefills and decodes together (profile_attention.csv).
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.fitted import CONSTANTS
from extproc.fleet.hardware.steptime import captured
from extproc.fleet.values import Floats, StepTimes

_DENSE, _PER_SEQUENCE, _ATTENTION = "profile_dense.csv", "profile_per_sequence.csv", "profile_attention.csv"
_ONCE = frozenset({"embedding", "final_layernorm"})
"""Operators that run once in a step; all others once in each layer, norms twice."""
_TWICE_IN_A_LAYER = frozenset({"layernorm"})
_US = 1e-6

Curves = dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Profile:
    """Kernel times of one GPU and model."""

    dense: Curves
    """By operator: tokens and seconds."""
    per_sequence: Curves
    attention: Floats
    """Rows of prefill chunk, tokens before it, decoding sequences, KV tokens of each, seconds."""

    def layers(self, layers: int) -> tuple[Floats, Floats]:
        """Tokens and seconds of all operators of all layers, without attention and what runs once."""
        tokens = next(iter(self.dense.values()))[0]
        total = np.zeros_like(tokens)
        for name, (at, seconds) in self.dense.items():
            if name not in _ONCE:
                total += layers * (2 if name in _TWICE_IN_A_LAYER else 1) * np.interp(tokens, at, seconds)
        return tokens, total

    def once(self, tokens: Floats) -> Floats:
        """Seconds of what runs once in a step."""
        curves = (self.dense[name] for name in _ONCE if name in self.dense)
        return np.asarray(sum((_interpolated(tokens, *curve) for curve in curves), np.zeros_like(tokens)))


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention in the form of `StepTimes`, seconds; and the relative errors of the fit."""

    fixed_s: float
    sequence_s: float
    kv_s: float
    token_s: float
    """Per token that prefills."""
    pair_s: float
    earlier_s: float
    mixed_kv_s: float
    """More per KV token of decoding sequences where a prefill is in the step: one kernel for both reads it slower."""
    decode_error: float
    """Median of |fitted / measured − 1| over rows that decode only."""
    prefill_error: float


def has_profile(directory: Path) -> bool:
    """Whether a run's directory has all three files, and times in each."""
    return all(_has_rows(directory / name) for name in (_DENSE, _PER_SEQUENCE, _ATTENTION))


def read_profile(directory: Path) -> Profile:
    """The three files of a directory.

    Raises:
        ConfigurationError: one is missing or empty, lacks a column, or has a time that is no number.
    """
    attention = _rows(directory / _ATTENTION, ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"))
    table = np.array([[_number(directory / _ATTENTION, value) for value in row] for row in attention])
    table[:, 4] *= _US
    return Profile(_curves(directory / _DENSE, "tokens"), _curves(directory / _PER_SEQUENCE, "sequences"), table)


def steps_from_profile(
    directory: Path,
    *,
    layers: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    step_s: float = CONSTANTS.step_s,
    sequence_s: float = CONSTANTS.sequence_s,
) -> StepTimes:
    """Step times of the profiled model with this many layers; the CPU's part is not in a profile and comes on top.

    Raises:
        ConfigurationError: a file is missing, or lacks a column.
    """
    profile = read_profile(directory)
    attention = fit_attention(profile.attention)
    tokens = captured(np.arange(max_num_batched_tokens + 1))
    sequences = np.arange(max_num_seqs + 1, dtype=np.float64)
    heads = np.sum([_interpolated(sequences, *curve) for curve in profile.per_sequence.values()], axis=0)
    dense = _interpolated(tokens, *profile.layers(layers)) + profile.once(tokens)
    return StepTimes(
        dense_s=dense + layers * (attention.fixed_s + attention.token_s * tokens) + step_s,
        sequences_s=heads + (layers * attention.sequence_s + sequence_s) * sequences,
        kv_s=layers * attention.kv_s,
        pair_s=layers * attention.pair_s,
        earlier_s=layers * attention.earlier_s,
        mixed_kv_s=layers * attention.mixed_kv_s,
    )


def fit_attention(rows: Floats) -> Attention:
    """Decode from rows that decode only, prefill from rows that prefill only, by non-negative least squares.

    Errors are weighted by the square root of time, between absolute and relative. Rows with both give
    `mixed_kv_s` alone, for which `StepTimes` has no term.
    """
    chunk, earlier, sequences, kv, seconds = rows.T
    decoding, prefilling = chunk == 0, sequences == 0
    ones = np.ones_like(seconds)
    decoded = np.stack([ones, sequences, sequences * kv], axis=1)[decoding]
    decode = _fit(decoded, seconds[decoding], seconds[decoding])
    # The fixed part is paid once in a step whatever is in it: decode's stands for both, and prefill's own is dropped.
    columns = np.stack([ones, chunk, chunk * (earlier + chunk / 2), earlier], axis=1)
    own, *prefill = _fit(columns[prefilling], seconds[prefilling], seconds[prefilling])
    said_decode = decode[0] + decode[1] * sequences + decode[2] * sequences * kv
    said_prefill = columns @ np.array([own, *prefill])
    both = ~decoding & ~prefilling
    without = decode[0] + decode[1] * sequences + decode[2] * sequences * kv + columns[:, 1:] @ np.array(prefill)
    more = _fit((sequences * kv)[both, None], (seconds - without)[both], seconds[both])
    return Attention(
        fixed_s=float(decode[0]),
        sequence_s=float(decode[1]),
        kv_s=float(decode[2]),
        token_s=float(prefill[0]),
        pair_s=float(prefill[1]),
        earlier_s=float(prefill[2]),
        mixed_kv_s=float(more[0]),
        decode_error=float(np.median(np.abs(said_decode / seconds - 1)[decoding])),
        prefill_error=float(np.median(np.abs(said_prefill / seconds - 1)[prefilling])),
    )


def _fit(columns: Floats, seconds: Floats, measured: Floats) -> Floats:
    """Least squares with no negative coefficient: the most negative column is dropped until none is left."""
    weights = 1.0 / np.sqrt(measured)
    kept = list(range(columns.shape[1]))
    solution = np.zeros(columns.shape[1])
    while kept:
        found = np.linalg.lstsq(columns[:, kept] * weights[:, None], seconds * weights, rcond=None)[0]
        if (found >= 0).all():
            solution[kept] = found
            break
        kept.pop(int(np.argmin(found)))
    return solution


def _interpolated(at: Floats, known: Floats, seconds: Floats) -> Floats:
    """Linear between what was measured and along the last two points beyond; what is not there at all costs nothing."""
    slope = (seconds[-1] - seconds[-2]) / (known[-1] - known[-2]) if len(known) > 1 else seconds[-1] / known[-1]
    inside = np.interp(at, known, seconds) + np.maximum(at - known[-1], 0.0) * slope
    return np.where(at > 0, inside, 0.0)


def _curves(path: Path, by: str) -> Curves:
    curves: dict[str, list[tuple[float, float]]] = {}
    for layer, at, microseconds in _rows(path, ("layer", by, "time_us")):
        curves.setdefault(layer, []).append((_number(path, at), _number(path, microseconds) * _US))
    ordered = {name: np.array(sorted(points)).T for name, points in curves.items()}
    return {name: (points[0], points[1]) for name, points in ordered.items()}


def _has_rows(path: Path) -> bool:
    """Whether there is more than a header; that it can be used is for reading it to say."""
    try:
        with path.open(encoding="utf-8") as lines:
            return sum(1 for line, _ in zip(lines, range(2), strict=False) if line.strip()) > 1
    except (OSError, UnicodeDecodeError):
        return False


def _number(path: Path, value: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} has {value!r} where a number was expected.") from error


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8") as lines:
            rows = [tuple(row[name] for name in columns) for row in csv.DictReader(lines)]
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise ConfigurationError(f"{path} has no column {error}; expected {', '.join(columns)}.") from error
    if not rows:
        raise ConfigurationError(f"{path} has no times; expected rows of {', '.join(columns)}.")
    return rows
