import numpy as np
import pytest

from extproc.fleet import events
from extproc.fleet.handle import arrivals_of, handle_of
from extproc.fleet.state import ENDED, State, state_of
from extproc.fleet.values import Batch
from tests.fleet.reference import Asked, batch_of, pool_of, random_batch, spec_of

POOLS = [pool_of(spec_of(kv_blocks=400, max_num_seqs=16, max_num_batched_tokens=256, prefix_caching=True), instances=2)]
NAMED = batch_of([Asked(0.1 * number, 1100, 5, names=(number % 3, 7 + number % 2)) for number in range(30)])
BARE = random_batch(30, rate_per_s=20.0, seed=1)


def ended(state: State) -> list[tuple[object, ...]]:
    """What became of all requests."""
    assert events.advance(state, np.inf)
    return [tuple(row.tolist()) for row in state.ended[: state.counts[ENDED]]]


@pytest.mark.parametrize("batch", [NAMED, BARE], ids=["with prefixes", "without"])
def test_requests_come_one_by_one_as_all_together(batch: Batch) -> None:
    """Numbers, lengths, prefix blocks and times of each are its own, by whichever way it comes."""
    together, single = (state_of(POOLS, seed=0) for _ in range(2))
    arrivals = arrivals_of(batch, 100)
    assert events.feed(together, arrivals, np.zeros(30, np.int64), 0) == 30
    handle = handle_of(single, arrivals)
    for at in range(30):
        events.bring(handle, at, 0, 0)
    found = ended(single)
    assert found == ended(together)
    assert {row[0] for row in found} == set(range(100, 130))
    assert any(single.ended["cached"][:30]) == (batch is NAMED)


def test_no_time_passes_after_the_last() -> None:
    """What has not come yet may come before anything else happens."""
    state = state_of(POOLS, seed=0)
    handle = handle_of(state, arrivals_of(BARE, 0))
    for at in range(30):
        events.bring(handle, at, 0, 0)
    busy = state.instances["event_s"][state.instances["run_steps"] > 0]
    assert (busy > BARE.arrival_s[-1]).all()


def test_prefixes_are_named_by_both_columns_or_not_at_all() -> None:
    """Names without the places where each request's begin are nobody's."""
    for nameless in (NAMED._replace(prefix_from=None), NAMED._replace(prefixes=None)):
        arrivals = arrivals_of(nameless, 0)
        assert len(arrivals.prefix_from) == len(arrivals.prefixes) == 0
