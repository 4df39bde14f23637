"""Values fall where Prometheus expects them."""

import pytest

from extproc.telemetry.buckets import Buckets


@pytest.mark.parametrize(
    ("value", "counts"),
    [(-9.0, [1, 0, 0]), (1.0, [1, 0, 0]), (1.5, [0, 1, 0]), (2.0, [0, 1, 0]), (2.1, [0, 0, 1]), (1e9, [0, 0, 1])],
)
def test_a_bound_is_part_of_its_bucket(value: float, counts: list[int]) -> None:
    """Its label says `le`: less or equal. What is above the last bound has a bucket of its own."""
    buckets = Buckets((1.0, 2.0))
    buckets.add(value)
    assert buckets.counts == counts
    assert buckets.total == value


def test_values_add_up() -> None:
    """Counts and sum."""
    buckets = Buckets((1.0, 2.0))
    for value in (0.5, 1.5, 1.75, 4.0):
        buckets.add(value)
    assert (buckets.counts, buckets.total) == ([1, 2, 1], 7.75)
