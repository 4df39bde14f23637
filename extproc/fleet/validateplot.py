"""A validation as a picture: load over time and TTFT, recorded and simulated over one another. Needs matplotlib."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from extproc.errors import ConfigurationError
from extproc.fleet.validate import Validation, shifted, ttfts_s
from extproc.fleet.values import Floats

SUFFIXES = (".png", ".svg", ".pdf")
_SIDES = {"recorded": "black", "simulated": "tab:orange"}
_PANELS = (
    ("running", "Running", "requests"),
    ("waiting", "Waiting", "requests"),
    ("kv_share", "KV blocks in use", "%"),
)


def check(path: Path) -> None:
    """Refuse what could not be drawn, before anything is run.

    Raises:
        ConfigurationError: says what would do.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigurationError(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    if not path.resolve().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: there is no such folder")


def plot(validation: Validation, path: Path) -> None:
    """Draw to a file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        draw(validation).savefig(path, dpi=150)
    except OSError as error:
        raise ConfigurationError(f"--plot {path} cannot be written: {error.strerror}") from error


def draw(validation: Validation) -> Figure:
    """Four panels; a side that was not recorded is left out of its panel."""
    drawing = Figure(figsize=(12, 7.5), layout="constrained")
    panels = drawing.subplots(2, 2).ravel()
    for axes, (column, title, unit) in zip(panels, _PANELS, strict=False):
        _over_time(axes, validation, column)
        axes.set(title=title, xlabel="s since the first arrival", ylabel=unit)
    _ttft(panels[-1], validation)
    for axes in panels:
        axes.set_ylim(bottom=0)
        axes.legend()
    setup = validation.setup
    drawing.suptitle(f"{setup.model}, {setup.instance.gpus}x {setup.gpu}, vLLM {setup.vllm}")
    return drawing


def _over_time(axes: Axes, validation: Validation, column: str) -> None:
    timelines = (validation.recording.timeline, validation.replayed.timeline)
    for (side, color), timeline in zip(_SIDES.items(), timelines, strict=True):
        values = getattr(timeline, column, None)
        if timeline is not None and values is not None:
            scale = 100 if column == "kv_share" else 1
            axes.plot(shifted(timeline).time_s, scale * values, label=side, color=color, linewidth=1.2)


def _ttft(axes: Axes, validation: Validation) -> None:
    for (side, color), times in zip(_SIDES.items(), ttfts_s(validation), strict=True):
        axes.plot(np.sort(times), _shares(times), label=side, color=color, linewidth=1.2)
    axes.set(title="Time to first token, distribution", xlabel="s", ylabel="share of requests")


def _shares(times: Floats) -> Floats:
    return np.arange(1, len(times) + 1) / len(times)
