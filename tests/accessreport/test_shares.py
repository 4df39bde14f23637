import random

import pytest

from extproc.accessreport.shares import Share, Values, Weight, share_of


def weight(*weights: float) -> Weight:
    """Requests with these."""
    found = Weight()
    for each in weights:
        found.add(each)
    return found


def test_without_weights_it_is_wilsons_interval() -> None:
    """Ten of a hundred: 5.5 to 17.4 % (Wilson 1927; as statistics' textbooks have it)."""
    found = share_of(weight(*[1.0] * 10), weight(*[1.0] * 100))
    assert found == pytest.approx(Share(0.1, 0.0552, 0.1744), abs=5e-5)


def test_a_share_weighs_what_requests_stand_for() -> None:
    """One that stands for fifty counts as fifty, and is as uncertain as one."""
    found = share_of(weight(50.0), weight(50.0, *[1.0] * 50))
    assert found is not None
    assert found.mean == 0.5
    assert found.low < 0.15
    assert found.high > 0.85


def test_none_seen_does_not_mean_none_there() -> None:
    """Of a thousand that stand for fifty each none was hit: up to 3.8 in a thousand may be, as of a thousand alone."""
    found = share_of(Weight(), weight(*[50.0] * 1000))
    assert found == pytest.approx(Share(0.0, 0.0, 0.00383), abs=1e-5)


def test_all_seen_does_not_mean_all() -> None:
    """The mirror image."""
    everything = weight(*[2.0] * 100)
    found = share_of(everything, everything)
    assert found == pytest.approx(Share(1.0, 0.963, 1.0), abs=1e-3)


def test_of_nothing_there_is_no_share() -> None:
    """It is not 0."""
    assert share_of(Weight(), Weight()) is None


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 20,000 requests 1 % are hits, all among those read one in five; others are read one in fifty."""
    rng, held, runs = random.Random(1), 0, 300
    for _ in range(runs):
        hits, among = Weight(), Weight()
        for at in range(20_000):
            share = 0.2 if at % 5 == 0 else 0.02
            if rng.random() < share:
                among.add(1 / share)
                if at % 5 == 0 and rng.random() < 0.05:
                    hits.add(1 / share)
        found = share_of(hits, among)
        assert found is not None
        held += found.low <= 0.01 <= found.high
    assert held / runs == pytest.approx(0.95, abs=0.035)


def test_values_have_a_mean_and_sizes() -> None:
    """Weighted, of the size where it says so."""
    values = Values()
    for value, each in ((-0.5, 1.0), (0.1, 8.0), (0.2, 1.0)):
        values.add(value, each)
    assert len(values) == 3
    assert values.mean() == pytest.approx(0.05)
    assert values.sizes(0.5, 0.9, 0.95) == [0.1, 0.2, 0.5]
