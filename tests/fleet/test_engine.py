"""The compiled engine, which takes runs of steps together, against one that takes them one by one."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.fleet import engine, events
from extproc.fleet.state import ENDED, NOBODY, State, state_of
from extproc.fleet.values import ABSENT, Balancing, InstanceSpec, Ints, Outcome, Overflow
from tests.fleet.reference import (
    Asked,
    Came,
    ReferenceEngine,
    assert_at_rest,
    batch_of,
    play,
    play_reference,
    pool_of,
    run_until,
    spec_of,
)

NO_NAMES: Ints = np.zeros(0, np.int64)
EQUAL = 1e-9
"""Relative difference of times: sums of steps against their series."""


@st.composite
def specs(draw: st.DrawFn) -> InstanceSpec:
    """Instances with little room of every kind."""
    return spec_of(
        kv_blocks=draw(st.integers(4, 60)),
        max_num_seqs=draw(st.integers(1, 8)),
        max_num_batched_tokens=draw(st.integers(8, 64)),
        max_model_len=draw(st.sampled_from([1000, 300, 200, 100])),
        watermark=draw(st.sampled_from([0.0, 0.0, 0.01, 0.1, 0.3])),
        reserve_full_sequence=draw(st.booleans()),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 3, 8, 24])),
        overflow=draw(st.sampled_from(Overflow)),
        max_queued_requests=draw(st.sampled_from([None, None, 4, 12])),
    )


@st.composite
def workloads(draw: st.DrawFn) -> list[Asked]:
    """Some dozens of requests, in bursts or far apart; drawn by a generator, so that no two events fall together."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = 40 if draw(st.booleans()) else draw(st.integers(1, 40))
    gaps = rng.exponential(draw(st.sampled_from([0.001, 0.05, 0.2, 1.0])), count)
    gaps[rng.random(count) < draw(st.sampled_from([0.0, 0.3]))] = 0.0
    longest, most = draw(st.sampled_from([(200, 81), (60, 81), (20, 81), (200, 4)]))
    prompts, outputs = rng.integers(1, longest + 1, count), rng.integers(1, most, count)
    declared = np.where(rng.random(count) < draw(st.sampled_from([1.0, 0.8])), ABSENT, rng.integers(1, 400, count))
    columns = (np.cumsum(gaps), prompts, outputs, declared)
    return [Asked(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def assert_same(records: Any, came: list[Came]) -> None:
    """What the compiled fleet wrote down is what the reference says."""
    expected = np.array(came)
    for at, name in enumerate(("outcome", "scheduled_s", "first_token_s", "end_s", "output", "preemptions", "cached")):
        np.testing.assert_allclose(records[name], expected[:, at], rtol=EQUAL, atol=0, err_msg=name)


@settings(deadline=None, max_examples=300)
@given(specs(), workloads())
def test_runs_of_steps_equal_steps(spec: InstanceSpec, asked: list[Asked]) -> None:
    """Each request is scheduled, answered, preempted and ended as token by token; the instance is at rest after."""
    state, records = play([pool_of(spec)], batch_of(asked))
    (reference,), came = play_reference(spec, asked)
    assert_same(records, came)
    counts = [state.pools[0][name] for name in ("steps", "preemptions", "generated", "prefilled")]
    assert counts == [reference.steps, reference.preemptions, reference.generated, reference.prefilled]
    assert_at_rest(state, spec)


@settings(deadline=None, max_examples=60)
@given(specs(), workloads(), st.integers(2, 5))
def test_instances_in_turn_equal_as_many_engines(spec: InstanceSpec, asked: list[Asked], instances: int) -> None:
    """Round robin over several instances is what the same number of engines do with every n-th request."""
    pool = pool_of(spec, instances=instances, balancing=Balancing.ROUND_ROBIN)
    state, records = play([pool], batch_of(asked))
    _, came = play_reference(spec, asked, instances=instances)
    assert_same(records, came)
    assert_at_rest(state, spec)


@settings(deadline=None, max_examples=60)
@given(specs(), workloads())
def test_a_look_sees_what_the_steps_hold(spec: InstanceSpec, asked: list[Asked]) -> None:
    """In the midst of runs too all counts are those of the step under way, and blocks are never too many."""
    state, reference = state_of([pool_of(spec)], seed=0), ReferenceEngine(spec)
    for number, one in enumerate(asked):
        events.advance(state, one.arrival_s)
        run_until(reference, one.arrival_s)
        events.submit(state, number, 0, *one[:4], 0, NO_NAMES)
        reference.submit(number, one)
        if reference.step_end_s is None:
            reference.begin(one.arrival_s)
        assert_looks_alike(state, reference, one.arrival_s)
        for later_s in one.arrival_s + np.array([0.0101, 0.0507, 0.2003]) * (1 + number / 97):
            if number + 1 == len(asked) or later_s < asked[number + 1].arrival_s:
                events.advance(state, later_s)
                run_until(reference, later_s)
                assert_looks_alike(state, reference, later_s)


def assert_looks_alike(state: State, reference: ReferenceEngine, now_s: float) -> None:
    """And within the blocks there are."""
    (seen,) = events.look(state, now_s)
    assert seen.tolist() == [len(reference.running), len(reference.waiting), reference.used_blocks]
    assert 0 <= seen[2] <= reference.spec.kv_blocks
    assert state.instances[0]["free"] >= 0


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2), (32, 2)])
def test_blocks_are_rounded_up(tokens: int, blocks: int) -> None:
    """A begun block is a block."""
    assert engine.blocks_of(tokens) == blocks


def test_the_youngest_is_preempted_and_comes_first_again() -> None:
    """Two that grow beyond the blocks: the second gives way, is computed anew with what it wrote, and ends later."""
    spec = spec_of(kv_blocks=6, max_num_seqs=4, max_num_batched_tokens=64)
    asked = [Asked(0.0, 30, 40), Asked(0.0, 30, 40), Asked(0.1, 5, 1)]
    _, records = play([pool_of(spec)], batch_of(asked))
    assert records["preemptions"].tolist() == [0, 1, 0]
    assert records["output"].tolist() == [40, 40, 1]
    assert records["end_s"][0] < records["end_s"][1]


def test_short_prompts_pass_a_long_one_that_is_held_back() -> None:
    """A prompt of ten steps takes a quarter of each while others are there, who have their first token long before."""
    asked = [Asked(0.0, 640, 2), *(Asked(0.001 * number, 20, 2) for number in range(1, 6))]
    free, held = (
        play(
            [
                pool_of(
                    spec_of(kv_blocks=99, max_num_seqs=9, max_num_batched_tokens=64, long_prefill_token_threshold=cap)
                )
            ],
            batch_of(asked),
        )[1]["first_token_s"]
        for cap in (0, 16)
    )
    assert free[1:].min() > free[0]
    assert held[1:].max() < held[0] / 2
    assert held[0] > free[0]


def test_a_prompt_that_is_alone_is_not_held_back() -> None:
    """Nobody gains by it: as many steps as without, until somebody comes."""
    spec = spec_of(kv_blocks=99, max_num_seqs=9, max_num_batched_tokens=64, long_prefill_token_threshold=16)
    state, _ = play([pool_of(spec)], batch_of([Asked(0.0, 640, 2)]))
    assert state.pools[0]["steps"] == 10 + 1


def test_one_that_does_not_fit_lets_nobody_pass() -> None:
    """A long prompt at the head of the queue blocks a short one that would fit, until blocks are free."""
    spec = spec_of(kv_blocks=10, max_num_seqs=4, max_num_batched_tokens=64)
    asked = [Asked(0.0, 64, 20), Asked(0.001, 100, 1), Asked(0.002, 5, 1)]
    _, records = play([pool_of(spec)], batch_of(asked))
    assert records["scheduled_s"][2] >= records["scheduled_s"][1] >= records["end_s"][0]


@pytest.mark.parametrize("reserve_full", [True, False])
def test_thrash_in_a_tiny_cache_ends(reserve_full: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Many requests that each fill the cache alone: all end, each after a bounded number of steps."""
    spec = spec_of(
        kv_blocks=8, max_num_seqs=8, max_num_batched_tokens=32, reserve_full_sequence=reserve_full, max_model_len=128
    )
    asked = [Asked(0.0, 20, 100) for _ in range(60)]
    state, records = play([pool_of(spec)], batch_of(asked))
    assert (records["outcome"] == Outcome.COMPLETED).all()
    assert state.pools[0]["preemptions"] > 0
    assert state.pools[0]["steps"] <= 60 * (100 + 120), "at worst each is computed anew once for every token"
    assert_at_rest(state, spec)


def test_a_request_above_all_blocks_fails_at_once() -> None:
    """An engine would wait for ever with it: it is an outcome of its own and holds nobody up."""
    spec = spec_of(kv_blocks=8, max_num_seqs=2, max_num_batched_tokens=32)
    state, records = play([pool_of(spec)], batch_of([Asked(0.0, 100, 40), Asked(0.0, 10, 2)]))
    assert records["outcome"].tolist() == [Outcome.FAILED, Outcome.COMPLETED]
    assert_at_rest(state, spec)


def test_a_request_that_fills_all_blocks_is_served() -> None:
    """Exactly what fits, and one sequence at a time: as many steps as chunks and tokens."""
    spec = spec_of(kv_blocks=8, max_num_seqs=1, max_num_batched_tokens=32)
    state, records = play([pool_of(spec)], batch_of([Asked(0.0, 100, 28), Asked(0.0, 100, 28)]))
    assert records["outcome"].tolist() == [Outcome.COMPLETED] * 2
    assert state.pools[0]["steps"] == 2 * (4 + 27)


def test_one_sequence_at_a_time_takes_them_in_order() -> None:
    """With max_num_seqs 1 each request begins when the one before has ended."""
    spec = spec_of(kv_blocks=60, max_num_seqs=1, max_num_batched_tokens=16)
    _, records = play([pool_of(spec)], batch_of([Asked(0.0, 30, 9) for _ in range(20)]))
    np.testing.assert_array_equal(records["scheduled_s"][1:], records["end_s"][:-1])


def test_a_watermark_does_not_raise_preemptions() -> None:
    """On one trace of fifteen hundred requests preemptions fall, within 2 % of noise, as more is kept free."""
    rng = np.random.default_rng(5)
    arrivals_s = np.cumsum(rng.exponential(0.03, 1500))
    prompts, outputs = rng.integers(20, 200, 1500), rng.integers(50, 300, 1500)
    asked = [Asked(*row) for row in zip(arrivals_s.tolist(), prompts.tolist(), outputs.tolist(), strict=True)]
    counts = []
    for watermark in (0.0, 0.01, 0.02, 0.05, 0.1):
        spec = spec_of(kv_blocks=300, max_num_seqs=64, max_num_batched_tokens=512, watermark=watermark)
        counts.append(int(play([pool_of(spec)], batch_of(asked))[1]["preemptions"].sum()))
    assert counts[0] > 100
    assert all(more <= 1.02 * fewer for fewer, more in pairwise(counts)), counts
    assert counts[-1] < counts[0] / 2


def test_a_death_leaves_the_engine_empty() -> None:
    """All that ran or waited is written down as failed, and every block is free again."""
    spec = spec_of(kv_blocks=30, max_num_seqs=3, max_num_batched_tokens=64)
    state = state_of([pool_of(spec)], seed=0)
    for number in range(6):
        events.submit(state, number, 0, 0.0, 40, 50, ABSENT, 0, NO_NAMES)
    events.advance(state, 0.5)
    engine.kill(state, 0, 0.5, int(Outcome.FAILED))
    ended = state.ended[: state.counts[ENDED]]
    assert sorted(ended["number"].tolist()) == list(range(6))
    assert set(ended["outcome"].tolist()) == {int(Outcome.FAILED)}
    assert set(ended["end_s"].tolist()) == {0.5}
    assert_at_rest(state, spec)
    assert state.instances[0]["oldest"] == NOBODY
