"""A validation as a table for people: shows figures that others computed. Needs rich."""

import numpy as np
from rich.console import Console
from rich.table import Table

from extproc.fleet.validate import Comparison, Validation, shifted
from extproc.fleet.values import Floats

_COLUMNS = {"running": "running", "waiting": "waiting", "kv_share": "KV"}
_BARS = " ▁▂▃▄▅▆▇█"
_PLOT_WIDTH = 60
_PLAIN_WIDTH = 120
"""Where the output is no terminal: wide enough to keep every line whole."""


def console() -> Console:
    """A console on standard output that writes control codes to nothing but a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def show(output: Console, validation: Validation) -> None:
    """What was simulated, on what it rests, and every figure of both sides."""
    for line in facts(validation):
        output.print(line, soft_wrap=True, markup=False)
    table = Table()
    table.add_column("")
    for heading in ("measured", "simulated", "error"):
        table.add_column(heading, justify="right")
    for name, found in validation.metrics.items():
        table.add_row(name, _figure(found.measured), _figure(found.simulated), _error(found))
    output.print(table)
    for line in over_time(validation):
        output.print(line, soft_wrap=True, markup=False)
    output.print(
        "Times count from when the engine took a request in, on both sides."
        " Nothing was fitted to this run's latencies.",
        soft_wrap=True,
    )


def facts(validation: Validation) -> list[str]:
    """Sentences on what was simulated."""
    setup, instance = validation.setup, validation.setup.instance
    engines = f"{setup.instances} data-parallel engines of " if setup.instances > 1 else ""
    scheduling = "asynchronous" if setup.async_scheduling else "synchronous"
    return [
        f"{setup.model} on {engines}{instance.gpus}x {setup.gpu}, vLLM {setup.vllm}, {scheduling} scheduling.",
        (
            f"max_model_len {instance.max_model_len}, max_num_seqs {instance.max_num_seqs}, "
            f"max_num_batched_tokens {instance.max_num_batched_tokens}."
        ),
        f"KV blocks: {instance.kv_blocks} an engine, {'as recorded' if setup.blocks_recorded else 'computed'}.",
        f"Step times: {'kernel times of this directory' if setup.profiled else 'roofline of the data sheet'}.",
        f"Requests: {validation.compared} compared{_left_out(validation)}.",
        f"Preemptions simulated: {validation.preemptions}.",
        *(f"{remark[0].upper()}{remark[1:]}." for remark in setup.remarks),
    ]


def over_time(validation: Validation) -> list[str]:
    """Running, waiting and KV of both sides as rows of bars over the same time, to the higher maximum of the two."""
    sides = {"recorded": validation.recording.timeline, "simulated": validation.replayed.timeline}
    series = {
        (title, side): (shifted(timeline).time_s, values)
        for column, title in _COLUMNS.items()
        for side, timeline in sides.items()
        if timeline is not None and (values := getattr(timeline, column)) is not None
    }
    end_s = max(time_s[-1] for time_s, _ in series.values())
    lines = [f"Over {end_s:.0f} s, from left to right; a full bar is the highest of both:"]
    for (title, side), (time_s, values) in series.items():
        highest = max(float(series[key][1].max()) for key in series if key[0] == title)
        shown = f"{highest:.0%}" if title == "KV" else f"{highest:.0f}"
        lines.append(f"{title:>7} {side:>9} {_bars(time_s, values, end_s, highest)} {shown}")
    return lines


def _bars(time_s: Floats, values: Floats, end_s: float, highest: float) -> str:
    """One bar for each part of the time, of the mean of its rows; none where it has no row."""
    edges = np.linspace(0.0, end_s, _PLOT_WIDTH + 1)
    places = np.clip(np.searchsorted(edges, time_s, side="left") - 1, 0, _PLOT_WIDTH - 1)
    means = [values[places == place].mean() if (places == place).any() else 0.0 for place in range(_PLOT_WIDTH)]
    return "".join(_BARS[int(np.ceil(mean / highest * (len(_BARS) - 1)))] if highest else _BARS[0] for mean in means)


def _left_out(validation: Validation) -> str:
    requests, lines = validation.recording.requests, validation.recording.skipped
    aborted = int((~requests.complete).sum())
    failed = int((~validation.replayed.complete).sum())
    reasons = [
        (aborted, "did not end in the recording"),
        (failed, "not in the simulation"),
        (lines, "lines without times or lengths"),
    ]
    said = "; ".join(f"{count} {reason}" for count, reason in reasons if count)
    return f"; left out: {said}" if said else ""


def _figure(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - four digits, without an exponent


def _error(found: Comparison) -> str:
    return "-" if found.error is None else f"{found.error:+.1%}"
