from dataclasses import replace

import pytest

from extproc.fleet.answers import Baseline, RouterKind
from extproc.fleet.drafts import Draft, OnePool, Threshold, holding_back, homogeneous, pool_slos
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.options import PlanOptions, completed
from extproc.fleet.values import Slo
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool

CATALOG = builtin()
OPTIONS = completed(
    PlanOptions(
        synthetic(Options(rate_per_s=30.0), prompt_deviation=0.7),
        CATALOG.model("llama-3-8b"),
        (CATALOG.gpu("a100-80gb"),),
        16_384,
        tensor_parallel=(1,),
    )
)
ONE_POOL = OnePool(OPTIONS).perform()


def threshold(tokens: int, options: PlanOptions = OPTIONS) -> Threshold:
    """Beside the baselines."""
    return Threshold(options, tokens, ONE_POOL.b2.pools[0].spec, ONE_POOL.b0.pools[0].spec)


def test_baselines_are_three_and_in_order() -> None:
    """Slots are no more than the defaults' sequences, tuning is no dearer, instances keep the rate with reserves."""
    b0, b1, b2 = ONE_POOL.drafts
    assert [draft.baseline for draft in (b0, b1, b2)] == [Baseline.B0, Baseline.B1, Baseline.B2]
    assert b0.pools[0].spec.max_num_seqs <= b1.pools[0].spec.max_num_seqs
    assert b2.usd_per_hour <= b1.usd_per_hour <= b0.usd_per_hour
    (pool,) = b1.pools
    assert pool.sustains.within_slo is not None
    assert pool.instances * pool.sustains.within_slo.rate_per_s * 0.85 >= 30.0


def test_other_gpus_are_a_baseline_too() -> None:
    """What a cheaper GPU saves without a split is not a merit of two pools; a dearer one is none."""
    a100 = OPTIONS.gpus[0]
    cheap, dear = (a100.model_copy(update={"name": "other", "usd_per_hour": usd}) for usd in (0.5, 50.0))
    with_cheap = homogeneous(replace(OPTIONS, gpus=(a100, cheap)))
    assert with_cheap.other is not None
    assert with_cheap.other.baseline is Baseline.B2_HARDWARE
    assert with_cheap.other.usd_per_hour < with_cheap.b2.usd_per_hour
    assert homogeneous(replace(OPTIONS, gpus=(a100, dear))).other is None


def test_long_prompts_leave_parts_of_a_step_to_others() -> None:
    """A half and three quarters of it, where a prompt takes several; the command says so, and nothing else changes."""
    tokens = ONE_POOL.b2.pools[0].spec.max_num_batched_tokens
    assert holding_back(ONE_POOL.b2, tokens) == []
    half, quarter = (draft.pools[0].spec for draft in holding_back(ONE_POOL.b2, tokens + 1))
    assert (half.long_prefill_token_threshold, quarter.long_prefill_token_threshold) == (tokens // 2, tokens // 4)
    assert half.flags[-2:] == ("--long-prefill-token-threshold", str(tokens // 2))
    plain = replace(half, long_prefill_token_threshold=0, flags=half.flags[:-2])
    assert plain == ONE_POOL.b2.pools[0].spec


def test_of_two_pools_the_long_one_holds_back() -> None:
    """The short one has no long prompts."""
    row = threshold(2048).perform()
    split = Draft("", "", Baseline.SPLIT, RouterKind.ANYTIME, 2048, row.same)
    half, _ = holding_back(split, 16_000)
    assert half.pools[0] == split.pools[0]
    assert half.pools[1].spec.long_prefill_token_threshold > 0


def test_two_pools_share_the_traffic() -> None:
    """By the true budget; the short one has a context of the threshold and the hardware of the single pool."""
    row = threshold(2048).perform()
    short, long = row.same
    assert short.share == pytest.approx(row.short_share)
    assert short.share + long.share == pytest.approx(1.0)
    assert (short.pool, short.spec.max_model_len, long.spec.max_model_len) == (Pool.SHORT, 2048, 16_384)
    assert short.spec.name == long.spec.name == ONE_POOL.b2.pools[0].spec.name
    assert row.usd_same == pytest.approx(short.usd_per_hour + long.usd_per_hour)
    assert 0.0 <= row.published < 1.0


@pytest.mark.parametrize(("tokens", "which"), [(1, "short"), (16_000_000, "long")])
def test_an_empty_pool_is_no_split(tokens: int, which: str) -> None:
    """Nothing below the threshold, or nothing above."""
    row = threshold(tokens).perform()
    assert row.infeasible == f"the {which} pool would be empty"
    assert row.usd_same == row.usd_other == float("inf")


def test_a_search_begins_somewhere_where_the_closed_form_sees_no_way() -> None:
    """At what the traffic takes of full instances, not at a number out of the air."""
    strict = replace(OPTIONS, slo=replace(OPTIONS.slo, tpot_s=1e-6))
    (pool,) = homogeneous(strict).b1.pools
    assert pool.sustains.within_slo is None
    assert pool.instances == pytest.approx(30.0 / 0.85 / pool.sustains.saturated.rate_per_s, abs=1.0)


def test_what_cannot_be_built_costs_everything() -> None:
    """So it is never the cheapest."""
    assert Draft("", "", Baseline.B1, ONE_POOL.b1.router, None, infeasible="no").usd_per_hour == float("inf")


@pytest.mark.parametrize("short_share", [0.5, 0.8, 0.9, 0.02, 0.999])
def test_two_pools_may_fail_as_much_as_one(short_share: float) -> None:
    """Together exactly the misses of the whole, half of them each, yet no pool a tenth of its own or more."""
    short, long = (1 - slo.percentile / 100 for slo in pool_slos(Slo(percentile=99.0), short_share))
    assert short_share * short + (1 - short_share) * long == pytest.approx(0.01)
    assert max(short, long) <= 0.1 + 1e-12
    rare, share = min((long, 1 - short_share), (short, short_share), key=lambda pool: pool[1])
    assert rare * share == pytest.approx(0.005) or rare == pytest.approx(0.1)


def test_an_empty_pool_takes_no_misses() -> None:
    """The other one has them all."""
    assert pool_slos(Slo(percentile=99.0), 1.0)[0].percentile == pytest.approx(99.0)
    assert pool_slos(Slo(percentile=99.0), 0.0)[1].percentile == pytest.approx(99.0)
