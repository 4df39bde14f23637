import numpy as np
import pytest

from extproc.fleet.backlog import backlog, grid
from extproc.fleet.demand import demand
from extproc.fleet.latency import Rhythm, quantile, tpot_exceeds, tpot_s, ttft_s
from extproc.fleet.values import ABSENT, InstanceSpec, StepTimes
from extproc.fleet.workload import Lengths

STEPS = StepTimes(np.zeros(2_049), np.zeros(9), 0.0, 0.0, 0.0)
ASKED = demand(
    InstanceSpec(4_096, 8, 2_048, 1_000, STEPS),
    Lengths(np.array([500]), np.array([101]), np.array([ABSENT]), np.ones(1)),
)


def rhythm(prompts: float) -> Rhythm:
    """Prompts of 500 tokens on steps of 20 ms and 0.1 ms per token, so many per step."""
    on = grid(2_000.0, np.array([500]), np.ones(1))
    steps_s = 0.02 + 0.0001 * on.step_tokens
    return Rhythm(on, backlog(on, np.full(on.step_cells + 1, prompts)), steps_s, prompts)


def test_idle_instance_answers_in_a_step_and_what_is_left_of_another() -> None:
    """One prompt alone waits for half a step of 20 ms and then takes 70 ms."""
    assert ttft_s(rhythm(1e-6), 25) == pytest.approx(0.02 * 0.25 + 0.07, rel=0.01)
    assert ttft_s(rhythm(1e-6), 99) == pytest.approx(0.02 * 0.75 + 0.07, rel=0.01)


def test_idle_instance_writes_at_the_pace_of_empty_steps() -> None:
    """Without prefill the time between tokens is that of a step."""
    assert tpot_s(rhythm(1e-6), 0.0, ASKED, 99) == pytest.approx(0.02, rel=0.01)


def test_load_slows_both() -> None:
    """More prompts per step raise both times, at any percentile."""
    idle, busy = rhythm(0.05), rhythm(0.8)
    assert ttft_s(busy, 99) > ttft_s(idle, 99) > ttft_s(idle, 50)
    assert tpot_s(busy, 0.0, ASKED, 99) > tpot_s(idle, 0.0, ASKED, 99)


def test_swings_of_the_batch_add_to_the_tail() -> None:
    """A deviation of 5 ms over time moves the 99th percentile by at most 2.33 times as much."""
    still, swinging = (tpot_s(rhythm(0.2), swing, ASKED, 99) for swing in (0.0, 0.005))
    assert still < swinging < still + 2.33 * 0.005


@pytest.mark.parametrize("prompts", [0.05, 0.4, 0.8])
@pytest.mark.parametrize("swing_s", [0.0, 0.003])
def test_a_bound_on_tpot_is_judged_as_by_tpot_itself(prompts: float, swing_s: float) -> None:
    """Just above it holds, just below it does not."""
    found_s = tpot_s(rhythm(prompts), swing_s, ASKED, 99)
    assert not tpot_exceeds(rhythm(prompts), swing_s, ASKED, 99, 1.001 * found_s)
    assert tpot_exceeds(rhythm(prompts), swing_s, ASKED, 99, 0.97 * found_s)


def test_quantile_of_masses() -> None:
    """The value at which the masses reach the share."""
    assert quantile(np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.6, 0.3]), 90) == 2.0
