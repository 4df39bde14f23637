"""Compares a recorded vLLM run with the simulation of the same arrivals; knows neither the engine's rules nor a screen.

Nothing is fitted to the run's latencies. Times of requests count from when the engine took them in (`queued_ts`), on
both sides: arrival times are of another clock and another process, and how long the front end took is not recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.entries import Gpu
from extproc.fleet.recording import Recording, Requests, Timeline, read_recording
from extproc.fleet.replay import Replayed, replay
from extproc.fleet.validatesetup import Setup, set_up
from extproc.fleet.values import Floats

Bools = npt.NDArray[np.bool_]


class Comparison(NamedTuple):
    """One figure of both."""

    measured: float
    simulated: float

    @property
    def error(self) -> float | None:
        """Simulated over measured less 1; None where nothing was measured but something simulated."""
        if self.measured == 0:
            return 0.0 if self.simulated == 0 else None
        return self.simulated / self.measured - 1


@dataclass(frozen=True, slots=True)
class Validation:
    """A run and its simulation."""

    recording: Recording
    setup: Setup
    replayed: Replayed
    metrics: Mapping[str, Comparison]

    @property
    def both(self) -> Bools:
        """Which requests ran to their end in both."""
        return self.recording.requests.complete & self.replayed.complete

    @property
    def compared(self) -> int:
        """How many of them."""
        return int(self.both.sum())

    @property
    def preemptions(self) -> int:
        """In the simulation."""
        return int(self.replayed.preemptions.sum())


def validate(
    directory: Path, *, gpu: str | Gpu | None = None, model: str | None = None, profile: bool = True
) -> Validation:
    """Replay a recorded run.

    Args:
        directory: with `requests.jsonl`, `meta.json` and, if recorded, `timeseries.csv` and kernel times.
        gpu: a name of the catalogue, a YAML file or an entry; what meta.json names where None.
        model: likewise, a name or a file.
        profile: whether kernel times of the directory are used, if it has them and they are of that GPU and model.

    Raises:
        ConfigurationError: the run cannot be read, or vLLM would not start as it describes.
    """
    recording = read_recording(directory)
    setup = set_up(recording, gpu=gpu, model=model, profile=profile)
    replayed = replay(
        recording.requests,
        setup.instance,
        instances=setup.instances,
        async_scheduling=setup.async_scheduling,
        every_s=recording.engine.tick_s or _tick_s(recording.timeline),
    )
    if not (recording.requests.complete & replayed.complete).any():
        raise ConfigurationError(f"{directory}: no request fits {setup.instance.kv_blocks} blocks of KV.")
    return Validation(recording, setup, replayed, compare(recording, replayed))


def compare(recording: Recording, replayed: Replayed) -> dict[str, Comparison]:
    """Every figure that both sides have; times over requests that ran to their end in both."""
    requests = recording.requests
    both = requests.complete & replayed.complete
    measured, simulated = _times(requests, both), _times(requests, both, replayed)
    found: dict[str, Comparison] = {}
    for name in ("ttft", "tpot", "e2e"):
        pair = measured[name], simulated[name]
        if min(map(len, pair)) == 0:
            continue
        found[f"{name}_mean_s"] = Comparison(*(float(np.mean(times)) for times in pair))
        for percent in (50, 99):
            found[f"{name}_p{percent}_s"] = Comparison(*(float(np.percentile(times, percent)) for times in pair))
    found["output_tokens_per_s"] = Comparison(
        _rate(requests, both, requests.last_token_s), _rate(requests, both, replayed.last_token_s)
    )
    return found | _loads(recording, replayed, both)


def as_json(metrics: Mapping[str, Comparison]) -> dict[str, dict[str, float | None]]:
    """`{METRIC: {"measured", "simulated", "error"}}`."""
    return {
        name: {"measured": found.measured, "simulated": found.simulated, "error": found.error}
        for name, found in metrics.items()
    }


def ttfts_s(validation: Validation) -> tuple[Floats, Floats]:
    """Of all requests that ran to their end in both: recorded and simulated."""
    requests, both = validation.recording.requests, validation.both
    return _times(requests, both)["ttft"], _times(requests, both, validation.replayed)["ttft"]


def shifted(timeline: Timeline) -> Timeline:
    """With the first arrival at 0: the end of the span in which something ran first is one span after it."""
    busy = np.flatnonzero(timeline.running + timeline.waiting)
    start_s = timeline.time_s[busy[0]] - _tick_s(timeline) if len(busy) else 0.0
    return timeline._replace(time_s=timeline.time_s - start_s)


def _times(requests: Requests, both: Bools, replayed: Replayed | None = None) -> dict[str, Floats]:
    side = replayed or requests
    queued, first, last = (column[both] for column in (side.queued_s, side.first_token_s, side.last_token_s))
    gaps = requests.output_tokens[both] - 1
    return {"ttft": first - queued, "tpot": ((last - first) / np.maximum(gaps, 1))[gaps > 0], "e2e": last - queued}


def _rate(requests: Requests, both: Bools, last_token_s: Floats) -> float:
    """From the first arrival to the last token."""
    return float(requests.output_tokens[both].sum() / last_token_s[both].max())


def _loads(recording: Recording, replayed: Replayed, both: Bools) -> dict[str, Comparison]:
    """Means over the time in which something was in flight; without a time series, what the requests' times say."""
    timeline, simulated = recording.timeline, replayed.timeline
    if timeline is None:
        known = both & np.isfinite(recording.requests.scheduled_s)
        sides = ((side.scheduled_s[known], side.last_token_s[known]) for side in (recording.requests, replayed))
        running = [float((end - begin).sum() / end.max()) for begin, end in sides if len(end)]
        return {"running_mean": Comparison(*running)} if running else {}
    found = {
        f"{name}_mean": Comparison(
            _busy_mean(timeline, getattr(timeline, name)), _busy_mean(simulated, getattr(simulated, name))
        )
        for name in ("running", "waiting")
    }
    if timeline.kv_share is not None and simulated.kv_share is not None:
        pair = _busy_mean(timeline, timeline.kv_share), _busy_mean(simulated, simulated.kv_share)
        found["kv_share_mean"] = Comparison(*pair)
    if timeline.preemptions is not None:
        found["preemptions"] = Comparison(timeline.preemptions, simulated.preemptions or 0)
    return found


def _busy_mean(timeline: Timeline, column: Floats) -> float:
    busy = np.flatnonzero(timeline.running + timeline.waiting)
    return float(column[busy[0] : busy[-1] + 1].mean()) if len(busy) else 0.0


def _tick_s(timeline: Timeline | None) -> float:
    """Distance of a time series' rows; a second where it has none."""
    if timeline is None or len(timeline.time_s) == 1:
        return 1.0
    tick_s = float(np.median(np.diff(timeline.time_s)))
    return tick_s if tick_s > 0 else 1.0
