from collections.abc import Sequence
from dataclasses import replace

import pytest

from extproc.fleet.answers import (
    Baseline,
    Confirmed,
    FleetPlan,
    Interval,
    Measured,
    PoolPlan,
    RouterKind,
    SweepRow,
    Verdict,
)
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.options import PlanOptions
from extproc.fleet.values import Slo
from extproc.fleet.verdicts import Conclusion, conclude, notes
from extproc.fleet.workload import Options, synthetic
from extproc.routing.values import Pool

EMPTY, HALF = 0.9999, 0.5


def fleet(
    name: str, baseline: Baseline, *usd: float, router: RouterKind = RouterKind.NONE, instances: int = 4
) -> FleetPlan:
    """One at these prices per hour of its pools."""
    names = (Pool.SHORT, Pool.LONG) if len(usd) > 1 else (Pool.LONG,)
    pools = tuple(
        PoolPlan(
            pool, instances, instances, "1x gpu", instances, price, "vllm serve", 1.0, 1.0, "kv", 8192, 8, 512, 0, 900
        )
        for pool, price in zip(names, usd, strict=True)
    )
    threshold = 2048 if len(usd) > 1 else None
    return FleetPlan(name, "", baseline, router, threshold, pools, gpu_range=Interval(instances, instances, instances))


B1, B2 = fleet("B1", Baseline.B1, 20.0), fleet("B2", Baseline.B2, 10.0)
SPLIT = fleet("split", Baseline.SPLIT, 4.0, 4.0, router=RouterKind.ANYTIME)
OTHER = fleet("other", Baseline.SPLIT_HARDWARE, 3.0, 4.0, router=RouterKind.ANYTIME)
ORACLE = fleet("oracle", Baseline.SPLIT, 1.0, 1.0, router=RouterKind.ORACLE)


def row(short_share: float, infeasible: str | None = None) -> SweepRow:
    """Of a sweep."""
    return SweepRow(2048, short_share, 8, 8.0, 0.0, 0.0, 0.0, infeasible)


def concluded(
    *usd: Sequence[float], fleets: Sequence[FleetPlan] = (B1, B2, SPLIT), short_share: float = HALF
) -> Conclusion:
    """With one row in the sweep."""
    return conclude(usd, fleets, [row(short_share)])


def test_a_pool_that_holds_long_prompts_back_is_named_with_the_flag() -> None:
    """Whoever builds the fleet must know of it; nothing is said where it is not used."""
    capped = replace(B2, pools=(replace(B2.pools[0], long_prefill_token_threshold=256),))
    (said,) = (note for note in notes(OPTIONS, [B1, capped], None) if "long-prefill" in note)
    assert said.startswith("B2: long prompts get at most 256 tokens")
    assert not any("long-prefill" in note for note in notes(OPTIONS, [B1, B2], None))


def test_two_pools_that_surely_save_are_recommended() -> None:
    """Against both single pools, with the interval of the differences of each replication."""
    found = concluded([20, 22], [10, 11], [8, 9])
    assert (found.verdict, found.recommended) == (Verdict.SPLIT, 2)
    assert [saving.against for saving in found.savings] == ["B1", "B2"]
    assert found.savings[1].share.mean == pytest.approx((0.2 + 2 / 11) / 2)
    assert found.savings[1].usd_per_year.mean == pytest.approx(8760 * 2)
    assert "instead of 4 of the best single pool (B2)" in found.sentence


def test_a_fleet_that_missed_the_objective_is_out_of_the_comparison() -> None:
    """A cheap split that does not serve its traffic is not recommended, nor does a pool that fails hide a saving."""
    kept, failed = confirmed_with(0.995), confirmed_with(0.8)
    b1, b2, split = (replace(each, confirmed=kept) for each in (B1, B2, SPLIT))
    found = concluded([20, 20], [10, 10], [8, 8], fleets=(b1, b2, replace(split, confirmed=failed)))
    assert (found.verdict, found.recommended) == (Verdict.NO_DIFFERENCE, 1)
    assert "two pools do not keep the objective" in found.sentence
    found = concluded([20, 20], [10, 10], [12, 12], fleets=(b1, replace(b2, confirmed=failed), split))
    assert (found.verdict, found.recommended) == (Verdict.SPLIT, 2)
    assert [saving.against for saving in found.savings] == ["B1"]
    nothing = concluded(
        [20, 20], [10, 10], [8, 8], fleets=[replace(each, confirmed=failed) for each in (b1, b2, split)]
    )
    assert (nothing.verdict, nothing.recommended) == (Verdict.INFEASIBLE, None)
    assert "--requests" in nothing.sentence
    assert "No number of these GPUs" in concluded([], [], []).sentence


def test_a_saving_that_chance_explains_is_none() -> None:
    """Cheaper on average but not in every way: the interval reaches below zero."""
    found = concluded([20, 20], [10, 10], [8, 9.9])
    assert (found.verdict, found.recommended) == (Verdict.NO_DIFFERENCE, 1)
    assert "not beyond chance" in found.sentence


def test_a_saving_must_show_in_what_is_bought() -> None:
    """Sure replication by replication, yet as dear once each pool is as large as its worst replication needs."""
    dear = fleet("split", Baseline.SPLIT, 5.0, 5.0, router=RouterKind.ANYTIME)
    assert concluded([20, 20], [10, 10], [9, 9], fleets=(B1, B2, dear)).verdict is Verdict.NO_DIFFERENCE


def test_two_pools_that_cost_more_are_said_to() -> None:
    """By how much, in the sentence; the single pool's own savings stay."""
    found = concluded([20, 20], [10, 10], [12, 12])
    assert found.verdict is Verdict.NO_DIFFERENCE
    assert "two pools would cost 20.0 % more" in found.sentence
    assert [(saving.against, saving.share.mean) for saving in found.savings] == [("B1", 0.5)]


def test_a_saving_of_the_wrong_baseline_may_be_negative() -> None:
    """Where no tuned pool is feasible the split is held against the default one; the dearer one shows a loss."""
    found = concluded([8, 8], [10, 10], [9, 9])
    assert found.recommended == 0
    assert found.savings[0].share.mean == pytest.approx(0.2)
    assert "two pools would cost 12.5 % more" in found.sentence


def test_other_hardware_has_its_own_verdict() -> None:
    """The cheapest of those that surely save is chosen, not the cheapest on average."""
    fleets = (B1, B2, SPLIT, OTHER)
    assert concluded([20, 20], [10, 10], [8, 8], [7, 7], fleets=fleets).verdict is Verdict.SPLIT_HARDWARE
    unsure = concluded([20, 20], [10, 10], [8, 8], [1, 9.8], fleets=fleets)
    assert (unsure.verdict, unsure.recommended) == (Verdict.SPLIT, 2)


def test_an_oracle_is_never_recommended() -> None:
    """It cannot be built, however cheap; without anything else there is no fleet."""
    assert concluded([20], [10], [2], fleets=(B1, B2, ORACLE)).recommended == 1
    assert concluded([], [], [2], fleets=(B1, B2, ORACLE)).verdict is Verdict.INFEASIBLE


def test_nothing_feasible_is_said() -> None:
    """Without a recommendation or savings."""
    assert concluded([], [], []) == (Verdict.INFEASIBLE, "No number of these GPUs keeps the objective.", None, ())


def test_two_pools_where_one_pool_cannot() -> None:
    """They help by being possible: there is nothing to save against."""
    found = concluded([], [], [9, 9])
    assert (found.verdict, found.recommended, found.savings) == (Verdict.SPLIT, 2, ())
    assert "no single pool keeps the objective" in found.sentence


def test_one_pool_where_two_cannot() -> None:
    """The best single one, and why."""
    found = concluded([20, 20], [10, 10], [])
    assert (found.verdict, found.recommended) == (Verdict.NO_DIFFERENCE, 1)
    assert "two pools do not keep the objective" in found.sentence


def test_an_empty_long_pool_is_told_apart() -> None:
    """Only where hardly anything is long at every threshold; an empty short pool is another matter."""
    assert concluded([20], [10], [12], short_share=EMPTY).verdict is Verdict.LONG_POOL_EMPTY
    rows = [row(0.0, "the short pool would be empty"), row(1.0, "the long pool would be empty")]
    assert conclude([[20], [10], []], (B1, B2, SPLIT), rows).verdict is Verdict.NO_DIFFERENCE


def test_a_saving_without_price_is_none() -> None:
    """Free GPUs save nothing and break nothing."""
    found = concluded([0, 0], [0, 0], [0, 0])
    assert found.verdict is Verdict.NO_DIFFERENCE


OPTIONS = PlanOptions(
    synthetic(Options(rate_per_s=1.0)), builtin().model("llama-3-8b"), (builtin().gpu("a100-80gb"),), 8192
)


def test_notes_name_a_gap_and_only_that() -> None:
    """Of the closed form and the simulation, where it is wide."""
    pools = (replace(B2.pools[0], instances_closed_form=8),)
    wide = replace(B2, name="wide", pools=pools)
    found = [note for note in notes(OPTIONS, [B1, wide], None) if "closed form asks" in note]
    assert found == ["wide: the closed form asks for 8 GPUs, the simulation for 4. The simulation decides."]


def test_notes_name_a_confirmation_that_contradicts() -> None:
    """A fleet that keeps the objective for too few is not to be built; one that keeps it needs no word."""
    enough, few = (notes(OPTIONS, [replace(B2, confirmed=confirmed_with(share))], None) for share in (0.99, 0.9))
    assert not any("too few" in note for note in enough)
    assert any("90.0 %" in note for note in few)


def test_a_share_that_is_too_small_is_seen_to_be() -> None:
    """It is not rounded up to what was asked for, however close it comes."""
    options = replace(OPTIONS, slo=Slo(percentile=99.99))
    missed = [replace(B2, confirmed=confirmed_with(share)) for share in (0.9998958, 0.99987, 0.95)]
    shares = [note.split("traffic, ")[1].split(" %")[0] for note in notes(options, missed, None) if "too few" in note]
    assert shares == ["99.9896", "99.987", "95.0"]


def confirmed_with(slo_share: float) -> Confirmed:
    """A fleet that kept the objective so often."""
    none = Interval(0.0, 0.0, 0.0)
    share = Interval(slo_share, slo_share, slo_share)
    measured = Measured(none, none, none, none, share, none, none, none, none, none)
    return Confirmed(measured, (measured,), none, none)


def test_notes_name_pools_without_spare() -> None:
    """Of the recommended fleet."""
    one = fleet("split", Baseline.SPLIT, 1.0, 1.0, router=RouterKind.ANYTIME, instances=1)
    found = notes(OPTIONS, [one], 0)
    assert "The short pool is one instance: while it is down nothing serves its requests." in found
    assert any(note.startswith("The long pool is one") for note in found)


def test_a_single_replication_recommends_no_split() -> None:
    """It cannot tell a saving from chance, says so, and claims no interval; a loss it may tell."""
    found = concluded([20], [10], [8])
    assert (found.verdict, found.recommended) == (Verdict.NO_DIFFERENCE, 1)
    assert "what two pools would save, 20.0 %, one replication cannot tell from chance" in found.sentence
    assert "two pools would cost 20.0 % more" in concluded([20], [10], [12]).sentence
    assert any("One replication" in note for note in notes(replace(OPTIONS, seeds=1), [], None))


def test_unpriced_fleets_are_compared_by_gpus() -> None:
    """In the words of the verdict, whichever way it goes; a fleet's name is left as it is."""
    rows, named = [row(HALF)], replace(B2, name="half of the cost")
    saved = conclude([[20], [10], [8]], (B1, B2, SPLIT), rows, by_chance=False, priced=False).sentence
    assert "saves 20.0 % of the GPUs" in saved
    lost = conclude([[20], [10], [12]], (B1, named, SPLIT), rows, by_chance=False, priced=False).sentence
    assert "two pools would take 20.0 % more" in lost
    assert "(half of the cost)" in lost


def test_two_replications_are_said_to_be_few() -> None:
    """Three are not."""
    two, three = (notes(replace(OPTIONS, seeds=seeds), [], None) for seeds in (2, 3))
    assert [note for note in two if note not in three] == [next(note for note in two if "Two replications" in note)]


def test_what_is_calculated_needs_no_replications() -> None:
    """The closed form alone has one value for each fleet, which no chance touches."""
    found = conclude([[20], [10], [8]], (B1, B2, SPLIT), [row(HALF)], by_chance=False)
    assert found.verdict is Verdict.SPLIT
    assert "saves 20.0 % of the cost" in found.sentence
