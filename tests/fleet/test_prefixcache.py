"""The compiled prefix cache against one that is a dictionary and an ordered dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.fleet import events
from extproc.fleet.state import ENDED, PREFIX_BLOCKS, PREFIX_TOKENS, UNUSED_PREFIX, State, state_of
from extproc.fleet.values import ABSENT, Balancing, InstanceSpec, Ints, Outcome
from tests.fleet.reference import Asked, assert_at_rest, batch_of, play, play_reference, pool_of, spec_of

COLUMNS = ("outcome", "scheduled_s", "first_token_s", "end_s", "output", "preemptions", "cached")


@st.composite
def specs(draw: st.DrawFn) -> InstanceSpec:
    """Instances that hold two to twelve named blocks or so."""
    return spec_of(
        kv_blocks=draw(st.integers(70, 400)),
        max_num_seqs=draw(st.integers(1, 8)),
        max_num_batched_tokens=draw(st.sampled_from([100, 512, 700, 4096])),
        watermark=draw(st.sampled_from([0.0, 0.1])),
        reserve_full_sequence=draw(st.booleans()),
        prefix_caching=True,
    )


@st.composite
def workloads(draw: st.DrawFn) -> list[Asked]:
    """Conversations and documents: prompts that share a beginning, each for a way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, stories = 50, draw(st.integers(1, 6))
    longest, most = draw(st.sampled_from([(5, 40), (3, 400), (12, 40)]))
    arrivals_s = np.cumsum(rng.exponential(draw(st.sampled_from([0.01, 0.5, 3.0])), count))
    asked = []
    for number in range(count):
        prompt, shared = int(rng.integers(1, longest * PREFIX_TOKENS)), int(rng.integers(0, longest + 1))
        story = int(rng.integers(stories))
        names = [
            _name(story, block) if block < shared and (block + 1) * PREFIX_TOKENS <= prompt else _own(number, block)
            for block in range(-(-prompt // PREFIX_TOKENS))
        ]
        asked.append(Asked(float(arrivals_s[number]), prompt, int(rng.integers(1, most)), ABSENT, tuple(names)))
    return asked


def _name(story: int, block: int) -> int:
    return 1_000_003 * (story + 1) + block


def _own(number: int, block: int) -> int:
    return 10**9 + 1000 * number + block


def assert_sound(state: State) -> None:
    """Every record is in the table or among the unused, and those that nobody uses are the idle blocks."""
    listed, at = 0, int(state.counts[UNUSED_PREFIX])
    while at != -1:
        listed, at = listed + 1, int(state.prefixes["chain"][at])
    chained = 0
    for first in state.buckets.tolist():
        at = first
        while at != -1:
            chained, at = chained + 1, int(state.prefixes["chain"][at])
    assert listed + chained == len(state.prefixes)
    idle = 0
    for number in range(len(state.instances)):
        at = int(state.instances["oldest"][number])
        while at != -1:
            assert state.prefixes["users"][at] == 0
            assert state.prefixes["instance"][at] == number
            idle, at = idle + 1, int(state.prefixes["after"][at])
    assert idle * PREFIX_BLOCKS == state.instances["idle"].sum()


@settings(deadline=None, max_examples=150)
@given(specs(), workloads())
def test_equals_a_plain_cache(spec: InstanceSpec, asked: list[Asked]) -> None:
    """Tokens found, times and preemptions are those of the reference, and both hold the same blocks at the end."""
    state, records = play([pool_of(spec)], batch_of(asked))
    (reference,), came = play_reference(spec, asked)
    for at, name in enumerate(COLUMNS):
        np.testing.assert_allclose(records[name], np.array(came)[:, at], rtol=1e-9, err_msg=name)
    assert_sound(state)
    assert_at_rest(state, spec)
    names, at = [], int(state.instances["oldest"][0])
    while at != -1:
        names.append(int(state.prefixes["name"][at]))
        at = int(state.prefixes["after"][at])
    assert names == list(reference.unused), "in the order in which they would be given up"


@settings(deadline=None, max_examples=30)
@given(specs(), workloads(), st.integers(2, 4))
def test_instances_share_nothing(spec: InstanceSpec, asked: list[Asked], instances: int) -> None:
    """Several instances use one table, and each finds only what it computed itself."""
    pool = pool_of(spec, instances=instances, balancing=Balancing.ROUND_ROBIN)
    state, records = play([pool], batch_of(asked))
    _, came = play_reference(spec, asked, instances=instances)
    np.testing.assert_array_equal(records["cached"], np.array(came)[:, 6])
    np.testing.assert_allclose(records["end_s"], np.array(came)[:, 3], rtol=1e-9)
    assert_sound(state)


def test_a_conversation_is_computed_once() -> None:
    """Each turn finds all whole blocks of the turn before, and starts sooner for it."""
    spec = spec_of(kv_blocks=1000, max_num_seqs=4, max_num_batched_tokens=512, prefix_caching=True)
    turns = [
        Asked(100.0 * turn, 1000 * (turn + 1), 5, names=tuple(_name(0, block) for block in range(2 * turn + 1)))
        for turn in range(4)
    ]
    _, records = play([pool_of(spec)], batch_of(turns))
    assert records["cached"].tolist() == [0, 512, 3 * 512, 5 * 512]
    alone = [turn._replace(names=()) for turn in turns]
    _, anew = play([pool_of(spec)], batch_of(alone))
    assert (records["end_s"][1:] < anew["end_s"][1:]).all()


def test_a_prompt_is_never_found_whole() -> None:
    """Of two equal prompts of two blocks the second finds one: its last token is computed for the first it writes."""
    spec = spec_of(kv_blocks=1000, max_num_seqs=4, max_num_batched_tokens=512, prefix_caching=True)
    asked = [Asked(at_s, 1024, 5, names=(7, 8)) for at_s in (0.0, 100.0)]
    assert play([pool_of(spec)], batch_of(asked))[1]["cached"].tolist() == [0, 512]


def test_an_instance_without_a_cache_finds_nothing() -> None:
    """Names mean nothing where prefix caching is off."""
    spec = spec_of(kv_blocks=1000, max_num_seqs=4, max_num_batched_tokens=512)
    asked = [Asked(at_s, 1100, 5, names=(7, 8)) for at_s in (0.0, 100.0)]
    assert play([pool_of(spec)], batch_of(asked))[1]["cached"].tolist() == [0, 0]


def test_a_death_forgets_the_cache() -> None:
    """After it nothing is found, and the table is empty."""
    spec = spec_of(kv_blocks=200, max_num_seqs=4, max_num_batched_tokens=512, prefix_caching=True)
    state = state_of([pool_of(spec)], seed=0)
    names: Ints = np.array([7, 8, 9])
    for number in range(3):
        events.submit(state, number, 0, 10.0 * number, 1500, 5, ABSENT, 0, names)
        events.advance(state, 10.0 * number + (0.02 if number == 2 else 9.0))
    events.die(state, 0, 20.02, 30.0)
    assert state.ended["outcome"][:3].tolist() == [Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED]
    assert state.ended["cached"][:3].tolist() == [0, 1024, 1024]
    assert (state.buckets == -1).all()
    assert_sound(state)
    assert_at_rest(state, spec)
    events.submit(state, 3, 0, 31.0, 1500, 5, ABSENT, 0, names)
    events.advance(state, 60.0)
    assert state.ended["cached"][: state.counts[ENDED]].tolist()[3:] == [0]
