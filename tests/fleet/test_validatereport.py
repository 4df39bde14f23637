import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from extproc.fleet.recordedengine import Engine
from extproc.fleet.recording import Recording, Requests, Timeline
from extproc.fleet.replay import Replayed
from extproc.fleet.validate import Comparison, Validation
from extproc.fleet.validatereport import console, facts, over_time, show
from extproc.fleet.validatesetup import set_up

ENGINE = Engine(model="llama-3.1-8b", device="rtx-4090", vllm="0.19.0", kv_blocks=2588)


def validation(engine: Engine = ENGINE) -> Validation:
    """Two requests, of which the recording lost one, and two preemptions in the simulation."""
    zeros, last = np.zeros(2), np.array([1.0, np.nan])
    requests = Requests(zeros, np.full(2, 10), np.full(2, 5), zeros, zeros, zeros, last)
    recording = Recording(Path("run"), engine, requests, None, 3)
    setup = set_up(recording, gpu=None, model=None, profile=False)
    replayed = Replayed(zeros, zeros, zeros + 1, zeros, np.array([2, 0]), Timeline(zeros, zeros, zeros, None, 2))
    metrics = {"ttft_mean_s": Comparison(2.0, 1.5), "preemptions": Comparison(0, 2), "tokens": Comparison(12345, 12345)}
    return Validation(recording, setup, replayed, metrics)


def test_people_are_told_what_it_rests_on() -> None:
    """Hardware, limits, blocks, step times, and what was left out."""
    said = " ".join(facts(validation()))
    assert "llama-3.1-8b on 1x rtx-4090, vLLM 0.19.0, asynchronous scheduling." in said
    assert "max_num_batched_tokens 2048" in said
    assert "2588 an engine, as recorded" in said
    assert "roofline of the data sheet" in said
    assert "1 compared; left out: 1 did not end in the recording; 3 lines without times or lengths." in said
    assert "Preemptions simulated: 2." in said


def test_what_was_computed_is_not_called_recorded() -> None:
    """Blocks, and engines beside each other."""
    said = " ".join(facts(validation(replace(ENGINE, kv_blocks=None, max_model_len=4096, data_parallel_size=2))))
    assert "an engine, computed." in said
    assert "on 2 data-parallel engines of 1x rtx-4090" in said


def test_each_figure_has_its_line() -> None:
    """Four digits, the error with its sign, a dash where it has none."""
    output = io.StringIO()
    show(Console(file=output, width=100), validation())
    lines = [" ".join(line.replace("│", " ").split()) for line in output.getvalue().splitlines()]
    assert "ttft_mean_s 2 1.5 -25.0%" in lines
    assert "preemptions 0 2 -" in lines
    assert "tokens 12345 12345 +0.0%" in lines


def test_a_file_gets_no_control_codes_and_whole_lines() -> None:
    """Tests' output is no terminal."""
    assert not console().is_terminal
    assert console().width == 120


def test_remarks_are_sentences() -> None:
    """What was assumed stands below what was simulated."""
    assert "Recorded release main: taken as the latest known, 0.33." in facts(validation(replace(ENGINE, vllm="main")))


def test_bars_over_time() -> None:
    """Both sides to one scale: running climbs to 8 in the recording and stays at 4 in the simulation."""
    times, zeros = np.arange(1.0, 61.0), np.zeros(60)
    recorded = Timeline(times, np.linspace(0.1, 8.0, 60), zeros, None, None)
    whole = validation()
    sides = replace(
        whole,
        recording=replace(whole.recording, timeline=recorded),
        replayed=whole.replayed._replace(timeline=Timeline(times, zeros + 4.0, zeros, zeros + 0.5, 0)),
    )
    lines = over_time(sides)
    assert lines[1].startswith("running  recorded ▁")
    assert lines[1].endswith("█ 8")
    assert lines[2] == f"running simulated {'▄' * 60} 8"
    assert lines[3] == f"waiting  recorded {' ' * 60} 0"
    assert lines[-1].endswith("█ 50%")
