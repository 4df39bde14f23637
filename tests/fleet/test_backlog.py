import numpy as np
import pytest

from extproc.fleet.backlog import backlog, backlog_mixed, compound, grid, mixed, queued, spread


def test_spreading_keeps_the_mean() -> None:
    """A size between two cells is shared so that nothing is lost."""
    mass = spread(np.array([2.25, 7.0]), np.array([0.5, 0.5]), 16)
    assert mass.sum() == pytest.approx(1.0)
    assert mass @ np.arange(16) == pytest.approx((2.25 + 7.0) / 2)


def test_compound_sum_has_the_moments_of_theory() -> None:
    """Mean λ·E[X] and variance λ·E[X²]."""
    sizes = spread(np.array([3.0, 10.0]), np.array([0.7, 0.3]), 256)
    sums, cells = compound(np.array([2.0]), sizes)[0], np.arange(256)
    mean = sums @ cells
    assert mean == pytest.approx(2.0 * 5.1)
    assert sums @ cells**2 - mean**2 == pytest.approx(2.0 * (0.7 * 9 + 0.3 * 100))


def test_unit_jobs_wait_as_in_slotted_theory() -> None:
    """A step that takes one cell, with Poisson arrivals of one cell, holds ρ + ρ²/(2(1 − ρ)) cells on average."""
    on = grid(1.0, np.array([1]), np.ones(1))
    rates = np.full(on.step_cells + 1, 0.5)
    queue = backlog(on, rates)
    cells = np.arange(on.cells) / on.step_cells
    assert queue.waiting @ cells == pytest.approx(0.5 + 0.25 / (2 * 0.5), rel=0.05)


def test_what_comes_is_taken() -> None:
    """In balance a step takes on average what comes in it."""
    on = grid(2_000.0, np.array([500, 3_000]), np.array([0.6, 0.4]))
    queue = backlog(on, np.full(on.step_cells + 1, 0.5))
    assert queue.taken @ on.step_tokens == pytest.approx(0.5 * 1_500, rel=0.01)
    assert queue.taken.sum() == pytest.approx(1.0)


def test_no_work_is_lost_where_the_grid_is_too_short() -> None:
    """In heavy traffic, whose queue outgrows a grid made for none, steps still take all that comes, or are all full."""
    on = grid(2_000.0, np.array([500, 3_000]), np.array([0.6, 0.4]))
    for prompts, taken in ((1.25, 1_875), (1.6, 2_000)):
        queue = backlog(on, np.full(on.step_cells + 1, prompts))
        assert queue.taken @ on.step_tokens == pytest.approx(taken)


def test_a_longer_queue_has_a_longer_grid() -> None:
    """Five mean backlogs of heavy traffic have room."""
    waiting = queued(1_875.0, 1.25 * (0.6 * 500**2 + 0.4 * 3_000**2), 2_000.0)
    on = grid(2_000.0, np.array([500, 3_000]), np.array([0.6, 0.4]), waiting)
    assert on.cells / on.step_cells > 5 * waiting / 2_000


def test_bunches_wait_longer_than_as_many_one_by_one() -> None:
    """Where the rate is drawn, the sum has more variance at the same mean, and more is left behind."""
    on = grid(2_000.0, np.array([500]), np.ones(1))
    rates, chances, cells = np.array([0.0, 8.0]), np.array([0.75, 0.25]), np.arange(2 * on.cells)
    sums = mixed(rates, chances, on.prompts)
    assert sums @ cells == pytest.approx(2.0 * 500 / on.tokens_per_cell)
    even = backlog(on, np.full(on.step_cells + 1, 2.0))
    assert backlog_mixed(on, rates, chances).waiting_cells > 3 * even.waiting_cells
