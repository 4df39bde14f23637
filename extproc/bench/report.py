"""Turns runs into a table and two verdicts; measures nothing."""

import statistics
from collections.abc import Sequence

from extproc.bench.measure import KIB, Run

_HEAD = (
    "| body | side | requests/s | p50 ms | p99 ms | Envoy µs | processor µs | × floor |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|"
)

_COMPARED = ("tuned floor", "dualpool", "all on")


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, one row for each side at each size."""
    return "\n".join([_HEAD, *(_row(run, runs) for run in runs)])


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """Ratios side by side from one run, of the service with its defaults, then with all of it on.

    Processor time over the floor's at 1 and 16 KiB, and of its own at 1 MiB over 1 KiB: what it is held to. Then over
    the floor that is tuned as it is.
    """
    found = {}
    for side, suffix in (("dualpool", ""), ("all on", "_all_on")):
        found["cpu_over_floor_1KiB" + suffix] = _cpu(runs, side, KIB) / _cpu(runs, "floor", KIB)
        found["cpu_over_floor_16KiB" + suffix] = _cpu(runs, side, 16 * KIB) / _cpu(runs, "floor", 16 * KIB)
        found["cpu_1MiB_over_1KiB" + suffix] = _cpu(runs, side, KIB * KIB) / _cpu(runs, side, KIB)
        found["cpu_over_tuned_floor_1KiB" + suffix] = _cpu(runs, side, KIB) / _cpu(runs, "tuned floor", KIB)
        found["cpu_over_tuned_floor_16KiB" + suffix] = _cpu(runs, side, 16 * KIB) / _cpu(runs, "tuned floor", 16 * KIB)
    return found


def telemetry_us(runs: Sequence[Run]) -> dict[str, tuple[float, float, float]]:
    """Processor time that telemetry adds to a request, by body size: the median over the rounds, and its interval.

    Both sides of a round run one after the other, so that it is their difference that is looked at; what else the
    machine does makes some of the differences absurd, which is why it is the median. The interval holds it in 19 of 20
    cases, whatever the distribution: a binomial count says how many differences may lie beyond. What the threads take
    that write and send is in it.

    Args:
        runs: some rounds of both sides, in the order they ran.
    """
    return {
        f"telemetry_us_{size // KIB}KiB": _median_within(_added_us(runs, size))
        for size in sorted({run.body_bytes for run in runs})
    }


def _added_us(runs: Sequence[Run], size: int) -> list[float]:
    silent, full = (
        [run.processor_cpu_us for run in runs if (run.side, run.body_bytes) == (side, size)]
        for side in ("silent", "telemetry")
    )
    return sorted(one - other for one, other in zip(full, silent, strict=True))


def _median_within(ordered: list[float]) -> tuple[float, float, float]:
    """The median of n values is between those of rank k + 1 from either end, k being (n − 1.96 √n) / 2."""
    beyond = max(0, int((len(ordered) - 1.96 * len(ordered) ** 0.5) / 2))
    return statistics.median(ordered), ordered[beyond], ordered[-1 - beyond]


def _row(run: Run, runs: Sequence[Run]) -> str:
    compared = run.side in _COMPARED
    times = f"{run.processor_cpu_us / _cpu(runs, 'floor', run.body_bytes):.2f}" if compared else ""
    figures = f"{run.requests_per_s:.0f} | {run.p50_ms:.2f} | {run.p99_ms:.2f} | {run.envoy_cpu_us:.0f}"
    return f"| {run.body_bytes // KIB} KiB | {run.side} | {figures} | {run.processor_cpu_us:.0f} | {times} |"


def _cpu(runs: Sequence[Run], side: str, body_bytes: int) -> float:
    return next(run.processor_cpu_us for run in runs if (run.side, run.body_bytes) == (side, body_bytes))
