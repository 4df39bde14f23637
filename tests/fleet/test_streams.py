import numpy as np
import pytest

from extproc.fleet.dispatch import Chance, Oracle, budgets
from extproc.fleet.streams import Drawn, draw
from extproc.fleet.workload import Options, of_preset
from tests.fleet.reference import random_batch

STREAM = Drawn(random_batch(20_000, rate_per_s=50.0, seed=3))


def rows_of(stream: Drawn) -> set[tuple[float, ...]]:
    """Its requests."""
    return set(zip(*(column.tolist() for column in stream.batch[:5]), strict=True))


def test_thinning_keeps_its_share_and_is_repeatable() -> None:
    """A quarter within four standard deviations; the same seed keeps the same, another one others."""
    kept = STREAM.thinned(0.25, most=20_000, seed=1)
    assert len(kept) == pytest.approx(5000, abs=4 * (20_000 * 0.25 * 0.75) ** 0.5)
    assert kept.rate_per_s == pytest.approx(12.5, rel=0.05)
    assert rows_of(kept) == rows_of(STREAM.thinned(0.25, most=20_000, seed=1))
    assert rows_of(kept) != rows_of(STREAM.thinned(0.25, most=20_000, seed=2))


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    """So a search over shares sees more load with more, never other requests."""
    assert rows_of(STREAM.thinned(0.1, most=20_000, seed=1)) < rows_of(STREAM.thinned(0.2, most=20_000, seed=1))


def test_the_first_so_many_are_kept() -> None:
    """In the order of their arrival."""
    first = STREAM.thinned(1.0, most=100, seed=1)
    assert np.array_equal(first.batch.arrival_s, STREAM.batch.arrival_s[:100])
    (again,) = STREAM.batches(seed=9, requests=100)
    assert np.array_equal(again.prompt_tokens, first.batch.prompt_tokens)


def test_every_request_is_parted_to_one_pool() -> None:
    """Also by a dispatch that draws for each: it is asked once."""
    parts = STREAM.parted(Chance(0.5, seed=1), 2)
    assert sum(len(part) for part in parts) == len(STREAM)
    assert rows_of(parts[0]) | rows_of(parts[1]) == rows_of(STREAM)


def test_an_oracle_parts_by_budget() -> None:
    """Short ones fit, long ones do not."""
    short, long = STREAM.parted(Oracle(200), 2)
    assert budgets(short.batch).max() <= 200 < budgets(long.batch).min()


def test_what_is_drawn_is_the_workload() -> None:
    """Over several of its batches, and without names of prefixes."""
    workload = of_preset("azure-2023", Options(rate_per_s=10.0))
    drawn = draw(workload, seed=2, requests=70_000)
    batches = list(workload.batches(seed=2, requests=70_000))
    assert np.array_equal(drawn.batch.prompt_tokens, np.concatenate([batch.prompt_tokens for batch in batches]))
    assert drawn.batch.prefixes is None
    assert drawn.rate_per_s == pytest.approx(10.0, rel=0.02)


def test_nothing_has_no_rate() -> None:
    """An empty stream."""
    assert STREAM.thinned(0.0, most=10, seed=1).rate_per_s == 0.0
