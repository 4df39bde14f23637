import math

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.mockvllm.engine import Engine, EngineShape, StepCost
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import BLOCK_TOKENS


def shape(*, seqs: int = 8, budget: int = 64, blocks: int = 33, full: bool = True) -> EngineShape:
    """A small engine; one block is the null block."""
    return EngineShape(seqs, budget, blocks, reserve_full_sequence=full)


def sequence(prompt: int, output: int, arrival_s: float = 0.0) -> Sequence:
    """A sequence that ends by itself."""
    return Sequence(prompt_tokens=prompt, output_tokens=output, ending=Outcome.STOP, arrival_s=arrival_s)


def run(engine: Engine, *, steps: int = 100_000, horizon_s: float = 0.0, now_s: float = 0.0) -> float:
    """Step until idle; returns the time."""
    while engine.busy and steps:
        step = engine.schedule(now_s, horizon_s=horizon_s)
        now_s += step.duration_s
        engine.complete(step, now_s)
        steps -= 1
    return now_s


def held(engine: Engine) -> int:
    """Blocks that sequences hold."""
    return sum(each.blocks for each in (*engine.running, *engine.waiting))


def test_a_lone_request_prefills_in_chunks_and_decodes_token_by_token() -> None:
    """150 prompt tokens at a budget of 64 take three steps, the third of which brings the first token."""
    engine, only = Engine(shape()), sequence(150, 5)
    engine.submit(only)
    cost = engine.shape.cost
    run(engine, steps=3)
    assert (only.computed, only.generated) == (150, 1)
    assert only.first_token_s == 3 * cost.base_s + 150 * cost.prefill_token_s
    run(engine)
    assert (only.generated, only.outcome, engine.kv_usage) == (5, Outcome.STOP, 0.0)


def test_decodes_share_the_step_with_a_prefill() -> None:
    """A running sequence gets its token in the very step that prefills another."""
    engine = Engine(shape())
    first, second = sequence(20, 10), sequence(30, 10)
    engine.submit(first)
    run(engine, steps=1)
    engine.submit(second)
    run(engine, steps=1)
    assert (first.generated, second.generated) == (2, 1)


def test_the_batch_never_exceeds_max_num_seqs() -> None:
    """Admission stops at the limit, in order of arrival."""
    engine = Engine(shape(seqs=2))
    each = [sequence(8, 3) for _ in range(4)]
    for one in each:
        engine.submit(one)
    run(engine, steps=1)
    assert engine.running == each[:2]
    assert list(engine.waiting) == each[2:]


def test_a_head_that_does_not_fit_blocks_those_behind_it() -> None:
    """Strict first come, first served: a short request waits behind a long one that lacks blocks."""
    engine = Engine(shape(budget=1024))
    runner, long, short = sequence(20 * BLOCK_TOKENS, 50), sequence(20 * BLOCK_TOKENS, 2), sequence(4, 2)
    for each in (runner, long, short):
        engine.submit(each)
    run(engine, steps=5)
    assert engine.running == [runner]
    assert list(engine.waiting) == [long, short]


def test_older_releases_admit_what_fits_in_part() -> None:
    """Without the full-sequence gate the first chunk is enough to be admitted."""
    engine = Engine(shape(budget=128, full=False))
    runner, long = sequence(20 * BLOCK_TOKENS, 50), sequence(20 * BLOCK_TOKENS, 2)
    engine.submit(runner)
    run(engine, steps=3)
    engine.submit(long)
    run(engine, steps=1)
    assert engine.running == [runner, long]


def test_the_last_admitted_is_preempted_and_waits_in_front() -> None:
    """When blocks run out the youngest gives all of its blocks back, keeps its tokens and computes them anew."""
    engine = Engine(shape(blocks=9))
    old, young, later = sequence(3 * BLOCK_TOKENS, 40), sequence(3 * BLOCK_TOKENS, 40), sequence(4, 1)
    for each in (old, young):
        engine.submit(each)
    while not young.preemptions:
        engine.complete(engine.schedule(0.0), 0.0)
    engine.submit(later)
    assert engine.running == [old]
    assert list(engine.waiting) == [young, later]
    assert (young.blocks, young.computed) == (0, 0)
    assert young.generated > 0
    run(engine)
    assert [each.outcome for each in (old, young, later)] == [Outcome.STOP] * 3
    assert young.generated == 40


def test_nothing_is_admitted_in_a_step_that_preempts() -> None:
    """Even a request that would fit the freed blocks waits for the next step."""
    engine, small = Engine(shape(blocks=9)), sequence(1, 1)
    for each in (sequence(3 * BLOCK_TOKENS, 40), sequence(3 * BLOCK_TOKENS, 40)):
        engine.submit(each)
    while engine.free_blocks or engine.running[0].computed % BLOCK_TOKENS:
        engine.complete(engine.schedule(0.0), 0.0)
    engine.submit(small)
    step = engine.schedule(0.0)
    assert step.preemptions == 1
    assert engine.free_blocks > 0
    assert list(engine.waiting)[-1] is small


def test_an_abort_frees_blocks_at_once_even_between_plan_and_effect() -> None:
    """A sequence dropped while its step is under way gets no token from it."""
    engine = Engine(shape())
    gone, stays = sequence(20, 10), sequence(20, 10)
    for each in (gone, stays):
        engine.submit(each)
    step = engine.schedule(0.0)
    assert engine.abort(gone, 0.5)
    assert not engine.abort(gone, 0.6)
    progress = engine.complete(step, 1.0)
    assert progress.advanced == [stays]
    assert (gone.outcome, gone.generated, gone.blocks) == (Outcome.ABORT, 0, 0)
    run(engine)
    assert engine.free_blocks == 32


def test_waiting_sequences_can_be_aborted() -> None:
    """A request that never ran leaves the queue."""
    engine = Engine(shape(seqs=1))
    first, second = sequence(4, 4), sequence(4, 4)
    engine.submit(first)
    engine.submit(second)
    run(engine, steps=1)
    assert engine.prefill_backlog_tokens == 4
    engine.abort(second, 1.0)
    assert engine.prefill_backlog_tokens == 0
    run(engine)
    assert second.outcome is Outcome.ABORT


def test_equal_decode_steps_taken_together_change_nothing_but_the_number_of_steps() -> None:
    """A long horizon gives the same tokens at the same moments as single steps."""
    moments = []
    for horizon_s in (0.0, math.inf):
        engine = Engine(shape(blocks=40))
        each = [sequence(10 + index, 5 + 7 * index) for index in range(5)]
        for one in each:
            engine.submit(one)
        run(engine, horizon_s=horizon_s)
        moments.append([(one.generated, round(one.finished_s or 0, 9)) for one in each])
    assert moments[0] == moments[1]


def test_steps_taken_together_stop_at_the_horizon() -> None:
    """No more steps are lumped than fit the time given, and at least one is taken."""
    engine = Engine(EngineShape(8, 64, 100, cost=StepCost(base_s=1.0, prefill_token_s=0.0, sequence_s=0.0)))
    only = sequence(4, 50)
    engine.submit(only)
    run(engine, steps=1)
    assert engine.schedule(0.0, horizon_s=7.5).repeats == 7
    assert engine.schedule(0.0, horizon_s=0.5).repeats == 1


REQUESTS = st.lists(
    st.tuples(st.integers(1, 200), st.integers(1, 120), st.integers(0, 30), st.booleans()), min_size=1, max_size=25
)


SHAPES = st.builds(
    shape, seqs=st.integers(1, 6), budget=st.integers(8, 300), blocks=st.integers(21, 60), full=st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, SHAPES, st.sampled_from([0.0, math.inf]))
def test_invariants_hold_under_any_load(
    requests: list[tuple[int, int, int, bool]], bounds: EngineShape, horizon_s: float
) -> None:
    """Blocks are conserved, batch and budget are respected, and each request ends once, in order of admission."""
    engine = Engine(bounds)
    coming = sorted(requests, key=lambda each: each[2])
    submitted: list[tuple[Sequence, bool]] = []
    order: list[Sequence] = []
    now_s, turn = 0.0, 0
    while coming or engine.busy:
        while coming and coming[0][2] <= turn:
            prompt, output, _, leaves = coming.pop(0)
            submitted.append((sequence(prompt, output, now_s), leaves))
            engine.submit(submitted[-1][0])
        turn += 1
        if not engine.busy:
            continue
        step = engine.schedule(now_s, horizon_s=horizon_s)
        order += [each for each in engine.running if each not in order]
        assert len(engine.running) <= bounds.max_num_seqs
        assert sum(tokens for _, tokens in step.batch) <= bounds.max_num_batched_tokens
        assert engine.free_blocks >= 0
        assert engine.free_blocks + held(engine) == bounds.num_gpu_blocks - 1
        now_s += step.duration_s
        engine.complete(step, now_s)
        for each, leaves in submitted:
            if leaves and each.generated > 3:
                engine.abort(each, now_s)
    assert engine.free_blocks == bounds.num_gpu_blocks - 1
    assert order == [each for each, _ in submitted]
    for each, leaves in submitted:
        ended = each.generated == each.output_tokens
        assert each.outcome is (Outcome.STOP if ended else Outcome.ABORT)
        assert ended or leaves
