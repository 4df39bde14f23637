"""Requests to draw from, as equally likely rows of prompt and output together; knows neither times nor limits.

Whatever a workload is made of (a trace, a published distribution, a table of a preset, a formula) becomes such rows, so
that the closed form and the simulation see one and the same distribution.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.errors import ConfigurationError
from extproc.fleet.values import ABSENT, CATEGORIES, Floats, Ints
from extproc.routing.values import Category
from extproc.traces import LengthCdf, Trace

ROWS = 49_152
"""Rows that stand for a distribution: of a length that one request in a thousand exceeds, 49."""
CategoryMix = Mapping[Category, float]
"""Shares of kinds of text."""
CHAT: CategoryMix = {
    Category.PROSE: 0.62,
    Category.CODE: 0.12,
    Category.JSON: 0.05,
    Category.LOGS: 0.02,
    Category.DENSE: 0.02,
    Category.CJK: 0.07,
    Category.CYRILLIC: 0.05,
    Category.OTHER_SCRIPT: 0.02,
    Category.TOOLS: 0.03,
}
"""Of chat traffic whose texts are not known. An assumption: no public trace says what kinds of text it is made of."""
_TO_FIRST_POINT = 8.0
"""A distribution says nothing below its first length: requests there have an eighth of it or more."""
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class Rows(NamedTuple):
    """Requests, each as likely as the other, as columns of one length."""

    prompt_tokens: Ints
    """At least 1; likewise the output."""
    output_tokens: Ints
    categories: npt.NDArray[np.int8]
    """Positions in `CATEGORIES`."""
    declared_tokens: Ints | None = None
    """`max_tokens`, or `ABSENT`; None where nobody knows."""
    prefix_from: Ints | None = None
    prefixes: Ints | None = None


@dataclass(frozen=True, slots=True)
class FixedShare:
    """A distribution of totals is split alike in every request."""

    output_share: float = 0.2
    """Of the tokens of a request; fleet-sim (vllm-project/semantic-router) takes a fifth."""

    def output_tokens(self, total_tokens: Floats) -> Floats:
        """So much of each."""
        return self.output_share * total_tokens


@dataclass(frozen=True, slots=True)
class DrawnOutput:
    """Outputs are log-normal whatever the total, as of a chat whose history grows, but never most of a short one."""

    median_tokens: float
    deviation: float
    """Standard deviation of the logarithm."""
    most_share: float
    """Of the tokens of a request."""

    def output_tokens(self, total_tokens: Floats) -> Floats:
        """Drawn evenly spread, so that equal totals have equal outputs."""
        drawn = self.median_tokens * np.exp(self.deviation * normal(spread(len(total_tokens))))
        return np.minimum(drawn, self.most_share * total_tokens)


OutputRule = FixedShare | DrawnOutput


def spread(count: int) -> Floats:
    """Numbers in (0, 1) in an order in which any stretch of them is evenly spread: the golden ratio's multiples."""
    return stepped(count, _GOLDEN)


def stepped(count: int, step: float) -> Floats:
    """Multiples of an irrational number, without their whole parts."""
    return np.asarray((np.arange(count) + 0.5) * step % 1.0, np.float64)


def normal(shares: Floats) -> Floats:
    """Quantiles of the standard normal distribution."""
    quantile = NormalDist().inv_cdf
    return np.array([quantile(share) for share in shares.tolist()])


def pick(mix: CategoryMix, shares: Floats) -> npt.NDArray[np.int8]:
    """Kinds of text for numbers in [0, 1).

    Raises:
        ConfigurationError: the mix has no shares.
    """
    if not mix or min(mix.values()) < 0.0 or not 0.0 < sum(mix.values()) < math.inf:
        raise ConfigurationError(
            "a mix of categories has shares of 0 or more, not all 0: for example prose 0.7, code 0.3"
        )
    cumulative = np.cumsum(list(mix.values())) / sum(mix.values())
    numbers = np.array([CATEGORIES.index(category) for category in mix], np.int8)
    return numbers[np.searchsorted(cumulative[:-1], shares, side="right")]


def rows_of_trace(trace: Trace, mix: CategoryMix) -> Rows:
    """A trace's own requests; those of no known kind get one of the mix.

    Raises:
        ConfigurationError: the trace does not say what was written.
    """
    if trace.output_tokens is None:
        raise ConfigurationError("the trace does not say how long outputs were: it needs them in every record")
    drawn = pick(mix, spread(trace.requests))
    known = drawn if trace.categories is None else trace.categories
    return Rows(
        trace.prompt_tokens,
        np.maximum(1, trace.output_tokens),
        np.where(known == ABSENT, drawn, known),
        trace.declared_tokens,
        trace.prefix_from,
        trace.prefixes,
    )


def rows_of_cdf(cdf: LengthCdf, rule: OutputRule, mix: CategoryMix) -> Rows:
    """A distribution of total tokens, which does not tell what is prompt and what output: the rule decides.

    Between two points lengths are log-uniform: evenly spread ones would make the last, wide bin heavier than it is.
    """
    tokens = np.log([cdf.tokens[0] / _TO_FIRST_POINT, *cdf.tokens])
    totals = np.exp(np.interp((np.arange(ROWS) + 0.5) / ROWS, [0.0, *cdf.cumulative], tokens))
    outputs = np.maximum(1, np.rint(rule.output_tokens(totals))).astype(np.int64)
    prompts = np.maximum(1, np.rint(totals).astype(np.int64) - outputs)
    return Rows(prompts, outputs, pick(mix, spread(ROWS)))


def rows_of_formula(
    *, prompt_tokens: float, output_tokens: float, prompt_deviation: float, output_deviation: float, correlation: float
) -> tuple[Ints, Ints]:
    """Log-normal prompts and outputs, correlated.

    Args:
        prompt_tokens: median.
        output_tokens: median.
        prompt_deviation: standard deviation of the logarithm.
        output_deviation: likewise.
        correlation: of the two logarithms, in [-1, 1].
    """
    of_prompt, own = normal((np.arange(ROWS) + 0.5) / ROWS), normal(spread(ROWS))
    of_output = correlation * of_prompt + math.sqrt(1.0 - correlation**2) * own
    return (
        _whole(prompt_tokens * np.exp(prompt_deviation * of_prompt)),
        _whole(output_tokens * np.exp(output_deviation * of_output)),
    )


def rows_of_tables(parts: Sequence[Mapping[str, Any]]) -> Rows:
    """Joint histograms, each with its mix of kinds, weighed by the requests that each counts."""
    total = sum(part["requests"] for part in parts)
    columns = [_of_table(part, round(ROWS * part["requests"] / total)) for part in parts]
    return Rows(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def prefixes_of(rows: Rows, at: Ints, turns: Ints) -> tuple[Ints | None, Ints | None]:
    """The prefix blocks of some rows, as a `Batch` has them.

    Args:
        rows: where they come from.
        at: positions of the rows.
        turns: how often each row was taken before. Each turn has names of its own: the same requests come again, but
            nobody's cache would still hold them.
    """
    if rows.prefix_from is None or rows.prefixes is None:
        return None, None
    starts = rows.prefix_from[at]
    counts = rows.prefix_from[at + 1] - starts
    prefix_from = np.concatenate([[0], np.cumsum(counts)])
    names = rows.prefixes[np.repeat(starts - prefix_from[:-1], counts) + np.arange(prefix_from[-1])]
    return prefix_from, names + np.repeat(turns, counts) * (int(rows.prefixes.max()) + 1)


def _of_table(part: Mapping[str, Any], rows: int) -> tuple[Ints, Ints, npt.NDArray[np.int8]]:
    """Prompts evenly spread in their bin, outputs evenly spread over those listed for it."""
    low, high, requests = (np.array([row[at] for row in part["bins"]], np.int64) for at in range(3))
    edges = np.rint(np.cumsum(requests) * (rows / requests.sum())).astype(np.int64)
    counts = np.diff(edges, prepend=0)
    at = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(rows) - np.repeat(edges - counts, counts)
    prompts = low[at] + ((within + 0.5) / counts[at] * (high - low + 1)[at]).astype(np.int64)
    outputs = np.array([row[3] for row in part["bins"]], np.int64)
    groups = (outputs.shape[1] * ((within + 0.5) * _GOLDEN % 1.0)).astype(np.int64)
    mix = {Category(name): share for name, share in part["categories"].items()}
    return prompts, np.maximum(1, outputs[at, groups]), pick(mix, stepped(rows, _SILVER))


def _whole(tokens: Floats) -> Ints:
    return np.maximum(1, np.rint(tokens)).astype(np.int64)


_SILVER = math.sqrt(2.0) - 1.0
"""Another irrational step than that of the outputs, so that kinds of text and outputs do not go together."""
