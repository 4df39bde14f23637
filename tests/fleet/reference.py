"""A vLLM engine told plainly, to hold the compiled one against: token by token, step by step, one object a request.

It follows the rules of vLLM's scheduler (v1/core/sched/scheduler.py) in their order and takes no shortcut; it shares
nothing with `extproc.fleet` but the nouns. Here too are the few ways in which the tests of this folder play requests
through either of the two.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, nan
from typing import Any, NamedTuple

import numpy as np

from extproc.fleet import events
from extproc.fleet.handle import arrivals_of
from extproc.fleet.state import ENDED, VACANT, State, grown, state_of
from extproc.fleet.values import ABSENT, Batch, InstanceSpec, Ints, Outcome, Overflow, PoolSpec, StepTimes
from extproc.routing.values import Pool

BLOCK = 16
NAMED = 512


class Asked(NamedTuple):
    """A request as it comes."""

    arrival_s: float
    prompt: int
    output: int
    declared: int = ABSENT
    names: tuple[int, ...] = ()


class Came(NamedTuple):
    """What became of it."""

    outcome: int
    scheduled_s: float
    first_token_s: float
    end_s: float
    output: int
    preemptions: int
    cached: int


@dataclass(eq=False)
class Request:
    """A request in flight."""

    number: int
    prompt: int
    target: int
    outcome: int
    names: tuple[int, ...]
    tokens: int
    """Prompt and what was written so far."""
    computed: int = 0
    """Tokens whose KV is there."""
    to_prefill: int = 0
    """Tokens it had when it was last admitted."""
    own_blocks: int = 0
    """Blocks that only it holds."""
    shared: list[int] = field(default_factory=list)
    """Names of the cached prefix blocks it holds, from the first on."""
    scheduled_s: float = nan
    first_token_s: float = nan
    preemptions: int = 0
    cached: int = 0

    @property
    def prefills(self) -> bool:
        """Whether some of the tokens it was admitted with are still to be computed."""
        return self.computed < self.to_prefill


class ReferenceEngine:
    """One engine. Time is told to it: `begin` a step, `end` it when `step_end_s` has come."""

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        self.cache: dict[int, int] = {}
        """Users of each cached prefix block."""
        self.unused: OrderedDict[int, None] = OrderedDict()
        """Cached blocks that nobody uses, the longest unused first."""
        self.came: dict[int, Came] = {}
        self.step_end_s: float | None = None
        self.scheduled: list[tuple[Request, int]] = []
        self.most = 0
        """Tokens of a step that one prompt gets."""
        self.steps = self.preemptions = self.generated = self.prefilled = 0

    @property
    def used_blocks(self) -> int:
        """In somebody's hands, so that they cannot be given to another."""
        users = sum(1 for count in self.cache.values() if count)
        return sum(request.own_blocks for request in self.running) + users * (NAMED // BLOCK)

    @property
    def free_blocks(self) -> int:
        """Unused prefixes included: they are given up when their room is needed."""
        return self.spec.kv_blocks - self.used_blocks

    def submit(self, number: int, asked: Asked) -> None:
        """A request comes: refuse it or let it wait, by the limits of the API server."""
        spec = self.spec
        room = spec.max_model_len - asked.prompt
        wanted = asked.output if asked.declared == ABSENT else min(asked.output, asked.declared)
        refused = room < 1 or asked.declared > spec.max_model_len
        refused |= spec.overflow is Overflow.REJECT and asked.declared > room
        target = min(wanted, room)
        if refused:
            self._refuse(number, asked, Outcome.REJECTED_LENGTH)
        elif ceil((asked.prompt + target - 1) / BLOCK) > spec.kv_blocks:
            self._refuse(number, asked, Outcome.FAILED)
        elif spec.max_queued_requests is not None and len(self.running) + len(self.waiting) >= spec.max_queued_requests:
            self._refuse(number, asked, Outcome.REJECTED_BUSY)
        else:
            outcome = Outcome.TRUNCATED if wanted > room else Outcome.COMPLETED
            names = asked.names if spec.prefix_caching else ()
            self.waiting.append(Request(number, asked.prompt, target, outcome, names, tokens=asked.prompt))

    def begin(self, now_s: float) -> None:
        """Choose what the next step computes; nothing where nobody is there."""
        self.scheduled = []
        alone = len(self.running) + len(self.waiting) <= 1
        self.most = (not alone and self.spec.long_prefill_token_threshold) or self.spec.max_num_batched_tokens
        preempted = self._schedule_running()
        if not preempted:
            self._schedule_waiting(now_s)
        self._evict()
        self.step_end_s = now_s + self._step_s() if self.scheduled else None

    def end(self) -> None:
        """The step is over: each request has its tokens computed, and whoever has all of them computed writes one."""
        assert self.step_end_s is not None
        self.steps += 1
        joined = []
        for request, count in self.scheduled:
            first = request.prefills
            request.computed += count
            if request.computed == request.tokens:
                request.tokens += 1
                self.generated += 1
                if first:
                    joined.append(request)
                    request.first_token_s = (
                        self.step_end_s if np.isnan(request.first_token_s) else request.first_token_s
                    )
        gone = [request for request, _ in self.scheduled if request.tokens == request.prompt + request.target]
        for request in gone:
            if request not in joined:
                self._finish(request)
        for request in joined:
            self._keep(request)
            if request in gone:
                self._finish(request)

    def _refuse(self, number: int, asked: Asked, outcome: Outcome) -> None:
        self.came[number] = Came(outcome, nan, nan, asked.arrival_s, 0, 0, 0)

    def _schedule_running(self) -> bool:
        """Everybody in order, prompts last; where blocks run out the last admitted one goes, until it fits."""
        preempted = False
        for request, count in self._counts():
            while request in self.running and self._more_blocks(request, count) > self.free_blocks:
                preempted = True
                self._preempt_last()
            if request in self.running:
                request.own_blocks += self._more_blocks(request, count)
                self.scheduled.append((request, count))
        return preempted

    def _counts(self) -> list[tuple[Request, int]]:
        """What running requests get of the next step: who decodes one token, prompts what is left, bounded each."""
        budget, counts = self.spec.max_num_batched_tokens, []
        for request in sorted(self.running, key=lambda request: request.prefills):
            count = min(request.tokens - request.computed, budget, self.most)
            budget -= count
            if count:
                counts.append((request, count))
        return counts

    def _schedule_waiting(self, now_s: float) -> None:
        """First come, first served: whoever does not fit lets nobody pass."""
        spec = self.spec
        budget = spec.max_num_batched_tokens - sum(count for _, count in self.scheduled)
        while self.waiting and budget > 0 and len(self.running) < min(spec.max_num_seqs, spec.max_num_batched_tokens):
            request = self.waiting[0]
            hits = self._hits(request)
            count = min(request.tokens - NAMED * len(hits), budget, self.most)
            must_fit = request.tokens if spec.reserve_full_sequence else NAMED * len(hits) + count
            woken = sum(self.cache[name] == 0 for name in hits) * (NAMED // BLOCK)
            needed = ceil(must_fit / BLOCK) - len(hits) * (NAMED // BLOCK)
            kept_free = int(spec.watermark * spec.kv_blocks) if self.running else 0
            if needed > self.free_blocks - woken - kept_free:
                return
            self.waiting.popleft()
            self._admit(request, hits, count, now_s)
            budget -= count

    def _admit(self, request: Request, hits: list[int], count: int, now_s: float) -> None:
        for name in hits:
            self.cache[name] += 1
            self.unused.pop(name, None)
        request.shared = hits
        if np.isnan(request.scheduled_s):
            request.scheduled_s, request.cached = now_s, NAMED * len(hits)
        request.computed, request.to_prefill = NAMED * len(hits), request.tokens
        request.own_blocks = self._more_blocks(request, count)
        self.running.append(request)
        self.scheduled.append((request, count))

    def _more_blocks(self, request: Request, count: int) -> int:
        have = request.own_blocks + len(request.shared) * (NAMED // BLOCK)
        return ceil((request.computed + count) / BLOCK) - have

    def _preempt_last(self) -> Request:
        """Its blocks are freed, it is computed anew, and it comes first among those that wait."""
        request = self.running.pop()
        self.scheduled = [(one, count) for one, count in self.scheduled if one is not request]
        self._release(request)
        request.computed = 0
        request.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(request)
        return request

    def _finish(self, request: Request) -> None:
        assert self.step_end_s is not None
        self.running.remove(request)
        self._release(request)
        times = (request.scheduled_s, request.first_token_s, self.step_end_s)
        written = request.tokens - request.prompt
        self.came[request.number] = Came(request.outcome, *times, written, request.preemptions, request.cached)

    def _hits(self, request: Request) -> list[int]:
        """Cached blocks from the first on; at least one token is left to compute."""
        hits: list[int] = []
        for number, name in enumerate(request.names):
            if name not in self.cache or NAMED * (number + 1) > request.tokens - 1:
                break
            hits.append(name)
        return hits

    def _keep(self, request: Request) -> None:
        """A computed prompt's whole blocks are cached, up to the first that somebody else has put there meanwhile."""
        for name in request.names[len(request.shared) : request.prompt // NAMED]:
            if name in self.cache:
                return
            self.cache[name] = 1
            request.shared.append(name)
            request.own_blocks -= NAMED // BLOCK

    def _release(self, request: Request) -> None:
        """The end of a prompt is given up before its beginning."""
        for name in reversed(request.shared):
            self.cache[name] -= 1
            if self.cache[name] == 0:
                self.unused[name] = None
        request.shared, request.own_blocks = [], 0

    def _evict(self) -> None:
        while len(self.unused) * (NAMED // BLOCK) > self.free_blocks:
            name, _ = self.unused.popitem(last=False)
            del self.cache[name]

    def _step_s(self) -> float:
        """As `StepTimes` defines it."""
        steps = self.spec.steps
        tokens = sum(count for _, count in self.scheduled)
        seconds = float(steps.dense_s[tokens] + steps.sequences_s[len(self.scheduled)])
        mixed_s = steps.mixed_kv_s if any(request.prefills for request, _ in self.scheduled) else 0.0
        for request, count in self.scheduled:
            if request.prefills:
                self.prefilled += count
                seconds += steps.pair_s * count * (request.computed + count / 2) + steps.earlier_s * request.computed
            else:
                seconds += (steps.kv_s + mixed_s) * request.tokens
        return seconds


def play_reference(
    spec: InstanceSpec, asked: Sequence[Asked], *, instances: int = 1
) -> tuple[list[ReferenceEngine], list[Came]]:
    """All requests, in order, over instances in turn, until everything has ended."""
    engines = [ReferenceEngine(spec) for _ in range(instances)]
    turn = 0
    for number, one in enumerate(asked):
        for engine in engines:
            run_until(engine, one.arrival_s)
        engine = engines[turn % instances]
        engine.submit(number, one)
        turn += number not in engine.came or engine.came[number].outcome == Outcome.REJECTED_BUSY
        if engine.step_end_s is None:
            engine.begin(one.arrival_s)
    for engine in engines:
        run_until(engine, float("inf"))
    came = {number: what for engine in engines for number, what in engine.came.items()}
    return engines, [came[number] for number in range(len(asked))]


def run_until(engine: ReferenceEngine, until_s: float) -> None:
    """Steps that end up to a time, each followed by the next."""
    while engine.step_end_s is not None and engine.step_end_s <= until_s:
        now_s = engine.step_end_s
        engine.end()
        engine.begin(now_s)


def spec_of(
    *,
    kv_blocks: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    steps: StepTimes | None = None,
    max_model_len: int = 1 << 20,
    **others: Any,
) -> InstanceSpec:
    """An instance whose steps take times that give each kind of work away."""
    if steps is None:
        tokens, sequences = np.arange(max_num_batched_tokens + 1), np.arange(max_num_seqs + 1)
        dense_s = np.maximum(0.01, 0.0007 * tokens) + 1e-5 * tokens**1.1
        steps = StepTimes(
            dense_s, (3e-4 * sequences**0.9).astype(np.float64), kv_s=2e-6, pair_s=3e-7, earlier_s=5e-7, mixed_kv_s=1e-6
        )
    return InstanceSpec(
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_blocks=kv_blocks,
        steps=steps,
        **others,
    )


def pool_of(spec: InstanceSpec, *, instances: int = 1, pool: Pool = Pool.LONG, **others: Any) -> PoolSpec:
    """Instances alike."""
    return PoolSpec(pool, instances, spec, **others)


def batch_of(asked: Sequence[Asked]) -> Batch:
    """The same requests as columns."""
    names = [np.array(one.names, np.int64) for one in asked]
    return Batch(
        np.array([one.arrival_s for one in asked], np.float64),
        np.array([one.prompt for one in asked], np.int64),
        np.array([one.output for one in asked], np.int64),
        np.array([one.declared for one in asked], np.int64),
        np.zeros(len(asked), np.int8),
        np.cumsum([0, *(len(each) for each in names)]).astype(np.int64),
        np.concatenate([*names, np.zeros(0, np.int64)]),
    )


@dataclass(frozen=True)
class Fixed:
    """Traffic that was drawn before."""

    batch: Batch

    def batches(self, *, seed: int, requests: int) -> Iterator[Batch]:
        """All of it, in two pieces."""
        assert requests == len(self.batch.arrival_s)
        for begin, end in ((0, requests // 2), (requests // 2, requests)):
            starts = self.batch.prefix_from
            columns: list[Any] = [column[begin:end] for column in self.batch[:5]]
            columns += [None if starts is None else starts[begin : end + 1], self.batch.prefixes]
            yield Batch(*columns)


def random_batch(
    requests: int,
    *,
    rate_per_s: float,
    seed: int,
    prompt: tuple[int, int] = (20, 400),
    output: tuple[int, int] = (5, 80),
) -> Batch:
    """Poisson arrivals with uniform lengths that declare nothing."""
    rng = np.random.default_rng(seed)
    return Batch(
        np.cumsum(rng.exponential(1 / rate_per_s, requests)),
        rng.integers(*prompt, requests, endpoint=True),
        rng.integers(*output, requests, endpoint=True),
        np.full(requests, ABSENT, np.int64),
        np.zeros(requests, np.int8),
    )


def play(pools: Sequence[PoolSpec], batch: Batch, routed: Ints | None = None, *, seed: int = 0) -> tuple[State, Any]:
    """Requests through the compiled fleet until all has ended: its state, and the records by number of request."""
    state = state_of(pools, seed=seed)
    taken: list[Any] = []
    chosen = np.zeros(len(batch.arrival_s), np.int64) if routed is None else routed
    arrivals, done = arrivals_of(batch, 0), 0
    while (done := events.feed(state, arrivals, chosen, done)) < len(chosen):
        state = _emptied(state, taken)
    while not events.advance(state, float("inf")):
        state = _emptied(state, taken)
    _emptied(state, taken)
    records = np.concatenate(taken)
    return state, records[np.argsort(records["number"], kind="stable")]


def _emptied(state: State, taken: list[Any]) -> State:
    """Take what has ended, and make room."""
    taken.append(state.ended[: state.counts[ENDED]].copy())
    state.counts[ENDED] = 0
    return state if state.counts[VACANT] else grown(state)


def assert_at_rest(state: State, spec: InstanceSpec) -> None:
    """Nobody runs or waits, no block is held, and nothing is left behind."""
    instances = state.instances
    for name in ("running", "decoding", "waiting", "base_sum", "run_steps"):
        assert not instances[name].any(), name
    assert (instances["free"] == spec.kv_blocks).all()
    assert (instances["head"] == -1).all()
    assert (instances["tail"] == -1).all()
    assert not state.phases.any()
    assert state.counts[VACANT] == len(state.requests)
    assert not state.prefixes["users"].any()
