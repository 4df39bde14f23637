"""Runs a workload through a fleet: requests come, are routed, scheduled, answered, and teach the router.

Owns the simulated time and all randomness of a run; the same fleet, workload, dispatch and seed give the same result.
Memory is bounded by what is in flight. Knows no prices and draws no conclusions.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from extproc.fleet import engine, events
from extproc.fleet.dispatch import LONG, SHORT, Dispatch, Routed, Single, budgets, position, usage_of
from extproc.fleet.handle import Arrivals, arrivals_of, handle_of
from extproc.fleet.state import ENDED, FINISHED, VACANT, WATCHED, Records, State, grown, state_of
from extproc.fleet.steered import Course
from extproc.fleet.tally import PoolTally
from extproc.fleet.values import Batch, Floats, Ints, Outcome, PoolSpec, Slo
from extproc.routing.values import Decision

_SPAN_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class RunRules:
    """How long, and what is measured."""

    requests: int
    seed: int = 0
    warm_up_share: float = 0.1
    """Of the requests, the first, whose outcomes are not counted: the fleet begins empty."""
    slo: Slo = field(default_factory=Slo)
    sample_s: float = 1.0
    """Between two looks at running, waiting and KV blocks; doubled whenever there are more than 400 of them."""
    drain_s: float = 3600.0
    """Simulated time after the last arrival until what is still in flight counts as unfinished."""
    deaths: tuple["Death", ...] = ()
    """Of engines at set times, in order; beside those that happen by chance."""


class Death(NamedTuple):
    """An engine dies, and is back later."""

    at_s: float
    instance: int
    """Its position among all of the fleet, those of the short pool first."""
    until_s: float


@dataclass(slots=True)
class Run:
    """What a run came to."""

    pools: list[PoolTally]
    requests: int
    simulated_s: float
    under: int = 0
    """Requests after the warm-up that went to the short pool and do not fit the threshold."""
    over: int = 0
    """Those that went to the long pool and fit."""
    counted: int = 0
    """Requests after the warm-up."""
    course: Course | None = None
    """What was steered; None where nobody steers."""


class Traffic(Protocol):
    """What comes: a workload, or requests that were drawn before."""

    def batches(self, *, seed: int, requests: int) -> Iterator[Batch]:
        """So many requests in the order of their arrival; the same seed gives the same."""
        ...


class Simulation:
    """One run. Iterate `steps` to its end, then ask for the `run`. Not thread-safe."""

    def __init__(
        self,
        pools: Sequence[PoolSpec],
        workload: Traffic,
        dispatch: Dispatch | Routed | None = None,
        *,
        rules: RunRules,
        threshold_tokens: int | None = None,
    ) -> None:
        """A fleet at rest.

        Args:
            pools: one, or the short and the long one in this order.
            workload: what comes.
            dispatch: who decides the pool; None for a single one.
            rules: of the run.
            threshold_tokens: by which misroutes are judged; None to judge none.
        """
        self.run = Run([PoolTally() for _ in pools], rules.requests, 0.0)
        self._specs, self._workload, self._rules = pools, workload, rules
        self._dispatch, self._threshold_tokens = dispatch or Single(), threshold_tokens
        self._state: State = state_of(pools, seed=rules.seed)
        self._warm_up = int(rules.warm_up_share * rules.requests)
        self._watching: dict[int, Decision] = {}
        self._seen = 0
        self._sample_s, self._next_sample_s = rules.sample_s, 0.0
        by_chance = _deaths(pools, np.random.default_rng((rules.seed, 1)))
        self._deaths = heapq.merge(rules.deaths, by_chance)
        self._next_death = next(self._deaths)
        self._steered = self._dispatch.steered if isinstance(self._dispatch, Routed) else None
        self._next_look_s = np.inf if self._steered is None else 0.0
        self.run.course = None if self._steered is None else self._steered.course

    def steps(self) -> Iterator[int]:
        """Simulate; yields requests that have come so far, every now and then."""
        number, last_s = 0, 0.0
        for batch in self._workload.batches(seed=self._rules.seed, requests=self._rules.requests):
            for part in _parts(batch, self._part()):
                self._bring(part, number)
                number += len(part.arrival_s)
                last_s = float(part.arrival_s[-1])
                yield number
        self._drain(last_s + self._rules.drain_s)
        self.run.simulated_s = last_s

    def so_far(self) -> Run:
        """The run with everything that has ended by now."""
        self._make_room()
        return self.run

    def _part(self) -> int:
        return _ROUTED_AT_ONCE if isinstance(self._dispatch, Routed) else _FED_AT_ONCE

    def _bring(self, batch: Batch, first: int) -> None:
        """Requests in order, with looks at the fleet and deaths of engines between them."""
        decisions = self._dispatch.decide(batch, first) if isinstance(self._dispatch, Routed) else iter(())
        begin = 0
        while begin < len(batch.arrival_s):
            at_s = min(self._next_sample_s, self._next_death.at_s, self._next_look_s)
            end = int(np.searchsorted(batch.arrival_s, at_s, side="right"))
            if end > begin:
                self._submit(_slice(batch, begin, end), first + begin, islice(decisions, end - begin))
            begin = max(begin, end)
            if begin < len(batch.arrival_s):
                self._happen(at_s)

    def _happen(self, at_s: float) -> None:
        self._advance(at_s)
        if at_s == self._next_death.at_s:
            self._die(self._next_death)
            self._next_death = next(self._deaths)
        if at_s == self._next_sample_s:
            self._look(at_s)
        if self._steered is not None and at_s == self._next_look_s:
            self._steered.look(self._state, at_s)
            self._next_look_s = at_s + self._steered.every_s

    def _submit(self, batch: Batch, first: int, decisions: Iterator[Decision]) -> None:
        if isinstance(self._dispatch, Routed):
            self._route(decisions, batch, first)
            return
        pools = self._dispatch.pools_of(batch)
        self._judge(batch, pools, first)
        arrivals, done = arrivals_of(batch, first), 0
        while (done := events.feed(self._state, arrivals, pools, done)) < len(pools):
            self._make_room()

    def _route(self, decisions: Iterator[Decision], batch: Batch, first: int) -> None:
        """One by one: each decision may rest on answers that came just before it."""
        self._advance(float(batch.arrival_s[0]))
        arrivals, pools = arrivals_of(batch, first), list[int]()
        handle = handle_of(self._state, arrivals)
        for at, decision in enumerate(decisions):
            pools.append(position(decision.pool))
            if decision.observe:
                self._watching[first + at] = decision
            happened = events.bring(handle, at, pools[-1], int(decision.observe))
            if happened == events.ANSWERED:
                self._learn()
            elif happened != events.HAPPENED:
                self._bring_with_room(arrivals, at, pools[-1], int(decision.observe), happened)
                handle = handle_of(self._state, arrivals)  # room was made: the state may be another
        self._judge(batch, np.array(pools), first)

    def _bring_with_room(self, arrivals: Arrivals, at: int, pool: int, watched: int, happened: int) -> None:
        """Make room until a request has come and time has passed, for either of which there was none."""
        while happened == events.NO_ROOM:
            self._make_room()
            happened = events.bring(handle_of(self._state, arrivals), at, pool, watched)
        self._advance(float(arrivals.arrival_s[min(at + 1, len(arrivals.arrival_s) - 1)]))

    def _advance(self, until_s: float) -> None:
        while not events.advance(self._state, until_s):
            self._make_room()
        if self._state.counts[WATCHED]:
            self._learn()

    def _make_room(self) -> None:
        """Take away what has ended; more places where there are no more."""
        self._learn()
        ended = self._state.ended[: self._state.counts[ENDED]]
        for number, (tally, spec) in enumerate(zip(self.run.pools, self._specs, strict=True)):
            counts = (ended["pool"] == number) & (ended["number"] >= self._warm_up)
            tally.take(ended[counts], self._rules.slo, spec.instance.api_s)
        self._state.counts[ENDED], self._seen = 0, 0
        if not self._state.counts[VACANT]:
            self._state = grown(self._state)

    def _learn(self) -> None:
        """Give the router the answers that it reads."""
        if self._state.counts[WATCHED] and isinstance(self._dispatch, Routed):
            new = self._state.ended[self._seen : self._state.counts[ENDED]]
            for row in new[new["watched"] > 0]:
                self._complete(self._dispatch, row)
        self._seen = int(self._state.counts[ENDED])
        self._state.counts[WATCHED] = 0

    def _complete(self, dispatch: Routed, row: Records) -> None:
        number, outcome = int(row["number"]), int(row["outcome"])
        decision = self._watching.pop(number)
        if outcome > Outcome.TRUNCATED:
            dispatch.complete(decision, None)
            return
        written = int(row["output"])
        cut = outcome == Outcome.TRUNCATED or written == decision.facts.output_tokens
        dispatch.complete(decision, usage_of(int(row["prompt"]), written, cut=cut))

    def _judge(self, batch: Batch, pools: Ints, first: int) -> None:
        counted = np.arange(first, first + len(pools)) >= self._warm_up
        self.run.counted += int(np.count_nonzero(counted))
        if self._threshold_tokens is not None:
            fits = budgets(batch) <= self._threshold_tokens
            self.run.under += int(np.count_nonzero(counted & ~fits & (pools == SHORT)))
            self.run.over += int(np.count_nonzero(counted & fits & (pools == LONG)))

    def _look(self, at_s: float) -> None:
        """A sample of the state of each pool; every other one is dropped where there are too many."""
        for seen, tally, spec in zip(events.look(self._state, at_s), self.run.pools, self._specs, strict=True):
            series = tally.series
            series.time_s.append(at_s)
            series.running.append(float(seen[0]))
            series.waiting.append(float(seen[1]))
            series.kv_share.append(float(seen[2]) / (spec.instances * spec.instance.kv_blocks))
            if len(series.time_s) > 2 * _SPAN_SAMPLES:
                for column in (series.time_s, series.running, series.waiting, series.kv_share):
                    del column[1::2]
        if len(self.run.pools[0].series.time_s) == _SPAN_SAMPLES + 1:
            self._sample_s = self.run.pools[0].series.time_s[1] - self.run.pools[0].series.time_s[0]
        self._next_sample_s = at_s + self._sample_s

    def _die(self, death: Death) -> None:
        self._make_room_for(death.instance)
        events.die(self._state, death.instance, death.at_s, death.until_s)

    def _make_room_for(self, instance: int) -> None:
        """Room to write down all requests of an instance."""
        self._make_room()
        record = self._state.instances[instance]
        if (in_flight := int(record["running"] + record["waiting"])) > len(self._state.ended):
            self._state = self._state._replace(ended=np.zeros(in_flight, FINISHED))

    def _drain(self, until_s: float) -> None:
        """Let what is in flight end; what has not by then is unfinished."""
        self._advance(until_s)
        for instance in np.flatnonzero(self._state.instances["running"] + self._state.instances["waiting"]).tolist():
            self._make_room_for(instance)
            engine.kill(self._state, instance, until_s, int(Outcome.UNFINISHED))
        self._make_room()


_FED_AT_ONCE, _ROUTED_AT_ONCE = 65_536, 2_048


def simulate(
    pools: Sequence[PoolSpec],
    workload: Traffic,
    dispatch: Dispatch | Routed | None = None,
    *,
    rules: RunRules,
    threshold_tokens: int | None = None,
) -> Run:
    """A whole run; see `Simulation`."""
    simulation = Simulation(pools, workload, dispatch, rules=rules, threshold_tokens=threshold_tokens)
    for _ in simulation.steps():
        pass
    return simulation.run


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    for begin in range(0, len(batch.arrival_s), size):
        yield _slice(batch, begin, min(begin + size, len(batch.arrival_s)))


def _slice(batch: Batch, begin: int, end: int) -> Batch:
    """Some of the requests; the names of all prefixes stay, since positions in them do."""
    return Batch(
        batch.arrival_s[begin:end],
        batch.prompt_tokens[begin:end],
        batch.output_tokens[begin:end],
        batch.declared_tokens[begin:end],
        batch.categories[begin:end],
        None if batch.prefix_from is None else batch.prefix_from[begin : end + 1],
        batch.prefixes,
    )


def _deaths(pools: Sequence[PoolSpec], random: np.random.Generator) -> Iterator[Death]:
    """Of engines by chance, in order; the last never comes."""
    rates: Floats = np.repeat(
        [pool.instance.deaths_per_hour / 3600 for pool in pools], [pool.instances for pool in pools]
    )
    backs = np.repeat([pool.instance.restart_s for pool in pools], [pool.instances for pool in pools])
    total, now_s = float(rates.sum()), 0.0
    while total > 0:
        now_s += float(random.exponential(1 / total))
        instance = int(random.choice(len(rates), p=rates / total))
        yield Death(now_s, instance, now_s + float(backs[instance]))
    yield Death(np.inf, 0, np.inf)
