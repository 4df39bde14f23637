from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet import events
from extproc.fleet.readings import Poller, look_at_each
from extproc.fleet.state import State, state_of
from extproc.fleet.values import ABSENT, Ints
from extproc.routing.steering import PoolState
from extproc.routing.values import Pool
from tests.fleet.reference import pool_of, spec_of

SPEC = spec_of(kv_blocks=100, max_num_seqs=4, max_num_batched_tokens=256)
NO_NAMES: Ints = np.zeros(0, np.int64)


def fleet() -> State:
    """Two short instances with a queue limit, one long one."""
    short = replace(SPEC, max_queued_requests=6)
    return state_of([pool_of(short, instances=2, pool=Pool.SHORT), pool_of(SPEC)], seed=0)


def bring(state: State, requests: int, *, pool: int, now_s: float, prompt_tokens: int = 64) -> None:
    """So many requests at a time."""
    for number in range(requests):
        events.submit(state, number, pool, now_s, prompt_tokens, 200, ABSENT, 0, NO_NAMES)


def test_an_idle_fleet_reads_nothing() -> None:
    """All up, nobody running."""
    assert Poller().states(fleet(), 0.0) == [PoolState(2, 0.0, 0.0, 0.0), PoolState(1, 0.0, 0.0, 0.0)]


def test_a_pool_is_the_mean_of_its_instances() -> None:
    """Running, waiting and KV of all requests that came, by the instances that are up."""
    state = fleet()
    bring(state, 10, pool=0, now_s=0.0)
    events.advance(state, 0.5)
    short, long = Poller().states(state, 0.5)
    assert short is not None
    assert (short.running + short.waiting) * 2 == 10
    assert short.running == 4.0
    assert 4 * 64 / 16 / 100 <= short.kv_usage < 0.5
    assert long == PoolState(1, 0.0, 0.0, 0.0)
    assert look_at_each(state, 0.5).shape == (3, 4)


def test_a_dead_instance_gives_no_reading() -> None:
    """The means are over the rest, and a pool without any has none; later it is back."""
    state, poller = fleet(), Poller()
    bring(state, 6, pool=0, now_s=0.0)
    events.die(state, 0, 1.0, 10.0)
    short, _ = poller.states(state, 1.0)
    assert short is not None
    assert short.instances == 1
    assert short.running + short.waiting == 3.0
    events.die(state, 1, 2.0, 10.0)
    assert poller.states(state, 2.0)[0] is None
    assert poller.states(state, 11.0)[0] == PoolState(2, 0.0, 0.0, 0.0)


def test_refusals_are_told_per_second_since_the_last_look() -> None:
    """Of each instance; the first look knows no rate."""
    state, poller = fleet(), Poller()
    bring(state, 20, pool=0, now_s=0.0)
    first, _ = poller.states(state, 0.0)
    bring(state, 8, pool=0, now_s=0.0)
    second, _ = poller.states(state, 2.0)
    third, _ = poller.states(state, 4.0)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.rejections_per_s, second.rejections_per_s, third.rejections_per_s) == (0.0, 2.0, 0.0)


def test_preemptions_are_told_per_second_since_the_last_look() -> None:
    """Requests that outgrow the cache."""
    state, poller = fleet(), Poller()
    poller.states(state, 0.0)
    bring(state, 4, pool=1, now_s=0.0, prompt_tokens=350)
    assert events.advance(state, 1000.0)
    _, long = poller.states(state, 1000.0)
    assert long is not None
    assert long.preemptions_per_s == pytest.approx(int(state.pools["preemptions"][1]) / 1000.0)
    assert long.preemptions_per_s > 0.0


def test_nobody_answers_during_a_silence() -> None:
    """From its beginning on, until its end."""
    poller = Poller([(2.0, 4.0)])
    assert poller.states(fleet(), 1.9) != [None, None]
    assert poller.states(fleet(), 2.0) == poller.states(fleet(), 3.9) == [None, None]
    assert poller.states(fleet(), 4.0) != [None, None]
