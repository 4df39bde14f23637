import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.fleet.distribution import Distribution

TIMES = st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=200)


def of(times_s: list[float]) -> Distribution:
    """A distribution of these times."""
    distribution = Distribution()
    distribution.add(np.array(times_s))
    return distribution


@given(TIMES, st.floats(0.01, 1.0))
def test_quantiles_are_right_to_half_a_percent(times_s: list[float], share: float) -> None:
    """The smallest time that at least this share does not exceed, give or take its bin."""
    rank = int(np.ceil(np.round(share * len(times_s), 9))) - 1
    true_s = sorted(times_s)[max(0, rank)]
    assert of(times_s).quantile_s(share) == pytest.approx(true_s, rel=0.0051)


@given(TIMES)
def test_means_and_counts_are_exact(times_s: list[float]) -> None:
    """They do not come from bins."""
    assert of(times_s).count == len(times_s)
    assert of(times_s).mean_s == pytest.approx(np.mean(times_s))


@given(TIMES, TIMES)
def test_a_sum_is_all_times_together(one: list[float], other: list[float]) -> None:
    """And leaves what was added as it was."""
    first = of(one)
    both = first + of(other)
    assert both.counts.tolist() == of(one + other).counts.tolist()
    assert both.mean_s == pytest.approx(np.mean(one + other))
    assert first.count == len(one)


def test_no_times_have_no_quantile() -> None:
    """Nor a mean; nothing is drawn."""
    assert np.isnan([Distribution().mean_s, Distribution().quantile_s(0.5)]).all()
    assert Distribution().curve() == ([], [])


def test_times_beyond_all_bins_count() -> None:
    """At the ends: zero, and more than ten days."""
    distribution = of([0.0, 1e9])
    assert distribution.count == 2
    assert distribution.quantile_s(0.5) < 1.1e-5
    assert distribution.quantile_s(1.0) > 0.9e6


@given(TIMES)
def test_a_curve_rises_to_one(times_s: list[float]) -> None:
    """Each point says how many do not exceed it."""
    edges, shares = of(times_s).curve()
    assert shares[-1] == 1.0
    assert (np.diff(edges) > 0).all()
    assert (np.diff(shares) > 0).all()
    assert edges[-1] >= 0.999 * max(times_s)
