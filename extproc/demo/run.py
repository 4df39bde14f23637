"""The demo from start to end: start the parts, drive the traffic, show the result, clean up.

The only module that knows the order of things; each step is another module's.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from rich.console import Console

from extproc.demo.asjson import as_json
from extproc.demo.bodies import read_bodies
from extproc.demo.corpus import load
from extproc.demo.drive import drive, fetch_text, measure
from extproc.demo.fleet import Fleet, fleet
from extproc.demo.mix import Ask, asks
from extproc.demo.outcome import Outcome
from extproc.demo.scrape import Scraped, scraped
from extproc.demo.screen import console, print_how_to_try, print_summary, screen
from extproc.demo.summary import PairedTimes, Tally
from extproc.envoyconfig.options import buffer_limit_for
from extproc.routing.values import Pool

DEFAULT_REQUESTS = 3200
"""Enough for 200 samples of each category with the mix as it is, and for some that are no longer all read."""
_LOOK_EVERY_S = 0.5
_WRITTEN_S = 0.3
"""After which the service's metrics hold all that has ended."""
_PAIRS_SHARE = 8
"""One pair for the latency comparison to so many requests of the mix."""
_FEWEST_PAIRS, _MOST_PAIRS = 40, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a person chooses about a demo."""

    envoy_binary: Path | None = None
    """Needed where there is no `existing` deployment."""
    existing: Fleet | None = None
    """What to drive instead of starting anything."""
    requests: int | None = None
    """None: enough to learn every category, or the whole of `bodies`."""
    concurrency: int = 16
    threshold_tokens: int = 8192
    seed: int = 1
    listen_port: int | None = None
    """None takes a free one."""
    bodies: Path | None = None
    """JSONL of bodies to send in place of the corpus."""
    keeps_running: bool = False
    prints_json: bool = False

    def __post_init__(self) -> None:
        """Refuse a threshold that no Envoy of ours can serve, before requests of that size are composed."""
        buffer_limit_for(self.threshold_tokens)


@dataclass(slots=True)
class _Result:
    tally: Tally
    service: Scraped = field(default_factory=Scraped)
    times: PairedTimes = field(default_factory=PairedTimes)

    @property
    def failed(self) -> int:
        return self.tally.failed + self.times.failed


def run_demo(options: DemoOptions) -> int:
    """Run it; the exit status: 0 if no request failed, 1 if one did."""
    output = console(to_stderr=options.prints_json)
    requests = list(wanted_requests(options))
    pairs = paired_requests(options, sum(ask.requests for ask in requests))
    output.print(
        "Driving what runs already …" if options.existing else "Starting Envoy, the service and two mock pools …"
    )
    with _fleet(options) as running:
        result = asyncio.run(_traffic(running, requests, pairs, options, output))
        _report(result, options, output)
        if options.keeps_running:
            print_how_to_try(output, running)
            _keep(running)
    return int(result.failed > 0)


def wanted_requests(options: DemoOptions) -> Iterator[Ask]:
    """The stream to drive: of the file, or composed."""
    if options.bodies:
        return islice(read_bodies(options.bodies), options.requests)
    return _corpus_requests(options, options.requests or DEFAULT_REQUESTS, options.seed)


def _corpus_requests(options: DemoOptions, requests: int, seed: int) -> Iterator[Ask]:
    rng = Random(seed)  # noqa: S311 - a repeatable mix, no secret
    return asks(load(rng), requests=requests, threshold_tokens=options.threshold_tokens, rng=rng)


def paired_requests(options: DemoOptions, requests: int) -> list[Ask]:
    """JSON requests of the same mix, other than those the service has learned from unless they come from a file."""
    wanted = min(_MOST_PAIRS, max(_FEWEST_PAIRS, requests // _PAIRS_SHARE))
    source = read_bodies(options.bodies) if options.bodies else _corpus_requests(options, 4 * wanted, options.seed + 1)
    return list(islice((ask for ask in source if ask.is_inference and not ask.streams), wanted))


def _fleet(options: DemoOptions) -> AbstractContextManager[Fleet]:
    if options.existing:
        return nullcontext(options.existing)
    assert options.envoy_binary is not None, "a deployment of our own needs an Envoy"
    return fleet(
        envoy_binary=options.envoy_binary,
        threshold_tokens=options.threshold_tokens,
        listen_port=options.listen_port,
    )


async def _traffic(
    running: Fleet, requests: list[Ask], pairs: list[Ask], options: DemoOptions, output: Console
) -> _Result:
    result = _Result(Tally(options.threshold_tokens))
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    with screen(output, sum(ask.requests for ask in requests)) as view:
        async with asyncio.TaskGroup() as group:
            driving = group.create_task(
                drive(
                    running.url,
                    running.pool_urls[Pool.LONG],
                    iter(requests),
                    concurrency=options.concurrency,
                    outcomes=outcomes,
                )
            )
            while not driving.done() and not running.ended():
                await asyncio.wait([driving], timeout=_LOOK_EVERY_S)
                await _look(running, outcomes, result)
                view.show(result.tally, result.service)
            driving.cancel()
        await asyncio.sleep(_WRITTEN_S)
        await _look(running, outcomes, result)
        view.show(result.tally, result.service)
    running.check()
    if running.baseline_url:
        output.print(f"Comparing {len(pairs)} requests with and without the service …")
        result.times = await measure(running.url, running.baseline_url, iter(pairs))
        running.check()
    return result


async def _look(running: Fleet, outcomes: asyncio.Queue[Outcome], result: _Result) -> None:
    """Take in what has happened since the last look."""
    while not outcomes.empty():
        result.tally.add(outcomes.get_nowait())
    text = await fetch_text(running.metrics_url)
    result.service = scraped(text) if text else result.service


def _report(result: _Result, options: DemoOptions, output: Console) -> None:
    if options.prints_json:
        sys.stdout.write(json.dumps(as_json(result.tally, result.service, result.times), indent=2) + "\n")
        sys.stdout.flush()
    else:
        print_summary(output, result.tally, result.service, result.times)


def _keep(running: Fleet) -> None:
    """Wait for Ctrl-C, or for a part to end."""
    while True:
        running.check()
        time.sleep(_LOOK_EVERY_S)
