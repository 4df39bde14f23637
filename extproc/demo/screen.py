"""What a person sees: a live view on a terminal, a few plain lines elsewhere, and the summary's tables.

It shows numbers that others counted and decides nothing.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from extproc.demo.fleet import Fleet
from extproc.demo.mix import CHAT_PATH, MODEL
from extproc.demo.scrape import Scraped
from extproc.demo.summary import SETTLED_SAMPLES, TOLERANCE, PairedTimes, RatioLine, Tally, percentile, ratio_lines
from extproc.routing.values import Misroute, Stage

_PLAIN_WIDTH = 110
_PLAIN_STEPS = 5
"""Plain output reports so many times on the way."""


class Screen(Protocol):
    """Shows how far the demo has come."""

    def show(self, tally: Tally, service: Scraped) -> None:
        """Take in the present state."""


def console(*, to_stderr: bool) -> Console:
    """A console that never writes control codes to anything but a terminal, and keeps tables whole there."""
    found = Console(stderr=to_stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=to_stderr, highlight=False, width=_PLAIN_WIDTH)


@contextmanager
def screen(output: Console, requests: int) -> Iterator[Screen]:
    """A live view where `output` is a terminal that can redraw, plain lines where it is not."""
    if not output.is_terminal or output.is_dumb_terminal:
        yield _Lines(output, requests)
        return
    with Live(console=output, refresh_per_second=4, transient=True) as live:
        yield _Tables(live, requests)


class _Tables:
    def __init__(self, live: Live, requests: int) -> None:
        self._live = live
        self._requests = requests

    def show(self, tally: Tally, service: Scraped) -> None:
        title = f"{tally.requests} of {self._requests} requests, {tally.failed} failed"
        ratios = _ratios(ratio_lines(tally, service.ratios))
        promise = _promise(tally, service)
        self._live.update(Group(title, _decisions(tally), _stages(tally), ratios, _misroutes(tally), promise))


class _Lines:
    def __init__(self, output: Console, requests: int) -> None:
        self._output = output
        self._requests = requests
        self._steps_shown = 0

    def show(self, tally: Tally, service: Scraped) -> None:
        step = tally.requests * _PLAIN_STEPS // max(1, self._requests)
        if step <= self._steps_shown:
            return
        self._steps_shown = step
        short, long = tally.landed_on("short"), tally.landed_on("long")
        known = ", ".join(f"{name} {found.bytes_per_token:.2f}" for name, found in sorted(service.ratios.items()))
        self._output.print(
            f"{tally.requests} requests: {short} short, {long} long, {tally.failed} failed; {known}", soft_wrap=True
        )


def print_summary(output: Console, tally: Tally, service: Scraped, times: PairedTimes) -> None:
    """The whole result, as tables."""
    output.print(f"\n{tally.requests} requests, {tally.failed} failed{_faults(tally)}")
    if times.failed:
        output.print(f"{times.failed} more failed in the comparison of latencies")
    if tally.landed_elsewhere:
        output.print(f"{tally.landed_elsewhere} of them were answered by another pool than the one the service chose")
    output.print(_decisions(tally), _stages(tally), _misroutes(tally))
    output.print(_promise(tally, service))
    output.print(_ratios(ratio_lines(tally, service.ratios)))
    output.print(
        "True: mean, over the requests the service may learn from, of the prompt's bytes by the answer's prompt tokens."
        f" Near: within {TOLERANCE:.0%} after at least {SETTLED_SAMPLES} samples."
    )
    if times.routed_s:
        output.print(_latency(times))
        output.print(
            f"{len(times.routed_s)} JSON requests sent in turn, one at a time, through Envoy with and without the"
            " service; from sending to the last byte of the answer."
        )


def _faults(tally: Tally) -> str:
    named = ", ".join(f"{fault}: {count}" for fault, count in tally.faults.most_common())
    return f" ({named})" if named else ""


def _decisions(tally: Tally) -> RenderableType:
    table = Table("pool", "reason", "provenance", title="Decisions", title_justify="left")
    table.add_column("requests", justify="right")
    for decided, count in tally.decided.most_common():
        table.add_row(decided.pool, decided.reason or "(none given)", decided.provenance, str(count))
    return table


def _stages(tally: Tally) -> RenderableType:
    """The least effort that settled each request."""
    table = Table("settled by", title="Effort", title_justify="left")
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    table.add_column("which is")
    for stage in (stage for stage in Stage if tally.stages[stage]):
        share = tally.stages[stage] / tally.stages.total()
        table.add_row(stage.value, str(tally.stages[stage]), f"{share:.1%}", _EFFORTS[stage])
    return table


_EFFORTS = {
    Stage.NONE: "nothing measured: no inference, no budget to tell",
    Stage.BOUNDS: "certain by size alone, whatever the tokenizer",
    Stage.MEMORY: "a conversation seen before: its last count, and the rest estimated",
    Stage.SIZE: "its bytes, and what text has cost so far",
    Stage.SAMPLE: "a small sample of the text",
    Stage.TEXT: "all of the text",
    Stage.EXACT: "counted by a local tokenizer",
}


def _promise(tally: Tally, service: Scraped) -> str:
    """What was promised beside what became of it, by two ways of counting."""
    promised = "nothing is promised" if service.promise is None else f"promised {_percent(service.promise)} at most"
    return (
        f"Sent short and did not fit: {_percent(tally.under_realised)} of {tally.judged} requests by their true length,"
        f" {_percent(service.under_realised)} by the service's own metrics; {promised}."
        f" Drift alarms: {service.alarms}."
    )


def _percent(share: float | None) -> str:
    return "none judged" if share is None else f"{share:.2%}"


def _misroutes(tally: Tally) -> RenderableType:
    """Requests by what they are made of, and how many of them landed in the wrong pool by their true length."""
    table = Table("text", title=f"Misroutes at {tally.threshold_tokens} tokens", title_justify="left")
    for name in ("short", "long", "under", "over", "over once calibrated"):
        table.add_column(name, justify="right")
    rows = {kind: _kind_counts(tally, kind) for kind in sorted({kind for kind, _ in tally.landed if kind})}
    for kind, counts in rows.items():
        table.add_row(kind, *map(str, counts))
    if len(rows) > 1:
        table.add_row("all", *(str(sum(column)) for column in zip(*rows.values(), strict=True)))
    return table


def _kind_counts(tally: Tally, kind: str) -> list[int]:
    under, over = (
        sum(count for (found, of_kind, _), count in tally.misrouted.items() if (found, of_kind) == (way, kind))
        for way in (Misroute.UNDER, Misroute.OVER)
    )
    calibrated = tally.misrouted[Misroute.OVER, kind, "calibrated"]
    return [tally.landed[kind, "short"], tally.landed[kind, "long"], under, over, calibrated]


def _ratios(lines: Mapping[str, RatioLine]) -> RenderableType:
    table = Table("category", title="Bytes per token", title_justify="left")
    for name in ("learned", "true", "error", "samples", "near"):
        table.add_column(name, justify="right")
    for category, line in lines.items():
        table.add_row(category, *_ratio_cells(line))
    return table


def _ratio_cells(line: RatioLine) -> list[str]:
    learned, true = (f"{value:.3f}" if value is not None else "-" for value in (line.learned, line.true))
    error = "-" if line.relative_error is None else f"{line.relative_error:+.1%}"
    near = {None: "too few", True: "yes", False: "NO"}[line.settled_within_tolerance]
    return [learned, true, error, str(line.samples), near]


def _latency(times: PairedTimes) -> RenderableType:
    table = Table("ms", title="Added latency", title_justify="left")
    for name in ("with the service", "same Envoy without", "added"):
        table.add_column(name, justify="right")
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        routed, baseline = (percentile(side, share) * 1000 for side in (times.routed_s, times.baseline_s))
        table.add_row(name, f"{routed:.2f}", f"{baseline:.2f}", f"{routed - baseline:+.2f}")
    return table


def print_how_to_try(output: Console, running: Fleet) -> None:
    """Addresses, and commands to paste."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 32})
    json_header = "-H 'content-type: application/json'"
    output.print(
        f"\nRunning until Ctrl-C:\n"
        f"  with the service     {running.url}\n"
        f"  same Envoy without   {running.baseline_url}\n"
        f"  its metrics          {running.metrics_url}\n"
        f"  Envoy's admin        {running.admin_url}\n"
        + "".join(f"  {pool:<5} pool           {url}\n" for pool, url in running.pool_urls.items())
        + f"\n  curl -i {running.url}{CHAT_PATH} {json_header} -d '{body}'"
        f"\n  curl -s {running.metrics_url} | grep ^dualpool_decisions",
        soft_wrap=True,
        markup=False,
    )
