"""Keeps a service busy at the highest rate the machine sustains, and says whether memory, streams and log stay clean.

python tools/soak.py > soak.txt

Takes ten minutes (--minutes). Everything is on but explanation headers: both pools are polled, under a load that comes
and goes, so that requests spill and the threshold moves; an access log is written and renamed, the state saved. Before
the pools stands a real Envoy; they are another one, which answers at once. Every prompt is new, and one model name in
fifty; one client in a hundred leaves without its answer. First the highest rate is found, in a closed loop, then 95 %
of it is held. Progress and what is found wrong go to standard error, the document to standard output. Ends with 1 where
memory after the warm-up left ± 5 %, a stream stayed open, an error was logged or counted, or an answer was not 200.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory
from typing import NamedTuple

import uvloop
from rich.console import Console
from rich.progress import Progress

from extproc.bench.soakstage import Sample, SoakStage, soak_stage
from extproc.bench.traffic import CONNECTIONS, Traffic
from extproc.demo.signals import interruptible
from extproc.envoyconfig.binary import find_envoy

FLAT = 0.05
"""How far memory may be from what it was at the end of the warm-up."""
SAMPLE_S = 5.0
HELD = 0.95
"""Of the highest rate, so that what is measured is no overload."""
_FIND_S = 10.0
_END_S = 15.0
"""How long the last exchanges may take to close."""
_MB = 1e6


class Drift(NamedTuple):
    """What memory did after the warm-up."""

    reference_bytes: int
    """At the end of the warm-up."""
    least: float
    """Of it, as a share below or above it."""
    most: float
    bytes_per_hour: float
    """The slope of the line of least squares."""


def drift_of(samples: Sequence[Sample], warm_up_s: float) -> Drift:
    """How memory went after the warm-up.

    Raises:
        ValueError: fewer than two samples are later than that.
    """
    kept = [sample for sample in samples if sample.at_s >= warm_up_s]
    if len(kept) <= 1:
        raise ValueError("the soak must be longer than its warm-up")
    reference = kept[0].rss_bytes
    shares = [sample.rss_bytes / reference - 1.0 for sample in kept]
    slope = linear_regression([sample.at_s for sample in kept], [sample.rss_bytes for sample in kept]).slope
    return Drift(reference, min(shares), max(shares), slope * 3600.0)


def complaints(samples: Sequence[Sample], warm_up_s: float) -> list[str]:
    """What is wrong, in words; the last sample is of the service when its load is gone."""
    found, drift, last = [], drift_of(samples, warm_up_s), samples[-1]
    if max(-drift.least, drift.most) > FLAT:
        found.append(f"memory went from {drift.least:+.1%} to {drift.most:+.1%} of what it was after the warm-up")
    if last.streams or last.observing:
        found.append(f"{last.streams:.0f} streams and {last.observing:.0f} observed answers are open after the end")
    if last.internal_errors:
        found.append(f"{last.internal_errors:.0f} internal errors were counted")
    if last.errors_logged:
        found.append(f"{last.errors_logged} errors were logged")
    return found


def table(samples: Sequence[Sample], every: int) -> str:
    """A Markdown table of every so many samples, and the last."""
    shown = [*samples[:-1:every], samples[-1]]
    head = "| s | requests | memory MB | streams | observed answers open | internal errors | errors logged |"
    rows = [
        f"| {s.at_s:.0f} | {s.answered:,} | {s.rss_bytes / _MB:.1f} | {s.streams:.0f} | {s.observing:.0f} |"
        f" {s.internal_errors:.0f} | {s.errors_logged} |"
        for s in shown
    ]
    return "\n".join([head, "|" + "---:|" * 7, *rows])


async def soak(running: SoakStage, seconds: float, console: Console) -> tuple[Traffic, list[Sample]]:
    """Find the highest rate and hold it; what was seen meanwhile, and once more when everything is closed."""
    traffic, samples = Traffic(running.door), list[Sample]()
    with Progress(console=console) as progress:
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            await asyncio.sleep(_FIND_S / 2)  # connections, caches and the first model are warm
            before = traffic.answered.total()
            await asyncio.sleep(_FIND_S / 2)
            traffic.per_s = HELD * (traffic.answered.total() - before) / (_FIND_S / 2)
            begun_s, before = time.monotonic(), traffic.answered.total()
            task = progress.add_task(f"{traffic.per_s:.0f} requests/s", total=seconds)
            while (at_s := time.monotonic() - begun_s) < seconds:
                samples.append(await asyncio.to_thread(running.sample, at_s, traffic.answered.total() - before))
                progress.update(task, completed=at_s)
                await asyncio.sleep(SAMPLE_S)
            traffic.over = True
        answered, ends_s = traffic.answered.total() - before, time.monotonic() + _END_S
        while True:
            last = await asyncio.to_thread(running.sample, time.monotonic() - begun_s, answered)
            if not (last.streams or last.observing) or time.monotonic() > ends_s:
                return traffic, [*samples, last]
            await asyncio.sleep(0.2)


def work_of(totals: Mapping[str, float]) -> str:
    """What the service did from its start, in words: a soak in which nothing is steered shows little."""
    spilled = totals["spilled_from_short"] + totals["spilled_from_long"]
    return (
        f"Since its start it made {totals['dualpool_decisions_total']:,.0f} decisions, of which {spilled:,.0f} spilled,"
        f" moved the threshold {totals['dualpool_threshold_moves_total']:,.0f} times, asked instances"
        f" {totals['dualpool_pool_polls_total']:,.0f} times, read {totals['dualpool_answers_read_total']:,.0f} answers,"
        f" wrote {totals['dualpool_access_log_lines_total']:,.0f} lines and saved its state"
        f" {totals['dualpool_state_saves_total']:,.0f} times."
    )


def document(traffic: Traffic, samples: Sequence[Sample], warm_up_s: float, work: str) -> str:
    """What is printed."""
    drift, last = drift_of(samples, warm_up_s), samples[-1]
    found = complaints(samples, warm_up_s)
    return (
        f"{last.answered:,} requests in {last.at_s:.0f} s, {last.answered / last.at_s:.0f} a second;"
        f" {traffic.per_s:.0f} were wanted, {HELD:.0%} of what a closed loop over {CONNECTIONS} connections found."
        f" {traffic.failed} answers were not 200, {traffic.late} requests began more than a second late. {work}\n\n"
        f"{table(samples, round(60 / SAMPLE_S))}\n\n"
        f"After {warm_up_s:.0f} s the service held {drift.reference_bytes / _MB:.1f} MB; from then on"
        f" {drift.least:+.1%} to {drift.most:+.1%} of that, {drift.bytes_per_hour / _MB:+.1f} MB an hour along the line"
        f" of least squares.\n\nVerdict: {'; '.join(found) or 'memory flat, no stream left, no error logged'}.\n"
    )


def main() -> None:
    """Soak, print, and end with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the rate is held (default 10)")
    parser.add_argument("--warm-up", type=float, default=2.0, help="minutes before memory counts (default 2)")
    given = parser.parse_args()
    if given.minutes < given.warm_up + 2 * SAMPLE_S / 60:
        parser.error("the soak must be longer than its warm-up")
    console = Console(stderr=True)
    with (
        interruptible(),
        TemporaryDirectory(prefix="dualpool-soak-") as folder,
        soak_stage(find_envoy(), Path(folder)) as running,
    ):
        traffic, samples = uvloop.run(soak(running, 60 * given.minutes, console))
        log, work = running.service.tail(), work_of(running.totals())
    sys.stdout.write(document(traffic, samples, 60 * given.warm_up, work))
    if complaints(samples, 60 * given.warm_up) or traffic.failed:
        console.print(log)
        sys.exit(1)


if __name__ == "__main__":
    main()
