from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet.balance import full_batch, kv_fill, paced
from extproc.fleet.demand import demand
from extproc.fleet.values import ABSENT, InstanceSpec, StepTimes
from extproc.fleet.workload import Lengths


def spec(watermark: float = 0.0) -> InstanceSpec:
    """An instance whose steps are linear in tokens."""
    steps = StepTimes(
        0.02 + 1e-4 * np.arange(2_049, dtype=np.float64), 1e-5 * np.arange(257, dtype=np.float64), 5e-8, 0.0, 0.0
    )
    return InstanceSpec(8_192, 256, 2_048, 3_000, steps, watermark=watermark)


LENGTHS = Lengths(np.array([200, 900]), np.array([151, 51]), np.array([ABSENT, ABSENT]), np.array([0.5, 0.5]))
ASKED = demand(spec(), LENGTHS)


@pytest.mark.parametrize("ends", [0.05, 0.3, 0.6])
def test_linear_steps_cost_their_mean_tokens(ends: float) -> None:
    """Where time is linear in tokens, bunching of prefill does not matter: the mean step follows by hand."""
    state = paced(spec(), ASKED, ends)
    tokens = ends * (550 + 100)
    held = ends * (150 * 200 + 150 * 151 / 2 + 50 * 900 + 50 * 51 / 2) / 2
    expected = 0.02 + 1e-4 * tokens + 1e-5 * ends * 101 + 5e-8 * held
    assert state.beat.step_s == pytest.approx(expected, rel=0.01)
    assert state.decoding == pytest.approx(ends * 100)


def test_a_step_with_prefill_reads_kv_again() -> None:
    """Each step in which some prompt is computed, however short, costs the second reading of what is resident."""
    plain, short = spec(), Lengths(np.array([8]), np.array([101]), np.array([ABSENT]), np.ones(1))
    mixing = replace(plain, steps=replace(plain.steps, mixed_kv_s=1e-6))
    without, with_it = (full_batch(one, demand(one, short), 0.5, preempting=False) for one in (plain, mixing))
    resident = 0.5 * (100 * 8 + 100 * 101 / 2)
    more_s = (1 - np.exp(-0.5)) * 1e-6 * resident
    assert with_it.beat.step_s - without.beat.step_s == pytest.approx(more_s, rel=0.01)


def test_load_makes_the_batch_swing() -> None:
    """A nearly idle batch is Poisson; prefill and longer steps of a loaded one make it swing more."""
    assert paced(spec(), ASKED, 1e-4).bunching == pytest.approx(1.0, abs=0.01)
    assert paced(spec(), ASKED, 0.5).bunching > 1.2


def test_watermark_spares_recomputing_and_costs_blocks() -> None:
    """Blocks kept free let fewer requests be preempted, and fewer be admitted."""
    none, some = full_batch(spec(), ASKED, 0.4), full_batch(spec(0.02), ASKED, 0.4)
    assert 0.0 < some.recomputed < none.recomputed / 2
    assert kv_fill(spec(0.02), ASKED, none) > kv_fill(spec(), ASKED, none)
