"""Turns runs into a table and two verdicts; measures nothing."""

from collections.abc import Sequence

from extproc.bench.measure import KIB, Run

_HEAD = (
    "| body | side | requests/s | p50 ms | p99 ms | Envoy µs | processor µs | × floor |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|"
)


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, one row for each side at each size."""
    return "\n".join([_HEAD, *(_row(run, runs) for run in runs)])


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """The ratios the service is held to, side by side from one run.

    Processor time of the service over the floor's at 1 and 16 KiB, and of its own at 1 MiB over 1 KiB.
    """
    return {
        "cpu_over_floor_1KiB": _cpu(runs, "dualpool", KIB) / _cpu(runs, "floor", KIB),
        "cpu_over_floor_16KiB": _cpu(runs, "dualpool", 16 * KIB) / _cpu(runs, "floor", 16 * KIB),
        "cpu_1MiB_over_1KiB": _cpu(runs, "dualpool", KIB * KIB) / _cpu(runs, "dualpool", KIB),
    }


def _row(run: Run, runs: Sequence[Run]) -> str:
    floor = _cpu(runs, "floor", run.body_bytes)
    times = f"{run.processor_cpu_us / floor:.2f}" if run.side == "dualpool" else ""
    figures = f"{run.requests_per_s:.0f} | {run.p50_ms:.2f} | {run.p99_ms:.2f} | {run.envoy_cpu_us:.0f}"
    return f"| {run.body_bytes // KIB} KiB | {run.side} | {figures} | {run.processor_cpu_us:.0f} | {times} |"


def _cpu(runs: Sequence[Run], side: str, body_bytes: int) -> float:
    return next(run.processor_cpu_us for run in runs if (run.side, run.body_bytes) == (side, body_bytes))
