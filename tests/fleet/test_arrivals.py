from itertools import islice

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.arrivals import (
    BATCH,
    ArrivalKind,
    Arrivals,
    Bursty,
    Poisson,
    Recorded,
    arrivals_like,
    checked,
    chunks,
    dispersion,
    own_rate_per_s,
)
from extproc.fleet.values import Floats


def times(arrivals: Arrivals, count: int, seed: int = 1) -> Floats:
    """The first arrivals of a stream."""
    return np.concatenate(list(chunks(arrivals.blocks(np.random.default_rng(seed)), count)))


@pytest.mark.parametrize(
    "arrivals", [Poisson(5.0), Bursty(5.0, 4.0), Bursty(900.0, 4.0), Recorded(np.arange(9.0), 5.0)]
)
def test_times_ascend_and_keep_the_rate(arrivals: Arrivals) -> None:
    """However they are drawn, over many blocks."""
    drawn = times(arrivals, 3 * BATCH)
    assert len(drawn) == 3 * BATCH
    assert drawn[0] >= 0.0
    assert (np.diff(drawn) >= 0.0).all()
    assert len(drawn) / drawn[-1] == pytest.approx(arrivals.rate_per_s, rel=0.02)


def test_poisson_counts_vary_as_much_as_their_mean() -> None:
    """An index of dispersion of 1."""
    assert dispersion(times(Poisson(5.0), 200_000)) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(("rate_per_s", "wanted"), [(5.0, 3.0), (50.0, 12.0)])
def test_bursts_have_the_dispersion_that_was_asked_for(rate_per_s: float, wanted: float) -> None:
    """Whatever the rate; in longer windows there is more of it, in shorter ones less."""
    drawn = times(Bursty(rate_per_s, wanted), int(rate_per_s * 60_000))
    assert dispersion(drawn) == pytest.approx(wanted, rel=0.12)
    assert dispersion(drawn, window_s=1.0) < 0.6 * wanted
    assert dispersion(drawn, window_s=60.0) > 1.5 * wanted


def test_the_dispersion_of_windows_that_are_told() -> None:
    """Counts 1, 3, 1, 3 in windows of a second: mean 2, variance 4/3."""
    arrival_s = np.array([0.0, 1.1, 1.2, 1.3, 2.5, 3.1, 3.2, 3.3, 4.0])
    assert dispersion(arrival_s, window_s=1.0) == pytest.approx(2 / 3)


def test_recorded_times_come_again() -> None:
    """Shifted by the length of the trace and a mean gap."""
    assert times(Recorded(np.array([0.0, 1.0, 4.0]), 0.5), 7).tolist() == [0.0, 1.0, 4.0, 6.0, 7.0, 10.0, 12.0]


def test_recorded_times_are_scaled() -> None:
    """At twice the rate in half the time."""
    assert times(Recorded(np.array([0.0, 1.0, 4.0]), 1.0), 4).tolist() == [0.0, 0.5, 2.0, 3.0]


def test_the_seed_decides() -> None:
    """The same one gives the same times, another one others."""
    one, same, other = (times(Bursty(5.0, 3.0), 100, seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_chunks_are_cut_at_the_batch() -> None:
    """Whatever blocks come in, also empty ones."""
    blocks = iter([np.array([]), np.arange(10.0), np.arange(BATCH, dtype=np.float64), np.arange(20.0)])
    assert [len(chunk) for chunk in chunks(blocks, BATCH + 15)] == [BATCH, 15]
    assert not list(islice(chunks(blocks, 0), 1))


def test_bursty_without_more_than_chance_is_poisson() -> None:
    """A trace more regular than Poisson arrivals cannot be made of changing rates."""
    assert arrivals_like(ArrivalKind.BURSTY, rate_per_s=2.0, of_dispersion=0.9) == Poisson(2.0)
    assert arrivals_like(ArrivalKind.BURSTY, rate_per_s=2.0, of_dispersion=3.0) == Bursty(2.0, 3.0)
    assert arrivals_like(ArrivalKind.POISSON, rate_per_s=2.0, of_dispersion=3.0) == Poisson(2.0)


def test_what_is_missing_is_named() -> None:
    """No rate, no times, too short a trace."""
    with pytest.raises(ConfigurationError, match="must be above 0"):
        checked(0.0)
    with pytest.raises(ConfigurationError, match="need a trace with times: choose poisson"):
        arrivals_like(ArrivalKind.RECORDED, rate_per_s=2.0, of_dispersion=None)
    with pytest.raises(ConfigurationError, match="at one moment"):
        own_rate_per_s(np.zeros(5))
    with pytest.raises(ConfigurationError, match="less than 20 s"):
        dispersion(np.arange(9.0))
