from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet.simulation import RunRules, simulate
from extproc.fleet.sizing import SUBFLEET, SizingRules, instances_needed, lost
from extproc.fleet.streams import Drawn
from extproc.fleet.values import ABSENT, Batch, InstanceSpec, Outcome, Overflow, PoolSpec, Slo, StepTimes
from extproc.routing.values import Pool
from tests.fleet.reference import random_batch, spec_of

STEP_S = 0.1
SLO = Slo(ttft_s=0.35, tpot_s=1.0, percentile=99.0)
RULES = SizingRules(SLO, requests=400, seconds=10.0)


def one_at_a_time() -> InstanceSpec:
    """Each request takes three steps of a tenth of a second: its prompt, and two more tokens."""
    steps = StepTimes(np.full(65, STEP_S), np.zeros(2), 0.0, 0.0, 0.0)
    return spec_of(kv_blocks=100, max_num_seqs=1, max_num_batched_tokens=64, steps=steps)


def every(gap_s: float, count: int, output: int = 3) -> Drawn:
    """Equal requests at equal distances."""
    ones = np.ones(count, np.int64)
    return Drawn(
        Batch(
            gap_s * np.arange(count, dtype=np.float64),
            32 * ones,
            output * ones,
            ABSENT * ones,
            np.zeros(count, np.int8),
        )
    )


@pytest.mark.parametrize("guess", [1, 3, 8, 20])
def test_the_least_number_is_found_whatever_the_guess(guess: int) -> None:
    """At most a tenth of 100 requests a second wait for none: by counting, one instance every 0.31 s takes its all."""
    stream = every(0.31, 400)
    assert instances_needed(Pool.LONG, one_at_a_time(), stream, guess, RULES) == 1.0


def test_a_load_that_one_instance_cannot_take_takes_more() -> None:
    """Work comes at 1.2 instances' worth: one cannot do, however long the queue may be."""
    needed = instances_needed(Pool.LONG, one_at_a_time(), every(0.25, 400), 1, RULES)
    assert needed is not None
    assert 2.0 <= needed <= 6.0


def test_nothing_needs_nothing() -> None:
    """A pool that nothing comes to."""
    assert instances_needed(Pool.LONG, one_at_a_time(), every(1.0, 0), 5, RULES) == 0.0


def test_what_no_number_keeps_is_told() -> None:
    """An objective below one step, for a small pool and for a large one."""
    rules = replace(RULES, slo=replace(SLO, ttft_s=STEP_S / 2), requests=50, seconds=1.0)
    for guess in (2, 2 * SUBFLEET):
        assert instances_needed(Pool.LONG, one_at_a_time(), every(0.01, 60), guess, rules) is None


def test_truncated_requests_are_failures() -> None:
    """A context that cuts every answer short never keeps the objective."""
    spec = replace(one_at_a_time(), max_model_len=34)
    assert instances_needed(Pool.LONG, spec, every(0.31, 60), 1, replace(RULES, seconds=1.0)) is None


@pytest.mark.parametrize(
    ("context", "declared", "overflow", "share"),
    [
        (35, ABSENT, Overflow.CLAMP, 0.0),  # 32 tokens of prompt and 3 of answer
        (34, ABSENT, Overflow.CLAMP, 1.0),
        (34, 2, Overflow.CLAMP, 0.0),
        (35, 30, Overflow.CLAMP, 0.0),
        (35, 30, Overflow.REJECT, 1.0),
        (35, 36, Overflow.CLAMP, 1.0),
        (32, ABSENT, Overflow.CLAMP, 1.0),
    ],
)
def test_what_is_lost_is_lost_in_the_simulation(context: int, declared: int, overflow: Overflow, share: float) -> None:
    """Refused or cut however many instances there are, by the same rules as where requests are played."""
    spec = replace(one_at_a_time(), max_model_len=context, overflow=overflow)
    batch = every(1.0, 20).batch._replace(declared_tokens=np.full(20, declared))
    assert lost(spec, batch) == share
    run = simulate([PoolSpec(Pool.LONG, 9, spec)], Drawn(batch), rules=RunRules(20, warm_up_share=0.0))
    assert run.pools[0].share(Outcome.COMPLETED) == 1.0 - share


SPEC = spec_of(kv_blocks=400, max_num_seqs=16, max_num_batched_tokens=256)
BUSY = Drawn(random_batch(40_000, rate_per_s=160.0, seed=1))
OF_BUSY = SizingRules(Slo(ttft_s=1.0, tpot_s=0.2), requests=3000, seconds=20.0)


def test_a_part_tells_of_the_whole() -> None:
    """A pool sized by what 32 instances take needs within 6 % of what it needs sized whole."""
    rules = replace(OF_BUSY, requests=15_000)
    whole = instances_needed(Pool.LONG, SPEC, BUSY, SUBFLEET, rules)
    part = instances_needed(Pool.LONG, SPEC, BUSY, 60, rules)
    assert whole is not None
    assert part is not None
    assert whole > SUBFLEET
    assert part == pytest.approx(whole, rel=0.06)


def test_a_guess_far_too_large_does_not_stick() -> None:
    """Nor far too small: the answer is that of the traffic."""
    near, high = (instances_needed(Pool.LONG, SPEC, BUSY, guess, OF_BUSY) for guess in (60, 700))
    assert near is not None
    assert high == pytest.approx(near, rel=0.06)


def test_a_try_lasts_long_enough_to_see_a_queue_grow() -> None:
    """With so few requests that they are gone before the fleet is full, fewer instances would seem enough."""
    few = replace(OF_BUSY, requests=300)
    spec = replace(SPEC, max_num_seqs=4)
    short, long = (
        instances_needed(Pool.LONG, spec, BUSY, 30, replace(few, seconds=seconds)) for seconds in (1.0, 30.0)
    )
    assert short is not None
    assert long is not None
    assert short < long
