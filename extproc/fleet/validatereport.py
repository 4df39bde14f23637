"""A validation as a table for people: shows figures that others computed. Needs rich."""

from rich.console import Console
from rich.table import Table

from extproc.fleet.validate import Comparison, Validation

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
    ]


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
