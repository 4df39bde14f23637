"""A GPU's entry, corrected so that replays of a run which its owner recorded come out as recorded.

Two factors, one on what decoding costs and one on what prefill costs, are tried on a grid that narrows around the best:
queues, chunks and preemptions are then those of the simulator, not guessed apart from it.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Corrections, Gpu
from extproc.fleet.validate import validate
from extproc.fleet.validateassumed import gpu_of

_FITTED = ("ttft_mean_s", "tpot_mean_s", "e2e_mean_s")
_STEPS = (-2, -1, 0, 1, 2)
_WIDTHS = (0.16, 0.08, 0.03, 0.01)
"""Of a step on the grid, round by round, in the logarithm of a factor: to 1 % in the end, within a factor of 1.7."""


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """What fits best."""

    decode_scale: float
    prefill_scale: float
    errors: dict[str, float]
    """By metric, simulated over measured less 1: what two factors could not mend."""


def recalibrate(directory: Path, file: Path, *, gpu: str | None = None, model: str | None = None) -> Recalibrated:
    """Write the entry, which `--gpu FILE` reads in every command.

    Args:
        directory: the recorded run.
        file: YAML to write.
        gpu: a name of the catalogue or a YAML file; what meta.json names where None.
        model: likewise.

    Raises:
        ConfigurationError: the run cannot be replayed, or the file cannot be written.
    """
    if not file.resolve().parent.is_dir():
        raise ConfigurationError(f"{file} cannot be written: there is no such folder")
    found = validate(directory, gpu=gpu, model=model, profile=False)
    entry = gpu_of(found.recording.engine, gpu).gpu if gpu else builtin().gpu(found.setup.gpu)
    best = (math.inf, 0.0, 0.0)
    for width in _WIDTHS:
        _, decode, prefill = best
        grid = itertools.product(_STEPS, _STEPS)
        tried = ((decode + width * first, prefill + width * second) for first, second in grid)
        best = min((_distance(directory, _scaled(entry, *factors), model), *factors) for factors in tried)
    mended = _scaled(entry, best[1], best[2])
    _write(file, mended)
    scales = mended.corrections
    return Recalibrated(scales.decode_scale, scales.prefill_scale, _errors(directory, mended, model))


def _distance(directory: Path, entry: Gpu, model: str | None) -> float:
    """Sum of the squared logarithms of simulated over measured."""
    return sum(math.log1p(error) ** 2 for error in _errors(directory, entry, model).values())


def _errors(directory: Path, entry: Gpu, model: str | None) -> dict[str, float]:
    """That a replay with this entry leaves."""
    metrics = validate(directory, gpu=entry, model=model, profile=False).metrics
    return {name: metrics[name].error or 0.0 for name in _FITTED if name in metrics}


def _scaled(entry: Gpu, *factors: float) -> Gpu:
    """The entry with these factors, by their logarithms, on top of its own."""
    scales = Corrections(
        decode_scale=entry.corrections.decode_scale * math.exp(factors[0]),
        prefill_scale=entry.corrections.prefill_scale * math.exp(factors[1]),
    )
    return entry.model_copy(update={"corrections": scales})


def _write(file: Path, entry: Gpu) -> None:
    """Once, when the best is known: what the file held before is not touched until then."""
    values = {**entry.model_dump(exclude_none=True), "source": f"{entry.source}; refitted to a recorded run"}
    try:
        file.write_text(yaml.safe_dump({values.pop("name"): values}, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
