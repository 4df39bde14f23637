"""The clock of a simulated fleet in compiled form: which instance's run ends next, and where a new request goes.

Events are taken in the order of (time, instance), so that the same inputs give the same outputs. An event touches one
instance; the others are not looked at, however many there are. Knows no routing: the pool is an argument.
"""

import numpy as np

from extproc.fleet import engine
from extproc.fleet.compiled import compiled
from extproc.fleet.handle import Arrivals, Handle
from extproc.fleet.state import ENDED, HEAP, NOBODY, RANDOM, VACANT, WATCHED, State
from extproc.fleet.values import ABSENT, Balancing, Floats, Ints, Outcome

_COMPLETED, _TRUNCATED = int(Outcome.COMPLETED), int(Outcome.TRUNCATED)
_TOO_LONG, _BUSY, _FAILED = int(Outcome.REJECTED_LENGTH), int(Outcome.REJECTED_BUSY), int(Outcome.FAILED)
_ROUND_ROBIN, _LEAST_REQUEST = range(2)
NO_ROOM, STOPPED, HAPPENED, ANSWERED = range(4)
"""What came of bringing a request and letting time pass: no room for it, and nothing done; brought, but no room for all
that ends before that time; all done; all done, and among what ended is an answer that is read."""
assert tuple(Balancing)[:2] == (Balancing.ROUND_ROBIN, Balancing.LEAST_REQUEST)


@compiled
def advance(state: State, until_s: float) -> bool:
    """Let everything happen that happens up to a time; False if there is no more room for ended requests before that.

    After False take away what ended, and call again.
    """
    most = state.running.shape[1]
    while state.counts[HEAP] > 0:
        at = state.heap[0]
        event_s = state.instances[at].event_s
        if event_s > until_s:
            return True
        if state.counts[ENDED] + most > len(state.ended):
            return False
        engine.finish_run(state, at)
        engine.schedule(state, at, event_s)
        if state.instances[at].run_steps:
            _sift_down(state, 0)
        else:
            _drop(state, at)
    return True


@compiled
def submit(
    state: State,
    number: int,
    pool: int,
    now_s: float,
    prompt_tokens: int,
    output_tokens: int,
    declared_tokens: int,
    watched: int,
    names: Ints,
) -> int:
    """Bring a request to a pool, and let its instance begin with it if it is idle. `names` are of its prefix blocks.

    There must be a vacant place and room for one more ended request, and all before its arrival must have happened.
    Returns its place, or `NOBODY` if it was refused.
    """
    place = _place(state, number, now_s, prompt_tokens, watched)
    if state.pools[pool].caches:
        _name(state, place, names)
    outcome = _limit(state, place, pool, output_tokens, declared_tokens)
    at = _choose(state, pool, now_s) if outcome <= _TRUNCATED else NOBODY
    if outcome <= _TRUNCATED and (at == NOBODY or _in_flight(state, at) >= state.pools[pool].max_queued):
        outcome = _BUSY
        state.pools[pool].refused += 0 if at == NOBODY else 1
    if outcome > _TRUNCATED:
        engine.write_down(state, at, place, now_s, outcome, 0)
        state.ended[state.counts[ENDED] - 1].pool = pool
        return NOBODY
    state.requests[place].outcome = outcome
    engine.enqueue(state, at, place)
    _rouse(state, at, now_s)
    return place


@compiled
def bring(handle: Handle, at: int, pool: int, watched: int) -> int:
    """Bring one request to a pool and let time pass until the next is due, all in one call; what came of it.

    `at` is its position among the arrivals; after the last of them no time passes. `watched` is 1 where its answer is
    read, else 0.
    """
    state, arrivals = handle.state, handle.arrivals
    if state.counts[VACANT] <= 0 or state.counts[ENDED] >= len(state.ended):
        return NO_ROOM
    _submit_at(state, arrivals, at, pool, watched)
    if not advance(state, arrivals.arrival_s[min(at + 1, len(arrivals.arrival_s) - 1)]):
        return STOPPED
    return ANSWERED if state.counts[WATCHED] else HAPPENED


@compiled
def feed(state: State, arrivals: Arrivals, pools: Ints, begin: int) -> int:
    """Bring requests from a position on, each to its pool, time passing between; where in them room ran out, if it did.

    Returns the position of the first that was not brought: their number if all were.
    """
    for at in range(begin, len(pools)):
        room = state.counts[VACANT] > 0 and state.counts[ENDED] < len(state.ended)
        if not room or not advance(state, arrivals.arrival_s[at]):
            return at
        if state.counts[ENDED] >= len(state.ended):
            return at
        _submit_at(state, arrivals, at, pools[at], 0)
    return len(pools)


@compiled
def _submit_at(state: State, arrivals: Arrivals, at: int, pool: int, watched: int) -> None:
    """`submit` with what stands at a position of the arrivals."""
    names = arrivals.prefixes
    if len(arrivals.prefix_from) > 0:
        names = names[arrivals.prefix_from[at] : arrivals.prefix_from[at + 1]]
    submit(
        state,
        arrivals.first + at,
        pool,
        arrivals.arrival_s[at],
        arrivals.prompt_tokens[at],
        arrivals.output_tokens[at],
        arrivals.declared_tokens[at],
        watched,
        names,
    )


@compiled
def die(state: State, at: int, now_s: float, until_s: float) -> None:
    """Let an engine die: its requests fail, and it takes none until a time. Needs room for all of its requests."""
    engine.kill(state, at, now_s, _FAILED)
    state.instances[at].down_until_s = until_s
    if state.instances[at].heap_at != NOBODY:
        _drop(state, at)


@compiled
def look(state: State, now_s: float) -> Floats:
    """Running and waiting requests and blocks in use of each pool at a time up to which all has happened: [pool, 3]."""
    seen = np.zeros((len(state.pools), 3))
    for at in range(len(state.instances)):
        instance = state.instances[at]
        used = state.pools[instance.pool].blocks - instance.free
        if instance.run_steps > 1:
            used += engine.blocks_after(state, at, engine.steps_by(state, at, now_s))
        seen[instance.pool, 0] += instance.running
        seen[instance.pool, 1] += instance.waiting
        seen[instance.pool, 2] += used
    return seen


@compiled
def _place(state: State, number: int, now_s: float, prompt_tokens: int, watched: int) -> int:
    state.counts[VACANT] -= 1
    place = state.vacant[state.counts[VACANT]]
    request = state.requests[place]
    request.number, request.arrival_s, request.prompt, request.known = number, now_s, prompt_tokens, prompt_tokens
    request.scheduled_s = request.first_token_s = float("nan")
    request.computed = request.preemptions = request.cached = request.shared = request.names = 0
    request.watched = watched
    return place


@compiled
def _name(state: State, place: int, names: Ints) -> None:
    count = min(len(names), state.names.shape[1])
    state.names[place, :count] = names[:count]
    state.requests[place].names = count


@compiled
def _limit(state: State, place: int, pool: int, output_tokens: int, declared_tokens: int) -> int:
    """Set what a request will write, by vLLM's limits; what becomes of it.

    A declared output above max_model_len is a 400 in every release, a prompt that leaves no room too; a sum above it is
    one up to 0.31, and shortens the output from 0.32 on.
    """
    rules, request = state.pools[pool], state.requests[place]
    room = rules.max_model_len - request.prompt
    wanted = output_tokens if declared_tokens == ABSENT else min(output_tokens, declared_tokens)
    if room < 1 or declared_tokens > rules.max_model_len or (rules.rejects and declared_tokens > room):
        return _TOO_LONG
    request.target = max(1, min(wanted, room))
    if engine.blocks_of(request.prompt + request.target - 1) > rules.blocks:  # the last token's KV is never computed
        return _FAILED  # vLLM would wait for ever: such an instance does not start, unless its blocks were overridden
    return _TRUNCATED if wanted > room else _COMPLETED


@compiled
def _choose(state: State, pool: int, now_s: float) -> int:
    """An instance that is up, by the pool's balancing; `NOBODY` if none is."""
    rules = state.pools[pool]
    count = rules.instances
    if rules.balancing == _ROUND_ROBIN:
        start = rules.turn
        rules.turn = (rules.turn + 1) % count
    else:
        start = _draw(state, count)
    first = _up(state, rules.first, start, count, now_s)
    if rules.balancing != _LEAST_REQUEST or first == NOBODY:
        return first
    second = _up(state, rules.first, _draw(state, count), count, now_s)
    return second if _in_flight(state, second) < _in_flight(state, first) else first


@compiled
def _up(state: State, first: int, start: int, count: int, now_s: float) -> int:
    """The first instance from a start on that is up."""
    for step in range(count):
        at = first + (start + step) % count
        if state.instances[at].down_until_s <= now_s:
            return at
    return NOBODY


@compiled
def _in_flight(state: State, at: int) -> int:
    return state.instances[at].running + state.instances[at].waiting


@compiled
def _draw(state: State, count: int) -> int:
    """A number below `count` (Marsaglia's xorshift of 64 bits)."""
    value = state.counts[RANDOM]
    value ^= value << 13
    value ^= (value >> 7) & 0x01FFFFFFFFFFFFFF
    value ^= value << 17
    state.counts[RANDOM] = value
    return ((value >> 11) & 0x1FFFFFFFFFFFFF) % count


@compiled
def _rouse(state: State, at: int, now_s: float) -> None:
    """Let an instance take notice of a new request: at once if idle, else after the step that is under way."""
    instance = state.instances[at]
    if instance.run_steps == 0:
        engine.schedule(state, at, now_s)
        _push(state, at)
    elif instance.waiting == 1 and engine.cut_run(state, at, now_s):
        _sift_up(state, instance.heap_at)


@compiled
def _before(state: State, one: int, other: int) -> bool:
    """Whether the event of one instance comes before that of another."""
    one_s, other_s = state.instances[one].event_s, state.instances[other].event_s
    return one_s < other_s or (one_s == other_s and one < other)


@compiled
def _push(state: State, at: int) -> None:
    _put(state, state.counts[HEAP], at)
    state.counts[HEAP] += 1
    _sift_up(state, state.counts[HEAP] - 1)


@compiled
def _drop(state: State, at: int) -> None:
    """Take an instance out of the heap."""
    position = state.instances[at].heap_at
    state.instances[at].heap_at = NOBODY
    state.counts[HEAP] -= 1
    last = state.heap[state.counts[HEAP]]
    if last != at:
        _put(state, position, last)
        _sift_up(state, position)
        _sift_down(state, state.instances[last].heap_at)


@compiled
def _put(state: State, position: int, at: int) -> None:
    state.heap[position] = at
    state.instances[at].heap_at = position


@compiled
def _sift_up(state: State, position: int) -> None:
    at = state.heap[position]
    while position > 0 and _before(state, at, state.heap[(position - 1) // 2]):
        _put(state, position, state.heap[(position - 1) // 2])
        position = (position - 1) // 2
    _put(state, position, at)


@compiled
def _sift_down(state: State, position: int) -> None:
    at, size = state.heap[position], state.counts[HEAP]
    while 2 * position + 1 < size:
        child = 2 * position + 1
        if child + 1 < size and _before(state, state.heap[child + 1], state.heap[child]):
            child += 1
        if not _before(state, state.heap[child], at):
            break
        _put(state, position, state.heap[child])
        position = child
    _put(state, position, at)
