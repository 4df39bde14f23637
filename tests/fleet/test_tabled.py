from dataclasses import replace

import pytest

from extproc.fleet import tabled
from extproc.fleet.answers import Baseline, RouterKind
from extproc.fleet.capacity import capacity
from extproc.fleet.drafts import Draft, Homogeneous, PoolDraft, ThresholdDrafts
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.options import PlanOptions
from extproc.fleet.sized import Sized
from extproc.fleet.values import Slo
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool
from tests.fleet.reference import spec_of

CATALOG = builtin()
WORKLOAD = synthetic(Options(rate_per_s=1.0))
OPTIONS = PlanOptions(WORKLOAD, CATALOG.model("llama-3-8b"), (CATALOG.gpu("a100-80gb"),), 4096)
SPEC = replace(
    spec_of(kv_blocks=600, max_num_seqs=16, max_num_batched_tokens=256, max_model_len=4096), usd_per_hour=2.0
)
POOL = PoolDraft(Pool.LONG, SPEC, 1.0, capacity(SPEC, WORKLOAD.lengths(), Slo()), 8)


def sized(baseline: Baseline, *needed: int, threshold: int | None = None) -> Sized:
    """A fleet of one pool that takes so many instances, by replication."""
    draft = Draft(baseline.value, "", baseline, RouterKind.NONE, threshold, (POOL,))
    return Sized(draft, tuple((count,) for count in needed))


FLEETS = [
    sized(Baseline.B0, 40, 40), sized(Baseline.B1, 20, 40), sized(Baseline.B2, 10, 20), sized(Baseline.SPLIT, 9, 10)
]  # fmt: skip


def test_savings_are_replication_by_replication() -> None:
    """A baseline has none against itself; the mean is of ratios, not the ratio of means."""
    plans = tabled.fleet_plans(OPTIONS, FLEETS, {}, simulated=True)
    split, b1, b2 = plans[3], plans[1], plans[2]
    assert split.saving_b2 is not None
    assert split.saving_b2.mean == pytest.approx((0.1 + 0.5) / 2)
    assert split.saving_b2.high == 1.0
    assert (b1.saving_b1, b2.saving_b2) == (None, None)
    assert b2.saving_b1 is not None
    assert b2.saving_b1 == (0.5, 0.5, 0.5)
    assert split.gpus == 10
    assert split.gpu_range is not None
    assert split.gpu_range.low >= 0.0


def test_what_was_not_sized_saves_nothing() -> None:
    """Neither a fleet that cannot be built, nor one against such a baseline."""
    fleets = [*FLEETS[:2], FLEETS[2]._replace(instances=()), FLEETS[3]]
    plans = tabled.fleet_plans(OPTIONS, fleets, {}, simulated=True)
    assert (plans[2].saving_b1, plans[3].saving_b2) == (None, None)
    assert plans[3].saving_b1 is not None


def test_calculated_fleets_have_no_intervals() -> None:
    """There were no replications."""
    plans = tabled.fleet_plans(OPTIONS, FLEETS, {}, simulated=False)
    assert all(plan.gpu_range is plan.usd_range is plan.saving_b1 is plan.saving_b2 is None for plan in plans)


def test_thresholds_that_were_tried_stand_beside_the_others() -> None:
    """By simulation where there was one, each replication against the baseline's, else by the closed form alone."""
    drafts = [fleet.draft for fleet in FLEETS]
    one_pool = Homogeneous(drafts[0], drafts[1], drafts[2])
    rows = [ThresholdDrafts(tokens, 0.5, None, (POOL, POOL)) for tokens in (1024, 2048)]
    tried = [sized(Baseline.SPLIT, 9, 18, threshold=2048), *FLEETS[1:3]]
    without, found = tabled.sweep(rows, tried, one_pool)
    assert (without.confirmed_usd, without.confirmed_b2) == (None, None)
    assert found.confirmed_b2 == pytest.approx((0.1, 0.1, 0.1))
    assert found.saving_b2 == pytest.approx(1.0 - 16 / 8)
