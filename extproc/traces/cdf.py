"""A published distribution of lengths, as a table of cumulative shares; it does not say what is prompt and output."""

import math
from itertools import chain
from typing import Any, NamedTuple

_ROUNDING = 1e-3
"""How far from 1 a table's last share may be."""


class LengthCdf(NamedTuple):
    """Which share of requests is at most so long."""

    tokens: list[float]
    """Above 0, in ascending order."""
    cumulative: list[float]
    """In ascending order; the last is 1."""


def as_cdf(document: Any) -> LengthCdf:
    """The table of a JSON document: [[tokens, cumulative share], …], alone or under `cdf`.

    Raises:
        ValueError: it is none.
    """
    points = sorted(_points(document.get("cdf") if isinstance(document, dict) else document))
    if not all(map(math.isfinite, chain.from_iterable(points))):
        raise ValueError("lengths and shares in a table are finite numbers")
    tokens, cumulative = [point[0] for point in points], [point[1] for point in points]
    if not points or not tokens[0] > 0:
        raise ValueError("a table has lengths above 0")
    if cumulative != sorted(cumulative) or not cumulative[0] >= 0:
        raise ValueError("shares in a table rise with the length")
    if not abs(cumulative[-1] - 1.0) <= _ROUNDING:
        raise ValueError("the last share of a table is 1")
    return LengthCdf(tokens, [*cumulative[:-1], 1.0])


def _points(listed: Any) -> list[tuple[float, float]]:
    try:
        return [(float(tokens), float(share)) for tokens, share in listed]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("a table is a list of [tokens, cumulative share], alone or under the key cdf") from error
