import math

import pytest

from extproc.fleet.publishedlatency import latency, reliability
from extproc.fleet.slotmodel import A100

LATENCY = {row.what: row for row in latency("").rows}
RELIABILITY = {row.what: row for row in reliability("").rows}


def test_gains_follow_from_the_figures_beside_them() -> None:
    """11 % is the gain of the median TPOT, and 7 % that of its P99: all four gains come out."""
    gains = {what: row for what, row in LATENCY.items() if what.endswith("gain")}
    assert len(gains) == 4
    assert all(row.reproduced for row in gains.values())
    assert (gains["P50 TPOT: gain"].published, gains["P99 TPOT: gain"].published) == (11, 7)


def test_times_are_those_of_the_iteration_law() -> None:
    """The median request of the distribution has 1,217 tokens: two iterations of prefill, with 16 slots taken."""
    step_s = A100.iteration_s + 16 * A100.sequence_s * 1_217 / 8_192
    assert LATENCY["P50 TPOT: homogeneous"].ours == pytest.approx(1e3 * step_s, rel=0.001)
    assert LATENCY["P50 TTFT: homogeneous"].ours == pytest.approx(2 * step_s, rel=0.01)


def test_the_law_makes_two_pools_slower() -> None:
    """More slots make longer steps: each percentile of the two pools is above that of one, against what is stated."""
    for name in ("P50 TTFT", "P99 TTFT", "P50 TPOT", "P99 TPOT"):
        one, two = LATENCY[f"{name}: homogeneous"], LATENCY[f"{name}: two pools"]
        assert two.ours > one.ours
        assert two.published < one.published


def test_slots_are_never_preempted() -> None:
    """The model gives no preemption, and no figure at all for engines that die."""
    assert RELIABILITY["homogeneous: preemptions"].ours == 0
    assert all(math.isnan(RELIABILITY[f"{fleet}: OOM per hour"].ours) for fleet in ("homogeneous", "two pools"))


def test_preemptions_of_the_fleet_need_another_short_fraction() -> None:
    """With the public share of requests up to 8,192 tokens the pools' figures mix to 1.2, not 8.7."""
    row = RELIABILITY["two pools: preemptions"]
    assert row.ours == pytest.approx(1.2, abs=0.01)
    assert not row.reproduced
