"""The memory of a simulated fleet, as arrays that compiled code works on; knows no rule of any scheduler.

One record for each instance and each request in flight: what is in flight bounds the memory, not what has been.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from extproc.fleet.values import BLOCK_TOKENS, Balancing, Floats, Overflow, PoolSpec

Records: TypeAlias = Any
"""An array of records: compiled code reads and writes their fields as attributes."""
Int32s = npt.NDArray[np.int32]
NOBODY = -1
"""In place of a request's or an instance's position."""

REQUEST = np.dtype(
    [
        ("number", "i8"),
        ("arrival_s", "f8"),
        ("scheduled_s", "f8"),
        ("first_token_s", "f8"),
        ("turn", "i8"),  # of its admission, by its instance's count
        ("base", "i8"),  # while decoding: its tokens, written ones included, less the steps of its instance
        ("prompt", "i4"),
        ("target", "i4"),  # tokens it will write
        ("known", "i4"),  # while waiting or prefilling: prompt and what was written before a preemption
        ("computed", "i4"),  # while prefilling: tokens whose KV is there
        ("chunk", "i4"),  # of those, in the step that runs
        ("preemptions", "i4"),
        ("cached", "i4"),
        ("after", "i4"),  # the next one in the queue of its instance
        ("names", "i4"),  # of prefix blocks, in `prefixes`
        ("shared", "i4"),  # prefix blocks it holds in the cache
        ("outcome", "i1"),
        ("watched", "i1"),
    ],
    align=True,
)
INSTANCE = np.dtype(
    [
        ("event_s", "f8"),  # when its run of steps ends
        ("run_start_s", "f8"),
        ("step_s", "f8"),  # of the first step of the run
        ("growth_s", "f8"),  # by which each further step of the run is longer
        ("down_until_s", "f8"),
        ("steps", "i8"),  # done so far
        ("admitted", "i8"),  # so far, whoever was preempted several times
        ("base_sum", "i8"),  # over decoding requests
        ("free", "i8"),  # blocks, those of unused prefixes included
        ("idle", "i8"),  # blocks of prefixes that nobody uses now
        ("pool", "i4"),
        ("heap_at", "i4"),
        ("run_steps", "i4"),  # 0 while nothing runs
        ("running", "i4"),  # requests; the first `decoding` of them have their prompt behind them
        ("decoding", "i4"),
        ("waiting", "i4"),
        ("head", "i4"),
        ("tail", "i4"),
        ("oldest", "i4"),  # of the prefixes nobody uses
        ("newest", "i4"),
    ],
    align=True,
)
POOL = np.dtype(
    [
        ("watermark", "i8"),
        ("blocks", "i8"),
        ("kv_s", "f8"),
        ("pair_s", "f8"),
        ("earlier_s", "f8"),
        ("mixed_kv_s", "f8"),
        ("max_model_len", "i4"),
        ("max_num_seqs", "i4"),
        ("max_num_batched_tokens", "i4"),
        ("long_prefill", "i4"),  # most tokens of a step for one prompt where there are others; 0 for all
        ("max_queued", "i4"),
        ("first", "i4"),  # its instances stand together
        ("instances", "i4"),
        ("turn", "i4"),
        ("balancing", "i1"),
        ("reserve_full", "i1"),
        ("rejects", "i1"),
        ("caches", "i1"),
        ("preemptions", "i8"),
        ("refused", "i8"),  # by its instances' queue limit
        ("steps", "i8"),
        ("generated", "i8"),
        ("prefilled", "i8"),
    ],
    align=True,
)
FINISHED = np.dtype(
    [
        ("number", "i8"),
        ("arrival_s", "f8"),
        ("scheduled_s", "f8"),
        ("first_token_s", "f8"),
        ("end_s", "f8"),
        ("pool", "i4"),
        ("instance", "i4"),
        ("outcome", "i4"),
        ("prompt", "i4"),
        ("output", "i4"),
        ("preemptions", "i4"),
        ("cached", "i4"),
        ("watched", "i4"),
    ],
    align=True,
)
PREFIX = np.dtype(
    [("name", "i8"), ("instance", "i4"), ("users", "i4"), ("before", "i4"), ("after", "i4"), ("chain", "i4")],
    align=True,
)
"""A cached block of 512 tokens. `chain` links those of one bucket of the hash table, `before` and `after` by age those
that nobody uses."""

VACANT, ENDED, WATCHED, HEAP, RANDOM, UNUSED_PREFIX = range(6)
"""Positions in `counts`: requests that may be added, ended ones not yet taken away, watched ones among them, instances
with an event, the state of the random numbers, the first of the prefix records that hold nothing."""
_COUNTS = 6
_BALANCINGS = (Balancing.ROUND_ROBIN, Balancing.LEAST_REQUEST, Balancing.RANDOM)


class State(NamedTuple):
    """All of it. Compiled code takes it as one argument."""

    pools: Records
    dense_s: Floats
    """[pool, tokens]"""
    sequences_s: Floats
    """[pool, sequences]"""
    instances: Records
    running: Int32s
    """[instance, place]: requests, those first that decode; prompts partly computed in the order of their admission."""
    finish_at: npt.NDArray[np.int64]
    """[instance, place]: the step of the instance after which a decoding request ends."""
    phases: Int32s
    """[instance, 16]: decoding requests by base modulo 16, which tells when each needs its next block."""
    heap: Int32s
    """Instances by the time of their event, the soonest first."""
    requests: Records
    vacant: Int32s
    """Places in `requests` that are free."""
    ended: Records
    prefixes: Records
    """Cached prefix blocks."""
    buckets: Int32s
    """Hash table: the first prefix of each bucket."""
    names: npt.NDArray[np.int64]
    """[place in requests, block]: names of each request's prefix blocks."""
    held: Int32s
    """[place in requests, block]: where in `prefixes` those that it holds stand."""
    counts: npt.NDArray[np.int64]


def state_of(pools: Sequence[PoolSpec], *, seed: int, places: int = 4096, ended: int = 65_536) -> State:
    """An idle fleet.

    Args:
        pools: what it consists of.
        seed: of the draws of the balancing.
        places: requests in flight for which there is room at first.
        ended: ended requests for which there is room; more than any instance can run.
    """
    count = sum(pool.instances for pool in pools)
    most = max(pool.instance.max_num_seqs for pool in pools)
    counts = np.zeros(_COUNTS, np.int64)
    counts[VACANT], counts[RANDOM] = places, 2 * seed + 1
    caching = any(pool.instance.prefix_caching for pool in pools)
    prefixes = _prefixes(pools)
    return State(
        pools=_pools(pools),
        dense_s=_table([pool.instance.steps.dense_s for pool in pools]),
        sequences_s=_table([pool.instance.steps.sequences_s for pool in pools]),
        instances=_instances(pools, count),
        running=np.full((count, most), NOBODY, np.int32),
        finish_at=np.zeros((count, most), np.int64),
        phases=np.zeros((count, BLOCK_TOKENS), np.int32),
        heap=np.zeros(count, np.int32),
        requests=np.zeros(places, REQUEST),
        vacant=np.arange(places, dtype=np.int32)[::-1].copy(),
        ended=np.zeros(max(ended, 2 * most), FINISHED),
        prefixes=prefixes,
        buckets=np.full(1 << len(prefixes).bit_length(), NOBODY, np.int32),
        names=np.zeros((places if caching else 1, _MOST_NAMES if caching else 1), np.int64),
        held=np.zeros((places if caching else 1, _MOST_NAMES if caching else 1), np.int32),
        counts=counts,
    )


_MOST_NAMES = 256
"""Prefix blocks that a request can have: 131,072 tokens."""


def grown(state: State) -> State:
    """The same with room for twice as many requests in flight."""
    places = len(state.requests)
    vacant = np.zeros(2 * places, np.int32)
    free = int(state.counts[VACANT])
    vacant[:places] = np.arange(2 * places - 1, places - 1, -1, dtype=np.int32)
    vacant[places : places + free] = state.vacant[:free]
    state.counts[VACANT] = places + free
    wide = len(state.names) > 1
    return state._replace(
        requests=np.concatenate([state.requests, np.zeros(places, REQUEST)]),
        vacant=vacant,
        names=np.concatenate([state.names, np.zeros_like(state.names)]) if wide else state.names,
        held=np.concatenate([state.held, np.zeros_like(state.held)]) if wide else state.held,
    )


def _pools(pools: Sequence[PoolSpec]) -> Records:
    records = np.zeros(len(pools), POOL)
    first = 0
    for record, pool in zip(records, pools, strict=True):
        spec = pool.instance
        record["watermark"] = int(spec.watermark * spec.kv_blocks)
        record["blocks"], record["max_model_len"] = spec.kv_blocks, spec.max_model_len
        for name in ("kv_s", "pair_s", "earlier_s", "mixed_kv_s"):
            record[name] = getattr(spec.steps, name)
        record["max_num_batched_tokens"] = spec.max_num_batched_tokens
        record["long_prefill"] = spec.long_prefill_token_threshold
        record["max_num_seqs"] = min(spec.max_num_seqs, spec.max_num_batched_tokens)
        record["max_queued"] = np.iinfo(np.int32).max if spec.max_queued_requests is None else spec.max_queued_requests
        record["first"], record["instances"] = first, pool.instances
        record["balancing"] = _BALANCINGS.index(pool.balancing)
        record["reserve_full"], record["caches"] = spec.reserve_full_sequence, spec.prefix_caching
        record["rejects"] = spec.overflow is Overflow.REJECT
        first += pool.instances
    return records


def _instances(pools: Sequence[PoolSpec], count: int) -> Records:
    records = np.zeros(count, INSTANCE)
    records["pool"] = np.repeat(np.arange(len(pools)), [pool.instances for pool in pools])
    records["free"] = np.repeat([pool.instance.kv_blocks for pool in pools], [pool.instances for pool in pools])
    for name in ("heap_at", "head", "tail", "oldest", "newest"):
        records[name] = NOBODY
    return records


def _table(rows: Sequence[Floats]) -> Floats:
    """Rows of different length as one array; what a pool's limits rule out is not a number."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _prefixes(pools: Sequence[PoolSpec]) -> Records:
    """As many as the instances can hold, each linked to the next."""
    caching = [pool for pool in pools if pool.instance.prefix_caching]
    places = 1 + sum(pool.instances * (pool.instance.kv_blocks // PREFIX_BLOCKS) for pool in caching)
    records = np.zeros(places, PREFIX)
    records["chain"] = np.arange(1, places + 1)
    records["chain"][-1] = NOBODY
    return records


PREFIX_TOKENS = 512
"""Of a named prefix block, as Mooncake's traces name them."""
PREFIX_BLOCKS = PREFIX_TOKENS // BLOCK_TOKENS
