"""A stream of requests: who arrives when, with how long a prompt, output and limit. Knows no text and no pool.

A request's prompt and output always come from one and the same row, so what long prompts have to do with short outputs
stays as it is in the source.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.arrivals import (
    ArrivalKind,
    Arrivals,
    Recorded,
    arrivals_like,
    checked,
    chunks,
    dispersion,
    own_rate_per_s,
)
from extproc.fleet.declared import AsRecorded, Exact, Policy
from extproc.fleet.presets import read_preset
from extproc.fleet.samples import (
    CHAT,
    ROWS,
    CategoryMix,
    FixedShare,
    OutputRule,
    Rows,
    pick,
    prefixes_of,
    rows_of_cdf,
    rows_of_formula,
    rows_of_trace,
    spread,
)
from extproc.fleet.values import Batch, Floats, Ints
from extproc.traces import LengthCdf, Trace, read_trace

_ONE_CORRELATION = 1.0


class Lengths(NamedTuple):
    """A workload without its times, as weighted rows for the closed form; columns of one length, at most `ROWS`."""

    prompt_tokens: Ints
    output_tokens: Ints
    declared_tokens: Ints
    """`max_tokens`, or `ABSENT`."""
    weight: Floats
    """Sums to 1."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a workload does with its source."""

    rate_per_s: float | None = None
    """Requests per second; None for the source's own mean."""
    arrivals: ArrivalKind | None = None
    """None for bursty ones where a dispersion is given, else the source's own times where it has them, and Poisson
    where not."""
    declared: Policy | None = None
    """None for what the trace recorded where it did, and otherwise `Exact`."""
    categories: CategoryMix | None = None
    """Of requests whose kind of text the source does not name; None for `CHAT`. A preset has its own."""
    dispersion: float | None = None
    """Of bursty arrivals, at least 1; None for the source's own."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests without end. The same seed gives the same requests."""

    name: str
    source: str
    """One sentence that names the source and its licence."""
    rows: Rows
    arrivals: Arrivals
    declared: Policy
    in_order: bool = False
    """Whether rows come in their order, again and again, rather than drawn: where their times or prefixes count."""

    @property
    def rate_per_s(self) -> float:
        """Mean requests per second."""
        return self.arrivals.rate_per_s

    def batches(self, *, seed: int, requests: int) -> Iterator[Batch]:
        """So many requests, in batches of at most `BATCH`; what is held at a time does not grow with their number.

        Args:
            seed: of times, rows and limits, each of which is drawn apart.
            requests: in all.
        """
        of_times, of_rows, of_limits = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(3))
        done = 0
        for arrival_s in chunks(self.arrivals.blocks(of_times), requests):
            yield self._batch(arrival_s, done, of_rows, of_limits)
            done += len(arrival_s)

    def whole_turns(self, requests: int, warm_up_share: float) -> int:
        """At least so many requests; of rows in order as many as make whole turns behind a warm-up of that share.

        All fleets then see the same requests, and each is judged by all of them: fleets that see other parts of a
        trace, or only its beginning, cannot be compared.
        """
        if not self.in_order:
            return requests
        total = len(self.rows.prompt_tokens)
        return math.ceil(max(1, math.ceil(requests / total)) * total / (1.0 - warm_up_share))

    def lengths(self) -> Lengths:
        """What the batches are drawn from; of more rows than `ROWS` evenly many along their totals."""
        prompt, output, declared = self.rows.prompt_tokens, self.rows.output_tokens, self.rows.declared_tokens
        order = np.lexsort((prompt, prompt + output))
        if len(order) > ROWS:
            order = order[((np.arange(ROWS) + 0.5) * len(order) / ROWS).astype(np.int64)]
        limits = self.declared.declare(output[order], spread(len(order)), None if declared is None else declared[order])
        weight = np.full(len(order), 1.0 / len(order))
        return Lengths(prompt[order], limits.output_tokens, limits.declared_tokens, weight)

    def _batch(
        self, arrival_s: Floats, done: int, of_rows: np.random.Generator, of_limits: np.random.Generator
    ) -> Batch:
        rows, count = self.rows, len(arrival_s)
        turns, total = np.zeros(count, np.int64), len(rows.prompt_tokens)
        if self.in_order:
            turns, at = np.divmod(np.arange(done, done + count), total)
        else:
            at = of_rows.integers(0, total, count)
        recorded = None if rows.declared_tokens is None else rows.declared_tokens[at]
        limits = self.declared.declare(rows.output_tokens[at], of_limits.random(count), recorded)
        prompts, categories = rows.prompt_tokens[at], rows.categories[at]
        named = prefixes_of(rows, at, turns)
        return Batch(arrival_s, prompts, limits.output_tokens, limits.declared_tokens, categories, *named)


def of_preset(name: str, options: Options | None = None) -> Workload:
    """One of `extproc.fleet.presets.PRESETS`.

    Raises:
        ConfigurationError: there is no such preset, or it has no rate or times that the options want.
    """
    options, preset = options or Options(), read_preset(name)
    rows = preset.rows
    if options.categories is not None:
        rows = rows._replace(categories=pick(options.categories, spread(len(rows.prompt_tokens))))
    arrivals = _drawn(options, preset.rate_per_s, preset.dispersion)
    return Workload(name, preset.source, rows, arrivals, options.declared or Exact())


def of_file(path: Path, options: Options | None = None, *, output: OutputRule | None = None, seed: int = 0) -> Workload:
    """Traffic from a file that `extproc.traces.read_trace` reads.

    Args:
        path: a trace, or a distribution of total tokens.
        options: what to do with it.
        output: how a distribution is split, which does not tell prompt from output; None for `FixedShare`.
        seed: of the spread of rounded times.

    Raises:
        ConfigurationError: it cannot be read, or lacks what the options want.
    """
    found = read_trace(path, seed=seed)
    if isinstance(found, LengthCdf):
        return of_cdf(found, path.name, options, output=output)
    return of_trace(found, path.name, options)


def of_cdf(
    found: LengthCdf, name: str, options: Options | None = None, *, output: OutputRule | None = None
) -> Workload:
    """Traffic of which only the distribution of total tokens is known.

    Args:
        found: the distribution.
        name: that reports show.
        options: what to do with it.
        output: how totals are split; None for `FixedShare`.

    Raises:
        ConfigurationError: it lacks what the options want.
    """
    options, rule = options or Options(), output or FixedShare()
    rows = rows_of_cdf(found, rule, options.categories or CHAT)
    source = f"Distribution of total tokens in {name}, split by {rule}."
    return Workload(name, source, rows, _drawn(options, None, None), options.declared or Exact())


def of_trace(found: Trace, name: str, options: Options | None = None) -> Workload:
    """Traffic as a trace has it.

    Args:
        found: the trace.
        name: that reports show.
        options: what to do with it.

    Raises:
        ConfigurationError: it lacks what the options want.
    """
    options = options or Options()
    rows = rows_of_trace(found, options.categories or CHAT)
    arrivals = _drawn(options, None, None) if found.arrival_s is None else _like(found.arrival_s, options)
    declared = options.declared or (Exact() if rows.declared_tokens is None else AsRecorded())
    ordered = isinstance(arrivals, Recorded) or rows.prefixes is not None
    return Workload(name, _said_of(found, name), rows, arrivals, declared, ordered)


def busiest(workload: Workload, requests: int) -> Workload:
    """The so many requests in a row that come in the shortest time, where a trace has more; without their prefixes."""
    total = len(workload.rows.prompt_tokens)
    if not workload.in_order or total <= requests:
        return workload
    begin, arrivals = 0, workload.arrivals
    if isinstance(arrivals, Recorded):
        begin = int(np.argmin(arrivals.arrival_s[requests - 1 :] - arrivals.arrival_s[: total - requests + 1]))
        times = arrivals.arrival_s[begin : begin + requests]
        rate = arrivals.rate_per_s * own_rate_per_s(times) / own_rate_per_s(arrivals.arrival_s)
        arrivals = Recorded(times - times[0], rate)
    source = f"{workload.source} The busiest {requests:,} in a row of {total:,} are simulated, over and over."
    columns = (None if column is None else column[begin : begin + requests] for column in workload.rows[:4])
    rows = Rows(*columns)  # type: ignore[arg-type] # only the last one may be None
    return replace(workload, rows=rows, arrivals=arrivals, source=source)


def _said_of(found: Trace, name: str) -> str:
    cut = {0: "", 1: " A line that was cut off is left out."}.get(
        found.cut, f" {found.cut:,} lines that were cut off are left out."
    )
    if not found.drawn:
        return f"Requests of {name}, as given.{cut}"
    share = found.drawn / found.requests
    return f"Requests of {name}; {share:.0%} of the answers were not read, and are as long as others like them.{cut}"


def synthetic(
    options: Options,
    *,
    prompt_tokens: float = 1024.0,
    output_tokens: float = 128.0,
    prompt_deviation: float = 1.0,
    output_deviation: float = 1.0,
    correlation: float = 0.0,
) -> Workload:
    """Log-normal lengths with these medians, standard deviations of the logarithms, and their correlation.

    Raises:
        ConfigurationError: the options name no rate, or the numbers are no distribution.
    """
    sizes, widths = min(prompt_tokens, output_tokens), min(prompt_deviation, output_deviation)
    if sizes < 1.0 or widths < 0.0 or abs(correlation) > _ONE_CORRELATION:
        raise ConfigurationError(
            "synthetic lengths need medians of 1 or more, deviations of 0 or more, |correlation| ≤ 1"
        )
    lengths = rows_of_formula(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        prompt_deviation=prompt_deviation,
        output_deviation=output_deviation,
        correlation=correlation,
    )
    rows = Rows(*lengths, pick(options.categories or CHAT, spread(ROWS)))
    source = f"Synthetic: log-normal, medians of {prompt_tokens:g} prompt and {output_tokens:g} output tokens."
    return Workload("synthetic", source, rows, _drawn(options, None, None), options.declared or Exact())


def _drawn(options: Options, rate_per_s: float | None, of_dispersion: float | None) -> Arrivals:
    """Arrivals where no times are at hand."""
    rate = options.rate_per_s if options.rate_per_s is not None else rate_per_s
    if rate is None:
        raise ConfigurationError("this workload has no times of its own: give a rate in requests per second")
    wanted = options.dispersion if options.dispersion is not None else of_dispersion
    return arrivals_like(_kind(options) or ArrivalKind.POISSON, rate_per_s=rate, of_dispersion=wanted)


def _like(arrival_s: Floats, options: Options) -> Arrivals:
    """Arrivals as a trace's own, or drawn like them."""
    rate = own_rate_per_s(arrival_s) if options.rate_per_s is None else options.rate_per_s
    kind = _kind(options)
    if kind in {None, ArrivalKind.RECORDED}:
        return Recorded(arrival_s, checked(rate))
    bursty = kind is ArrivalKind.BURSTY and options.dispersion is None
    return _drawn(options, rate, dispersion(arrival_s) if bursty else None)


def _kind(options: Options) -> ArrivalKind | None:
    """What arrivals are wanted; None where nothing is said of them.

    Raises:
        ConfigurationError: a dispersion is none, or of arrivals that have none to choose.
    """
    if options.dispersion is None:
        return options.arrivals
    if options.arrivals not in {None, ArrivalKind.BURSTY}:
        raise ConfigurationError(
            f"--dispersion is of bursty arrivals, and --arrivals {options.arrivals} asks for others: leave one out"
        )
    if not 1.0 <= options.dispersion < float("inf"):
        raise ConfigurationError(
            f"--dispersion {options.dispersion:g} is none of bursty arrivals: it must be at least 1, which is Poisson's"
        )
    return ArrivalKind.BURSTY
