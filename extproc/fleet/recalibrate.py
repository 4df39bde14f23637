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
    found = validate(directory, gpu=gpu, model=model, profile=False)
    entry = builtin().gpu(gpu or found.setup.gpu)
    best = (math.inf, 0.0, 0.0)
    for width in _WIDTHS:
        _, decode, prefill = best
        grid = itertools.product(_STEPS, _STEPS)
        tried = ((decode + width * first, prefill + width * second) for first, second in grid)
        best = min((_distance(directory, file, entry, model, *factors), *factors) for factors in tried)
    return _written(directory, file, entry, model, best[1], best[2])


def _distance(directory: Path, file: Path, entry: Gpu, model: str | None, *factors: float) -> float:
    """Sum of the squared logarithms of simulated over measured."""
    return sum(math.log1p(error) ** 2 for error in _written(directory, file, entry, model, *factors).errors.values())


def _written(directory: Path, file: Path, entry: Gpu, model: str | None, *factors: float) -> Recalibrated:
    """The entry with these factors, by their logarithms, and what it leaves."""
    scales = Corrections(
        decode_scale=entry.corrections.decode_scale * math.exp(factors[0]),
        prefill_scale=entry.corrections.prefill_scale * math.exp(factors[1]),
    )
    values = {**entry.model_dump(exclude_none=True), "corrections": scales.model_dump()}
    values["source"] = f"{entry.source}; refitted to a recorded run"
    try:
        file.write_text(yaml.safe_dump({values.pop("name"): values}, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    metrics = validate(directory, gpu=str(file), model=model, profile=False).metrics
    errors = {name: metrics[name].error or 0.0 for name in _FITTED if name in metrics}
    return Recalibrated(scales.decode_scale, scales.prefill_scale, errors)
