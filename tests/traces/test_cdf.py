from typing import Any

import pytest

from extproc.traces.cdf import LengthCdf, as_cdf

NAN, INF = float("nan"), float("inf")
NOT_FINITE = [[[5, NAN]], [[NAN, 1.0]], [[5, 0.5], [INF, 1.0]], [[5, INF]], [[5, -INF], [6, 1.0]], [[10**400, 1.0]]]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_table_is_sorted_and_ends_at_one(wrapped: bool) -> None:  # noqa: FBT001 - a case
    """Points in any order, the last share within rounding."""
    points = [[200, 0.9995], [100, 0.5]]
    assert as_cdf({"cdf": points} if wrapped else points) == LengthCdf([100.0, 200.0], [0.5, 1.0])


@pytest.mark.parametrize(
    "points",
    [
        3,
        None,
        [3],
        [[1, 2, 3]],
        [["a", "b"]],
        [],
        [[0, 1.0]],
        [[5, 0.5], [6, 0.4], [7, 1.0]],
        [[5, -0.5], [6, 1.0]],
        [[5, 0.9]],
        *NOT_FINITE,
    ],
)
def test_what_is_no_distribution_is_refused(points: Any) -> None:
    """Lengths above 0, shares that rise to 1, all of them numbers that end."""
    with pytest.raises(ValueError, match="table"):
        as_cdf(points)
