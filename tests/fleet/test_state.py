import numpy as np

from extproc.fleet.state import HEAP, NOBODY, PREFIX_BLOCKS, RANDOM, VACANT, grown, state_of
from extproc.fleet.values import Balancing, Overflow
from extproc.routing.values import Pool
from tests.fleet.reference import Asked, batch_of, play, play_reference, pool_of, spec_of

SMALL = spec_of(kv_blocks=20, max_num_seqs=4, max_num_batched_tokens=16)
LARGE = spec_of(
    kv_blocks=1000,
    max_num_seqs=8,
    max_num_batched_tokens=64,
    watermark=0.0125,
    overflow=Overflow.REJECT,
    max_queued_requests=7,
    reserve_full_sequence=False,
    prefix_caching=True,
)


def test_pools_stand_one_after_another() -> None:
    """Each instance knows its pool and has all of its blocks; each pool knows where its instances begin."""
    state = state_of([pool_of(SMALL, instances=3, pool=Pool.SHORT), pool_of(LARGE, instances=2)], seed=0)
    assert state.instances["pool"].tolist() == [0, 0, 0, 1, 1]
    assert state.instances["free"].tolist() == [20, 20, 20, 1000, 1000]
    assert state.pools["first"].tolist() == [0, 3]
    assert state.counts[HEAP] == 0


def test_rules_of_an_instance_are_those_of_its_specification() -> None:
    """Whole blocks of watermark; no limit on the queue is a limit that nobody meets."""
    state = state_of([pool_of(SMALL), pool_of(LARGE, balancing=Balancing.RANDOM)], seed=0)
    rules = state.pools
    assert rules["watermark"].tolist() == [0, 12]
    assert rules["max_queued"].tolist() == [2**31 - 1, 7]
    assert rules["rejects"].tolist() == [0, 1]
    assert rules["reserve_full"].tolist() == [1, 0]
    assert rules["caches"].tolist() == [0, 1]
    assert rules["kv_s"][0] == SMALL.steps.kv_s
    assert rules["mixed_kv_s"][0] == SMALL.steps.mixed_kv_s


def test_sequences_do_not_exceed_the_tokens_of_a_step() -> None:
    """As vLLM lowers max_num_seqs."""
    spec = spec_of(kv_blocks=20, max_num_seqs=100, max_num_batched_tokens=16)
    assert state_of([pool_of(spec)], seed=0).pools["max_num_seqs"][0] == 16


def test_step_times_of_pools_of_different_size_stand_in_one_table() -> None:
    """What a pool's limits rule out is not a number, so that using it shows."""
    state = state_of([pool_of(SMALL), pool_of(LARGE)], seed=0)
    np.testing.assert_array_equal(state.dense_s[0, :17], SMALL.steps.dense_s)
    assert np.isnan(state.dense_s[0, 17:]).all()
    assert not np.isnan(state.dense_s[1]).any()
    assert np.isnan(state.sequences_s[0, 5:]).all()


def test_a_seed_makes_a_state_of_random_numbers_that_is_not_nothing() -> None:
    """Zero would stay zero for ever."""
    assert len({int(state_of([pool_of(SMALL)], seed=seed).counts[RANDOM]) for seed in range(50)} - {0}) == 50


def test_there_are_as_many_prefixes_as_blocks_hold() -> None:
    """Of instances that cache; each record leads to the next."""
    state = state_of([pool_of(SMALL), pool_of(LARGE, instances=2)], seed=0)
    assert len(state.prefixes) == 1 + 2 * (1000 // PREFIX_BLOCKS)
    assert state.prefixes["chain"].tolist() == [*range(1, len(state.prefixes)), NOBODY]
    assert len(state_of([pool_of(SMALL)], seed=0).names) == 1, "nothing is set aside where nothing is cached"


def test_growth_keeps_what_is_there() -> None:
    """Twice the places: the requests of before keep theirs, and all others are vacant once."""
    state = state_of([pool_of(LARGE)], seed=0, places=4)
    state.requests["number"] = [7, 8, 9, 10]
    state.names[2, :3] = [1, 2, 3]
    state.counts[VACANT] = 1  # place 3 is vacant, the last of the list that begins with the highest
    more = grown(state)
    assert more.requests["number"].tolist() == [7, 8, 9, 10, 0, 0, 0, 0]
    assert more.names[2, :3].tolist() == [1, 2, 3]
    assert more.counts[VACANT] == 5
    assert sorted(more.vacant[:5].tolist()) == sorted([int(state.vacant[0]), 4, 5, 6, 7])


def test_growth_in_the_midst_changes_nothing() -> None:
    """More requests in flight than there was room for at first, all at once: as the reference has it."""
    asked = [Asked(0.001 * number, 20, 3) for number in range(5000)]
    _, records = play([pool_of(SMALL)], batch_of(asked))
    _, came = play_reference(SMALL, asked)
    np.testing.assert_allclose(records["end_s"], [each.end_s for each in came], rtol=1e-9)
