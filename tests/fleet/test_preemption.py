from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet.backlog import Backlog, Grid, backlog_mixed, grid
from extproc.fleet.demand import demand
from extproc.fleet.preemption import Border, border, computed_before, growth_blocks, return_rate
from extproc.fleet.values import ABSENT, InstanceSpec, StepTimes
from extproc.fleet.workload import Lengths

SPEC = InstanceSpec(8_192, 256, 2_048, 3_000, StepTimes(np.zeros(2_049), np.zeros(257), 0.0, 0.0, 0.0))
LENGTHS = Lengths(np.array([200, 900]), np.array([151, 51]), np.array([ABSENT, ABSENT]), np.array([0.5, 0.5]))
ASKED = demand(SPEC, LENGTHS)
ENDS = 0.4


def returned(steps: int, *, seed: int = 1) -> tuple[float, float]:
    """Of prompts that a walk of freed blocks less growth lets in: share that it passes again, and within two steps."""
    rng = np.random.default_rng(seed)
    growth = ENDS * growth_blocks(ASKED)
    ends = rng.poisson(ENDS, steps)
    drawn = rng.choice(ASKED.final_blocks, ends.sum(), p=ASKED.output_weight)
    freed = np.bincount(np.repeat(np.arange(steps), ends), drawn, steps)
    place = np.concatenate([[0.0], np.cumsum(freed - growth)])
    once, soon = [], []
    for step in range(0, steps - 400, 3):
        for level in np.arange(place[step] + rng.random() * 5, place[step + 1], 5.0):
            back = np.flatnonzero(place[step + 2 : step + 400] < level)
            once.append(len(back) > 0)
            soon.append(len(back) > 0 and back[0] < 2)
    return float(np.mean(once)), float(np.sum(soon) / np.sum(once))


def test_returns_are_those_of_a_walk() -> None:
    """The share of prompts that are preempted, and how soon, against a random walk that is drawn."""
    moves = border(SPEC, ASKED, ENDS)
    share, soon = returned(60_000)
    assert moves.returns == pytest.approx(share, abs=0.02)
    assert 1 - moves.later[2] == pytest.approx(soon, abs=0.04)


def test_return_rate_makes_the_walk_fair() -> None:
    """Lundberg's exponent is that at which exp(rate·place) neither grows nor shrinks."""
    rate = return_rate(ASKED)
    ends = float(ASKED.output_weight @ np.exp(-rate * ASKED.final_blocks)) - 1
    assert rate * growth_blocks(ASKED) + ends == pytest.approx(0.0, abs=1e-6)


def test_what_passes_is_what_grows_and_comes() -> None:
    """Prompts that pass downwards are those that end, and those that pass upwards and come again."""
    moves = border(SPEC, ASKED, ENDS)
    assert float(moves.chances @ moves.downwards) == pytest.approx(ENDS / (1 - moves.returns), rel=0.01)


def test_watermark_spares_exponentially() -> None:
    """Twice the blocks kept free square the share of returns that is left."""
    none, some, twice = (border(replace(SPEC, watermark=share), ASKED, ENDS).returns for share in (0.0, 0.01, 0.02))
    assert twice * none == pytest.approx(some**2)
    assert 0 < some < none


def solved(moves: Border, budget: float) -> tuple[Grid, Backlog, float]:
    """The queue of the prompts that the border lets in."""
    prompts = ENDS * (1 + moves.returns)
    on = grid(budget, ASKED.prompt_tokens, ASKED.weight)
    return on, backlog_mixed(on, moves.arrivals(prompts), moves.chances), prompts


def test_who_waits_for_budget_is_not_computed_in_vain() -> None:
    """With large steps all are computed at once; with small ones fewer before they return."""
    moves = border(SPEC, ASKED, ENDS)
    assert computed_before(ASKED, moves, *solved(moves, 100_000.0)) == pytest.approx(1.0, abs=0.01)
    assert computed_before(ASKED, moves, *solved(moves, 400.0)) < 0.8
