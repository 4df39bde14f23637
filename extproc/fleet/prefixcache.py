"""vLLM's prefix cache in compiled form: blocks of equal text are kept when a request ends, until room is needed.

Blocks that nobody uses count as free and are evicted oldest first, the end of a prompt before its beginning. Names are
those of a trace: blocks of 512 tokens, where vLLM's own have 16. Knows nothing of steps or queues.
"""

from typing import Any

from extproc.fleet.compiled import compiled
from extproc.fleet.state import NOBODY, PREFIX_BLOCKS, PREFIX_TOKENS, UNUSED_PREFIX, State

_MIX = 0x9E3779B97F4A7C15 - (1 << 64)
"""2⁶⁴ divided by the golden ratio, as a signed number: multiplying by it spreads names over the table (Knuth)."""


@compiled
def _bucket(state: State, instance: int, name: int) -> int:
    mixed = (name ^ (instance * 1_000_003)) * _MIX
    return ((mixed >> 29) ^ mixed) & (len(state.buckets) - 1)


@compiled
def _find(state: State, instance: int, name: int) -> int:
    """Where a prefix stands, or `NOBODY`."""
    at = state.buckets[_bucket(state, instance, name)]
    while at != NOBODY and (state.prefixes[at].name != name or state.prefixes[at].instance != instance):
        at = state.prefixes[at].chain
    return at


@compiled
def found(state: State, place: int, instance: int) -> tuple[int, int]:
    """How many of a request's prefix blocks are cached, and how many of those nobody uses.

    At least one token is left to compute, for its sake a prompt is never found whole.
    """
    request = state.requests[place]
    most = min(request.names, (request.known - 1) // PREFIX_TOKENS)
    count, idle = 0, 0
    while count < most:
        at = _find(state, instance, state.names[place, count])
        if at == NOBODY:
            break
        idle += state.prefixes[at].users == 0
        count += 1
    return count, idle


@compiled
def take(state: State, place: int, instance: int, count: int) -> None:
    """Let a request share the first `count` of its prefix blocks, which are cached."""
    record = state.instances[instance]
    for number in range(count):
        at = _find(state, instance, state.names[place, number])
        if state.prefixes[at].users == 0:
            _unlink(state, instance, at)
            record.free -= PREFIX_BLOCKS
            record.idle -= PREFIX_BLOCKS
        state.prefixes[at].users += 1
        state.held[place, number] = at
    state.requests[place].shared = count


@compiled
def keep(state: State, place: int, instance: int) -> None:
    """Put the rest of a computed prompt into the cache, up to the first block that another request has put there."""
    request = state.requests[place]
    for number in range(request.shared, min(request.names, request.prompt // PREFIX_TOKENS)):
        name = state.names[place, number]
        if _find(state, instance, name) != NOBODY:
            return
        state.held[place, number] = _insert(state, instance, name)
        request.shared = number + 1


@compiled
def release(state: State, place: int, instance: int) -> None:
    """End a request's share in its prefix blocks; those that nobody uses now may be evicted."""
    request, record = state.requests[place], state.instances[instance]
    for number in range(request.shared - 1, -1, -1):
        at = state.held[place, number]
        state.prefixes[at].users -= 1
        if state.prefixes[at].users == 0:
            _append(state, instance, at)
            record.free += PREFIX_BLOCKS
            record.idle += PREFIX_BLOCKS
    request.shared = 0


@compiled
def evict(state: State, instance: int) -> None:
    """Give up the oldest prefixes that nobody uses until they fit into what is free."""
    record = state.instances[instance]
    while record.idle > record.free:
        at = record.oldest
        _unlink(state, instance, at)
        record.idle -= PREFIX_BLOCKS
        _remove(state, instance, at)


@compiled
def _insert(state: State, instance: int, name: int) -> int:
    at = state.counts[UNUSED_PREFIX]
    prefix = state.prefixes[at]
    state.counts[UNUSED_PREFIX] = prefix.chain
    bucket = _bucket(state, instance, name)
    prefix.name, prefix.instance, prefix.users, prefix.chain = name, instance, 1, state.buckets[bucket]
    state.buckets[bucket] = at
    return at


@compiled
def _remove(state: State, instance: int, gone: int) -> None:
    bucket = _bucket(state, instance, state.prefixes[gone].name)
    at = state.buckets[bucket]
    if at == gone:
        state.buckets[bucket] = state.prefixes[gone].chain
    else:
        while state.prefixes[at].chain != gone:
            at = state.prefixes[at].chain
        state.prefixes[at].chain = state.prefixes[gone].chain
    state.prefixes[gone].chain = state.counts[UNUSED_PREFIX]
    state.counts[UNUSED_PREFIX] = gone


@compiled
def _append(state: State, instance: int, at: int) -> None:
    """Make a prefix the newest of those that nobody uses."""
    record, prefix = state.instances[instance], state.prefixes[at]
    prefix.before, prefix.after = record.newest, NOBODY
    if record.newest == NOBODY:
        record.oldest = at
    else:
        state.prefixes[record.newest].after = at
    record.newest = at


@compiled
def _unlink(state: State, instance: int, at: int) -> None:
    record: Any = state.instances[instance]
    prefix = state.prefixes[at]
    if prefix.before == NOBODY:
        record.oldest = prefix.after
    else:
        state.prefixes[prefix.before].after = prefix.after
    if prefix.after == NOBODY:
        record.newest = prefix.before
    else:
        state.prefixes[prefix.after].before = prefix.before
