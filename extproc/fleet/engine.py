"""One vLLM V1 engine in compiled form: what each step runs, how long it takes, who waits, who is preempted.

The rules are those of vLLM 0.33 (v1/core/sched/scheduler.py): a token budget for each step; running requests first;
prompts in chunks; first come, first served, so that a head of the queue which does not fit blocks the rest; a request
is admitted if free blocks hold all of its tokens so far; where blocks run out the youngest is preempted, its blocks
freed, and it is computed anew. Where long prompts are held back (--long-prefill-token-threshold) several are partly
computed at a time: each gets its tokens after all that decode, where vLLM goes by admission. Steps whose batch does not
change are taken together: their times form an arithmetic series, and blocks are needed in a pattern of period 16. Knows
one instance at a time, and neither pools' balancing nor where requests come from.
"""

import math

from extproc.fleet import prefixcache
from extproc.fleet.compiled import compiled
from extproc.fleet.state import ENDED, NOBODY, PREFIX_BLOCKS, PREFIX_TOKENS, VACANT, WATCHED, State
from extproc.fleet.values import BLOCK_TOKENS

_PERIOD = BLOCK_TOKENS


@compiled
def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + BLOCK_TOKENS - 1) // BLOCK_TOKENS


@compiled
def enqueue(state: State, at: int, place: int) -> None:
    """Let a request wait at the end of the queue."""
    instance = state.instances[at]
    state.requests[place].after = NOBODY
    if instance.tail == NOBODY:
        instance.head = place
    else:
        state.requests[instance.tail].after = place
    instance.tail = place
    instance.waiting += 1


@compiled
def schedule(state: State, at: int, now_s: float) -> None:
    """Begin the next step of an instance, or the run of steps up to where its batch changes; idle if there is none."""
    instance = state.instances[at]
    most = _most_of_a_prompt(state, at)
    _go_on(state, at, most)
    preempted = _make_room(state, at)
    if not preempted:
        _admit(state, at, most, now_s)
    if state.pools[instance.pool].caches:
        prefixcache.evict(state, at)
    if instance.running == 0:
        instance.run_steps = 0
        return
    _time(state, at)
    instance.run_start_s = now_s
    # Where somebody was preempted, the next step may admit.
    changes = preempted or instance.running > instance.decoding or _may_come_to_fit(state, at)
    instance.run_steps = 1 if changes else _unchanged_steps(state, at)
    instance.event_s = now_s + _duration(state, at, instance.run_steps)


@compiled
def _may_come_to_fit(state: State, at: int) -> bool:
    """Whether the head of the queue may fit although fewer blocks are free: with less of it found, less must fit."""
    pool = state.pools[state.instances[at].pool]
    return state.instances[at].waiting > 0 and pool.caches and not pool.reserve_full


@compiled
def cut_run(state: State, at: int, now_s: float) -> bool:
    """Let the run end with the step that is under way, because somebody came; whether that changes its end."""
    instance = state.instances[at]
    steps = steps_by(state, at, now_s)
    if steps >= instance.run_steps:
        return False
    instance.run_steps = steps
    instance.event_s = instance.run_start_s + _duration(state, at, steps)
    return True


@compiled
def steps_by(state: State, at: int, now_s: float) -> int:
    """The step of the run that is under way at a time: the first that ends then or later, from 1 on."""
    instance = state.instances[at]
    if instance.run_steps <= 1:
        return instance.run_steps
    elapsed_s, half = now_s - instance.run_start_s, instance.growth_s / 2
    linear = instance.step_s - half
    if half > 0:
        steps = math.ceil((math.sqrt(linear * linear + 4 * half * elapsed_s) - linear) / (2 * half))
    else:
        steps = math.ceil(elapsed_s / instance.step_s)
    steps = min(max(1, steps), instance.run_steps)
    while steps < instance.run_steps and _duration(state, at, steps) < elapsed_s:
        steps += 1
    while steps > 1 and _duration(state, at, steps - 1) >= elapsed_s:
        steps -= 1
    return steps


@compiled
def blocks_after(state: State, at: int, steps: int) -> int:
    """Blocks that a run has taken after so many of its steps, beyond those of its first one."""
    instance = state.instances[at]
    cycles, rest = (steps - 1) // _PERIOD, (steps - 1) % _PERIOD
    taken = cycles * instance.decoding
    for step in range(1, rest + 1):
        taken += state.phases[at, (1 - instance.steps - step) & (_PERIOD - 1)]
    return taken


@compiled
def finish_run(state: State, at: int) -> None:
    """Take in what the steps of a run have brought: tokens, blocks, ended requests."""
    instance = state.instances[at]
    pool = state.pools[instance.pool]
    instance.free -= blocks_after(state, at, instance.run_steps)
    if pool.caches:  # before anybody leaves: what the run took is gone
        prefixcache.evict(state, at)
    instance.steps += instance.run_steps
    pool.steps += instance.run_steps
    pool.generated += instance.decoding * instance.run_steps
    _end_decoding(state, at)
    if instance.running > instance.decoding:
        _take_chunks(state, at)
    instance.run_steps = 0


@compiled
def kill(state: State, at: int, now_s: float, outcome: int) -> None:
    """End all requests of an instance, and forget its cache. How much they had written is not told."""
    instance = state.instances[at]
    for number in range(instance.running):
        prefixcache.release(state, state.running[at, number], at)
        write_down(state, at, state.running[at, number], now_s, outcome, 0)
    while instance.head != NOBODY:
        write_down(state, at, _dequeue(state, at), now_s, outcome, 0)
    instance.running, instance.decoding, instance.base_sum, instance.run_steps = 0, 0, 0, 0
    instance.free = 0
    prefixcache.evict(state, at)
    instance.free = state.pools[instance.pool].blocks
    state.phases[at, :] = 0


@compiled
def write_down(state: State, at: int, place: int, now_s: float, outcome: int, output_tokens: int) -> None:
    """Write down what became of a request, and make its place vacant."""
    request, ended = state.requests[place], state.ended[state.counts[ENDED]]
    ended.number, ended.arrival_s, ended.scheduled_s = request.number, request.arrival_s, request.scheduled_s
    ended.first_token_s, ended.end_s = request.first_token_s, now_s
    ended.instance, ended.outcome, ended.prompt = at, outcome, request.prompt
    ended.pool = NOBODY if at == NOBODY else state.instances[at].pool
    ended.output, ended.preemptions, ended.cached = output_tokens, request.preemptions, request.cached
    ended.watched = request.watched
    state.counts[ENDED] += 1
    state.counts[WATCHED] += request.watched
    state.vacant[state.counts[VACANT]] = place
    state.counts[VACANT] += 1


@compiled
def _most_of_a_prompt(state: State, at: int) -> int:
    """Tokens that one prompt gets in the next step at most. One that is alone is not held back (vLLM 0.33)."""
    instance = state.instances[at]
    pool = state.pools[instance.pool]
    bounded = pool.long_prefill > 0 and instance.running + instance.waiting > 1
    return pool.long_prefill if bounded else pool.max_num_batched_tokens


@compiled
def _go_on(state: State, at: int, most: int) -> None:
    """Give prompts that are partly computed their tokens of the next step: those left by whoever decodes, in turn."""
    instance = state.instances[at]
    budget = state.pools[instance.pool].max_num_batched_tokens - instance.decoding
    for number in range(instance.decoding, instance.running):
        request = state.requests[state.running[at, number]]
        request.chunk = min(request.known - request.computed, budget, most)
        budget -= request.chunk


@compiled
def _make_room(state: State, at: int) -> bool:
    """Take the blocks that running requests need for one more step, preempting the youngest until that fits."""
    instance = state.instances[at]
    preempted = False
    needed = _needed(state, at)
    while needed > instance.free:
        _preempt_youngest(state, at)
        preempted = True
        needed = _needed(state, at)
    instance.free -= needed
    return preempted


@compiled
def _needed(state: State, at: int) -> int:
    instance = state.instances[at]
    needed = state.phases[at, (1 - instance.steps) & (_PERIOD - 1)]
    for number in range(instance.decoding, instance.running):
        request = state.requests[state.running[at, number]]
        needed += blocks_of(request.computed + request.chunk) - blocks_of(request.computed)
    return needed


@compiled
def _youngest(state: State, at: int) -> int:
    """Where the last admitted request stands: at the end, unless others have overtaken a prompt that is held back."""
    instance = state.instances[at]
    youngest = instance.running - 1
    if state.pools[instance.pool].long_prefill > 0:
        for number in range(instance.running - 1):
            one, other = state.running[at, number], state.running[at, youngest]
            if state.requests[one].turn > state.requests[other].turn:
                youngest = number
    return youngest


@compiled
def _preempt_youngest(state: State, at: int) -> None:
    """Free the blocks of the last admitted request and let it wait at the head of the queue: it is computed anew."""
    instance = state.instances[at]
    youngest = _youngest(state, at)
    place = state.running[at, youngest]
    request = state.requests[place]
    instance.running -= 1
    for number in range(youngest, instance.running):
        state.running[at, number] = state.running[at, number + 1]
        state.finish_at[at, number] = state.finish_at[at, number + 1]
    if youngest < instance.decoding:
        instance.decoding -= 1
        request.known = request.base + instance.steps
        state.phases[at, request.base & (_PERIOD - 1)] -= 1
        instance.base_sum -= request.base
        _free(state, at, place, request.known - 1)
    else:
        _free(state, at, place, request.computed)
    request.computed = 0
    request.preemptions += 1
    state.pools[instance.pool].preemptions += 1
    request.after = instance.head
    instance.head = place
    if instance.tail == NOBODY:
        instance.tail = place
    instance.waiting += 1


@compiled
def _free(state: State, at: int, place: int, kv_tokens: int) -> None:
    """Give back the blocks of a request with so many tokens in the KV cache."""
    state.instances[at].free += blocks_of(kv_tokens) - PREFIX_BLOCKS * state.requests[place].shared
    prefixcache.release(state, place, at)


@compiled
def _admit(state: State, at: int, most: int, now_s: float) -> None:
    """Let waiting requests in, in their order, as far as budget, blocks and sequences reach."""
    instance = state.instances[at]
    pool = state.pools[instance.pool]
    budget = pool.max_num_batched_tokens - instance.decoding
    for number in range(instance.decoding, instance.running):
        budget -= state.requests[state.running[at, number]].chunk
    while budget > 0 and instance.head != NOBODY and instance.running < pool.max_num_seqs:
        place = instance.head
        cached, idle = prefixcache.found(state, place, at) if pool.caches else (0, 0)
        if not _fits(state, at, cached, idle, min(budget, most)):
            return
        _dequeue(state, at)
        budget -= _begin(state, at, place, cached, min(budget, most), now_s)


@compiled
def _fits(state: State, at: int, cached: int, idle: int, budget: int) -> bool:
    """Whether free blocks hold all tokens of the head of the queue, and the watermark beside them."""
    instance = state.instances[at]
    pool = state.pools[instance.pool]
    tokens = state.requests[instance.head].known
    if not pool.reserve_full:
        tokens = min(tokens, PREFIX_TOKENS * cached + budget)
    kept_free = pool.watermark if instance.running > 0 else 0
    return blocks_of(tokens) - PREFIX_BLOCKS * cached <= instance.free - PREFIX_BLOCKS * idle - kept_free


@compiled
def _dequeue(state: State, at: int) -> int:
    instance = state.instances[at]
    place = instance.head
    instance.head = state.requests[place].after
    if instance.head == NOBODY:
        instance.tail = NOBODY
    instance.waiting -= 1
    return place


@compiled
def _begin(state: State, at: int, place: int, cached: int, budget: int, now_s: float) -> int:
    """Start to compute a request; the tokens it gets in this step."""
    request, instance = state.requests[place], state.instances[at]
    if math.isnan(request.scheduled_s):
        request.scheduled_s = now_s
        request.cached = PREFIX_TOKENS * cached
    if cached:
        prefixcache.take(state, place, at, cached)
    request.computed = PREFIX_TOKENS * cached
    request.chunk = min(request.known - request.computed, budget)
    instance.free -= blocks_of(request.computed + request.chunk) - blocks_of(request.computed)
    state.running[at, instance.running] = place
    instance.running += 1
    request.turn = instance.admitted
    instance.admitted += 1
    return request.chunk


@compiled
def _time(state: State, at: int) -> None:
    """How long the next step takes, and how much longer each after it, by `StepTimes`."""
    instance = state.instances[at]
    pool = state.pools[instance.pool]
    resident = instance.base_sum + instance.decoding * instance.steps
    tokens, sequences, seconds = instance.decoding, instance.decoding, pool.kv_s * resident
    for number in range(instance.decoding, instance.running):
        request = state.requests[state.running[at, number]]
        if request.chunk == 0:
            continue
        tokens += request.chunk
        sequences += 1
        seconds += pool.pair_s * request.chunk * (request.computed + request.chunk / 2)
        seconds += pool.earlier_s * request.computed
        pool.prefilled += request.chunk
    if sequences > instance.decoding:
        seconds += pool.mixed_kv_s * resident
    seconds += state.dense_s[instance.pool, tokens] + state.sequences_s[instance.pool, sequences]
    instance.step_s, instance.growth_s = seconds, pool.kv_s * instance.decoding


@compiled
def _duration(state: State, at: int, steps: int) -> float:
    """Of the first steps of a run: an arithmetic series."""
    instance = state.instances[at]
    return steps * instance.step_s + instance.growth_s * (steps * (steps - 1) / 2)


@compiled
def _unchanged_steps(state: State, at: int) -> int:
    """Steps until a request ends or blocks run out; at least one."""
    instance = state.instances[at]
    soonest = state.finish_at[at, 0]
    for number in range(1, instance.decoding):
        soonest = min(soonest, state.finish_at[at, number])
    steps = soonest - instance.steps
    if blocks_after(state, at, steps) <= instance.free:
        return steps
    steps = 1 + _PERIOD * (instance.free // instance.decoding)
    while blocks_after(state, at, steps + 1) <= instance.free:
        steps += 1
    return steps


@compiled
def _end_decoding(state: State, at: int) -> None:
    """Take out the requests that have written all they will, and close the ranks."""
    instance = state.instances[at]
    stays, decoding = 0, instance.decoding
    for number in range(instance.running):
        place = state.running[at, number]
        if number < decoding and state.finish_at[at, number] == instance.steps:
            _leave(state, at, place)
        else:
            state.running[at, stays] = place
            state.finish_at[at, stays] = state.finish_at[at, number]
            stays += 1
    instance.running = stays


@compiled
def _leave(state: State, at: int, place: int) -> None:
    request, instance = state.requests[place], state.instances[at]
    instance.decoding -= 1
    instance.base_sum -= request.base
    state.phases[at, request.base & (_PERIOD - 1)] -= 1
    _free(state, at, place, request.prompt + request.target - 1)
    write_down(state, at, place, instance.event_s, request.outcome, request.target)


@compiled
def _take_chunks(state: State, at: int) -> None:
    """Prompts that were computed to their end write their first token and decode from now on."""
    instance = state.instances[at]
    first, held = instance.decoding, 0
    for number in range(first, instance.running):
        place = state.running[at, number]
        request = state.requests[place]
        request.computed += request.chunk
        if request.computed < request.known:
            state.running[at, instance.decoding + held] = place
            held += 1
        else:
            _overtake(state, at, place, held)
    instance.running = instance.decoding + held


@compiled
def _overtake(state: State, at: int, place: int, held: int) -> None:
    """Let a request decode, before so many that are still held back by their prompts."""
    instance = state.instances[at]
    rank = instance.decoding
    if not _join(state, at, place, rank):
        return
    for number in range(rank + held, rank, -1):
        state.running[at, number] = state.running[at, number - 1]
    state.running[at, rank] = place


@compiled
def _join(state: State, at: int, place: int, rank: int) -> bool:
    """Let a request decode that has written the token after its prompt; False if that was its last."""
    request, instance = state.requests[place], state.instances[at]
    state.pools[instance.pool].generated += 1
    if math.isnan(request.first_token_s):
        request.first_token_s = instance.event_s
    if state.pools[instance.pool].caches:
        prefixcache.keep(state, place, at)
    if request.known + 1 == request.prompt + request.target:
        _free(state, at, place, request.known)
        write_down(state, at, place, instance.event_s, request.outcome, request.target)
        return False
    request.base = request.known + 1 - instance.steps
    state.finish_at[at, rank] = request.prompt + request.target - request.base
    state.phases[at, request.base & (_PERIOD - 1)] += 1
    instance.base_sum += request.base
    instance.decoding += 1
    return True
