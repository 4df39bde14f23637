from typing import Any

import numpy as np
import pytest

from extproc.fleet import events
from extproc.fleet.handle import arrivals_of, handle_of
from extproc.fleet.state import ENDED, HEAP, NOBODY, State, state_of
from extproc.fleet.values import ABSENT, Balancing, InstanceSpec, Ints, Outcome, Overflow
from extproc.routing.values import Pool
from tests.fleet.reference import Asked, batch_of, play, pool_of, random_batch, spec_of

NO_NAMES: Ints = np.zeros(0, np.int64)


def context_of_100(**others: Any) -> InstanceSpec:
    """An instance with a context of 100 tokens."""
    return spec_of(kv_blocks=50, max_num_seqs=4, max_num_batched_tokens=64, max_model_len=100, **others)


def bring(state: State, number: int, now_s: float, pool: int = 0) -> int:
    """A small request."""
    return events.submit(state, number, pool, now_s, 10, 20, ABSENT, 0, NO_NAMES)


@pytest.mark.parametrize(
    ("prompt", "output", "declared", "by_clamping", "by_rejecting", "written"),
    [
        (60, 30, ABSENT, Outcome.COMPLETED, Outcome.COMPLETED, 30),
        (60, 40, ABSENT, Outcome.COMPLETED, Outcome.COMPLETED, 40),
        (60, 70, ABSENT, Outcome.TRUNCATED, Outcome.TRUNCATED, 40),
        (60, 30, 40, Outcome.COMPLETED, Outcome.COMPLETED, 30),
        (60, 30, 20, Outcome.COMPLETED, Outcome.COMPLETED, 20),
        (60, 30, 41, Outcome.COMPLETED, Outcome.REJECTED_LENGTH, 30),
        (60, 50, 41, Outcome.TRUNCATED, Outcome.REJECTED_LENGTH, 40),
        (60, 30, 100, Outcome.COMPLETED, Outcome.REJECTED_LENGTH, 30),
        (60, 30, 101, Outcome.REJECTED_LENGTH, Outcome.REJECTED_LENGTH, 0),
        (99, 1, ABSENT, Outcome.COMPLETED, Outcome.COMPLETED, 1),
        (100, 1, ABSENT, Outcome.REJECTED_LENGTH, Outcome.REJECTED_LENGTH, 0),
        (200, 1, ABSENT, Outcome.REJECTED_LENGTH, Outcome.REJECTED_LENGTH, 0),
    ],
)
def test_a_request_above_the_context(  # noqa: PLR0917 - a row of the table above
    prompt: int, output: int, declared: int, by_clamping: Outcome, by_rejecting: Outcome, written: int
) -> None:
    """Newer releases shorten the output without a word, older ones answer 400; above the context all do."""
    for overflow, outcome in ((Overflow.CLAMP, by_clamping), (Overflow.REJECT, by_rejecting)):
        asked = [Asked(0.0, prompt, output, declared)]
        _, records = play([pool_of(context_of_100(overflow=overflow))], batch_of(asked))
        assert records["outcome"][0] == outcome
        assert records["output"][0] == (0 if outcome == Outcome.REJECTED_LENGTH else written)


def test_a_full_queue_answers_503() -> None:
    """With a limit of six in flight the seventh is refused, and taken again when one has ended."""
    state = state_of([pool_of(context_of_100(max_queued_requests=6))], seed=0)
    taken = [bring(state, number, 0.0) != NOBODY for number in range(8)]
    assert taken == [True] * 6 + [False] * 2
    assert state.ended["outcome"][: state.counts[ENDED]].tolist() == [Outcome.REJECTED_BUSY] * 2
    events.advance(state, 100.0)
    assert bring(state, 8, 100.0) != NOBODY


def test_a_refusal_belongs_to_the_pool_that_was_asked() -> None:
    """Whether an instance refused it or it was too long for any."""
    state = state_of([pool_of(context_of_100()), pool_of(context_of_100(max_queued_requests=0))], seed=0)
    assert bring(state, 0, 0.0, pool=1) == NOBODY
    assert events.submit(state, 1, 1, 0.0, 100, 20, ABSENT, 0, NO_NAMES) == NOBODY
    assert state.ended["pool"][:2].tolist() == [1, 1]
    assert state.ended["instance"][:2].tolist() == [1, NOBODY]


def test_round_robin_takes_turns() -> None:
    """One after another, whatever they have to do."""
    batch = random_batch(100, rate_per_s=50.0, seed=1)
    _, records = play([pool_of(context_of_100(), instances=5, balancing=Balancing.ROUND_ROBIN)], batch)
    served = records[records["outcome"] <= Outcome.TRUNCATED]["instance"]
    assert served.tolist() == [number % 5 for number in range(len(served))]


def test_random_spreads_evenly() -> None:
    """Counts of 20,000 draws over 8 instances: chi squared below 24.3, the 99.9th percentile of 7 degrees."""
    batch = random_batch(20_000, rate_per_s=1000.0, seed=1, prompt=(5, 20), output=(1, 3))
    _, records = play([pool_of(context_of_100(), instances=8, balancing=Balancing.RANDOM)], batch)
    counts = np.bincount(records["instance"], minlength=8)
    assert ((counts - 2500) ** 2 / 2500).sum() < 24.3
    pairs = np.bincount(8 * records["instance"][:-1] + records["instance"][1:], minlength=64)
    expected = 19_999 / 64
    assert ((pairs - expected) ** 2 / expected).sum() < 103.4, "99.9th percentile of 63 degrees: draws do not hang on"


def test_least_request_prefers_the_idle() -> None:
    """Of two drawn the less loaded: after 4,000 requests that stay, loads differ by few, where by chance by dozens."""
    spreads = {}
    spec = spec_of(kv_blocks=50, max_num_seqs=1, max_num_batched_tokens=64)
    for balancing in (Balancing.LEAST_REQUEST, Balancing.RANDOM):
        state = state_of([pool_of(spec, instances=20, balancing=balancing)], seed=3)
        for number in range(4000):
            bring(state, number, 0.0)
        loads = state.instances["running"] + state.instances["waiting"]
        assert loads.sum() == 4000
        spreads[balancing] = int(loads.max() - loads.min())
    assert spreads[Balancing.LEAST_REQUEST] <= 10
    assert spreads[Balancing.RANDOM] >= 30


def test_the_seed_decides_the_draws() -> None:
    """And nothing else: the same again, another with another."""
    batch = random_batch(200, rate_per_s=100.0, seed=1, prompt=(5, 20))
    pool = pool_of(context_of_100(), instances=8, balancing=Balancing.RANDOM)
    first, again, other = (play([pool], batch, seed=seed)[1]["instance"].tolist() for seed in (4, 4, 5))
    assert first == again != other


def test_an_instance_that_is_down_takes_nothing() -> None:
    """Its requests fail, others take what comes, and it is back in time."""
    pool = pool_of(context_of_100(), instances=2, balancing=Balancing.ROUND_ROBIN)
    state = state_of([pool], seed=0)
    for number in range(4):
        bring(state, number, 0.0)
    events.die(state, 0, 0.0, 10.0)
    assert sorted(state.ended["number"][:2].tolist()) == [0, 2]
    for number in range(4, 8):
        bring(state, number, 0.0)
    loads = state.instances["running"] + state.instances["waiting"]
    assert loads.tolist() == [0, 6]
    events.advance(state, 10.0)
    for number in range(8, 10):
        bring(state, number, 10.0)
    assert (state.instances["running"] + state.instances["waiting"]).tolist() == [1, 1]


def test_a_pool_that_is_down_answers_503() -> None:
    """Envoy has nobody to send it to."""
    state = state_of([pool_of(context_of_100())], seed=0)
    events.die(state, 0, 0.0, 10.0)
    assert bring(state, 0, 5.0) == NOBODY
    assert state.ended["outcome"][0] == Outcome.REJECTED_BUSY
    assert bring(state, 1, 10.0) != NOBODY


def test_advance_stops_where_room_ends() -> None:
    """It says so, goes on when what ended is taken away, and loses nothing."""
    pools = [pool_of(context_of_100(), instances=3)]
    state, seen = state_of(pools, seed=0, ended=8), []
    for number in range(60):
        while not events.advance(state, 0.0):
            pass
        bring(state, number, 0.0)
    stops = 0
    while not events.advance(state, np.inf):
        stops += 1
        seen += state.ended["number"][: state.counts[ENDED]].tolist()
        state.counts[ENDED] = 0
    seen += state.ended["number"][: state.counts[ENDED]].tolist()
    assert stops > 5
    assert sorted(seen) == list(range(60))
    assert state.counts[HEAP] == 0


def bring_and_advance(state: State, number: int, until_s: float, *, watched: bool = False) -> int:
    """A small request at the beginning, another one later, and what came of the first until then."""
    arrivals = arrivals_of(batch_of([Asked(0.0, 10, 20), Asked(until_s, 10, 20)]), number)
    return events.bring(handle_of(state, arrivals), 0, 0, int(watched))


def test_what_came_of_a_request_is_told() -> None:
    """Nothing but the passing of time, the end of an answer that is read, no place for the request, or for its end."""
    pools = [pool_of(context_of_100())]
    state = state_of(pools, seed=0, places=1)
    assert bring_and_advance(state, 0, 0.0) == events.HAPPENED
    assert bring_and_advance(state, 1, 0.0) == events.NO_ROOM
    assert events.advance(state, np.inf)
    assert state.counts[ENDED] == 1
    assert bring_and_advance(state, 2, np.inf, watched=True) == events.ANSWERED
    tight = state_of(pools, seed=0, ended=8)
    told = [bring_and_advance(tight, number, 0.0) for number in range(4)]
    tight.counts[ENDED] = 7
    told.append(bring_and_advance(tight, 4, np.inf))
    tight.counts[ENDED] = 8
    told.append(bring_and_advance(tight, 5, np.inf))
    assert told == [events.HAPPENED] * 4 + [events.STOPPED, events.NO_ROOM]


def test_the_heap_stays_a_heap() -> None:
    """At many moments of a busy fleet with deaths: nobody ends before the one at the top, and each knows its place."""
    rng = np.random.default_rng(2)
    state = state_of([pool_of(context_of_100(), instances=30), pool_of(context_of_100(), instances=7)], seed=0)
    now_s = 0.0
    for number in range(600):
        now_s += float(rng.exponential(0.01))
        events.advance(state, now_s)
        bring(state, number, now_s, pool=number % 2)
        if number % 37 == 0:
            events.die(state, int(rng.integers(37)), now_s, now_s + 1.0)
        heap = state.heap[: state.counts[HEAP]]
        assert state.instances["heap_at"][heap].tolist() == list(range(len(heap)))
        assert sorted(heap.tolist()) == np.flatnonzero(state.instances["run_steps"]).tolist()
        times = state.instances["event_s"][heap]
        assert (times[(np.arange(1, len(heap)) - 1) // 2] <= times[1:]).all()


def test_ends_come_in_their_order() -> None:
    """Over all instances."""
    state = state_of([pool_of(context_of_100(), instances=9), pool_of(context_of_100(), pool=Pool.SHORT)], seed=0)
    batch = random_batch(500, rate_per_s=100.0, seed=1, prompt=(5, 60))
    events.feed(state, arrivals_of(batch, 0), np.arange(500) % 2, 0)
    events.advance(state, np.inf)
    ends = state.ended["end_s"][: state.counts[ENDED]]
    assert len(ends) == 500
    assert (np.diff(ends) >= 0).all()
