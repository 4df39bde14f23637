from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.recordedengine import Engine
from extproc.fleet.recording import Recording, Requests, Timeline
from extproc.fleet.replay import Replayed
from extproc.fleet.validate import Validation
from extproc.fleet.validateplot import check, draw, plot
from extproc.fleet.validatesetup import set_up


def validation(*, recorded: bool = True) -> Validation:
    """Three requests, and a simulation that was a second slower with the first token of each."""
    arrivals, first = np.array([0.0, 1.0, 2.0]), np.array([0.5, 3.0, 4.0])
    requests = Requests(arrivals, np.full(3, 10), np.full(3, 5), arrivals, arrivals, first, first + 1)
    time_s, waiting, kv_share = np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([0.1, 0.2])
    seen = Timeline(time_s, time_s, waiting, kv_share, None)
    simulated = seen._replace(running=seen.running + 1)
    engine = Engine(model="llama-3.1-8b", device="rtx-4090", vllm="0.19.0", kv_blocks=2588)
    recording = Recording(Path("run"), engine, requests, seen if recorded else None, 0)
    setup = set_up(recording, gpu=None, model=None, profile=False)
    replayed = Replayed(arrivals, first + 1, first + 2, arrivals, np.zeros(3, np.int64), simulated)
    return Validation(recording, setup, replayed, {})


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_picture_is_written(suffix: str, start: bytes, tmp_path: Path) -> None:
    """In the format that its name asks for."""
    path = tmp_path / f"picture{suffix}"
    plot(validation(), path)
    assert path.read_bytes().startswith(start)


def test_both_sides_are_drawn_over_one_another() -> None:
    """Running, waiting, KV in percent, and the shares of requests by their TTFT."""
    running, waiting, kv, ttft = draw(validation()).axes
    assert [list(np.asarray(line.get_ydata())) for line in running.lines] == [[1, 2], [2, 3]]
    assert [line.get_label() for line in waiting.lines] == ["recorded", "simulated"]
    assert list(np.asarray(kv.lines[0].get_ydata())) == pytest.approx([10, 20])
    assert list(np.asarray(ttft.lines[0].get_xdata())) == pytest.approx([0.5, 2, 2])
    assert list(np.asarray(ttft.lines[1].get_xdata())) == pytest.approx([1.5, 3, 3])
    assert list(np.asarray(ttft.lines[0].get_ydata())) == pytest.approx([1 / 3, 2 / 3, 1])


def test_what_was_not_recorded_is_not_drawn() -> None:
    """Without a time series only the simulation has lines over time."""
    running, _, _, ttft = draw(validation(recorded=False)).axes
    assert [line.get_label() for line in running.lines] == ["simulated"]
    assert len(ttft.lines) == 2


@pytest.mark.parametrize(("name", "complaint"), [("a.gif", "must end in"), ("no/folder/a.png", "no such folder")])
def test_a_name_that_will_not_do_is_refused_first(name: str, complaint: str, tmp_path: Path) -> None:
    """Before anything is run."""
    with pytest.raises(ConfigurationError, match=complaint):
        check(tmp_path / name)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder in its place, for example."""
    path = tmp_path / "a.png"
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        plot(validation(), path)
