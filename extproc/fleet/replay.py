"""Drives simulated engines through the arrivals of a recorded run, and keeps every request; knows no files and no GPU.

An engine takes requests in between two steps. With asynchronous scheduling it has by then already scheduled the next
step, so that a request which finds it busy runs one step later than the queue alone would have it (vllm-project/vllm,
`v1/engine/core.py`, step_with_batch_queue).
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.fleet import engine, events
from extproc.fleet.recording import Requests, Timeline
from extproc.fleet.state import ENDED, PREFIX_TOKENS, State, state_of
from extproc.fleet.values import ABSENT, Floats, InstanceSpec, Ints, Outcome, PoolSpec
from extproc.routing.values import Pool

_MOST_PREFIXES = 256
_AFTER_S = 1e-6
"""After the end of a step: so that a request taken in then does not count as having come during it."""
_NOTHING: Ints = np.zeros(0, np.int64)


class Replayed(NamedTuple):
    """Columns beside those of the recorded requests, in seconds from the first arrival on."""

    queued_s: Floats
    """When the engine took it in."""
    first_token_s: Floats
    """NaN where the engine could not serve it; likewise below."""
    last_token_s: Floats
    scheduled_s: Floats
    preemptions: Ints
    timeline: Timeline

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which ran to their end."""
        return np.isfinite(self.last_token_s)


def replay(
    requests: Requests,
    instance: InstanceSpec,
    *,
    instances: int = 1,
    async_scheduling: bool = True,
    every_s: float = 1.0,
    texts: Ints | None = None,
) -> Replayed:
    """The same arrivals and lengths through simulated instances.

    Args:
        requests: what came, and how much each wrote.
        instance: every one of them. Where it caches prefixes, a preempted request finds what is left of its own prompt;
            prompts that share text are known by `texts` alone.
        instances: data-parallel engines, each with a scheduler of its own; requests take turns.
        async_scheduling: whether the next step is scheduled while one runs.
        every_s: distance of the samples of the timeline. As in a recording, a span in which no step ended has none.
        texts: a number for each prompt, equal where prompts are; None where all differ.
    """
    replay = _Replay(requests, instance, instances, async_scheduling=async_scheduling, every_s=every_s, texts=texts)
    return replay.run()


class _Replay:
    def __init__(
        self,
        requests: Requests,
        instance: InstanceSpec,
        instances: int,
        *,
        async_scheduling: bool,
        every_s: float,
        texts: Ints | None,
    ) -> None:
        count = len(requests.arrival_s)
        pools = [PoolSpec(Pool.LONG, 1, instance)] * instances
        self._state: State = state_of(pools, seed=0, places=count, ended=count + 2 * instance.max_num_seqs)
        self._requests, self._instances, self._lags, self._every_s = requests, instances, async_scheduling, every_s
        self._blocks = instances * instance.kv_blocks
        self._queued_s = requests.arrival_s.copy()
        self._texts = np.arange(count) if texts is None else texts
        self._ticks, self._steps = 0, 0
        self._looks: list[tuple[float, float, float, float]] = []

    def run(self) -> Replayed:
        """All of it, to the last token."""
        due = [(at_s, number, False) for number, at_s in enumerate(self._requests.arrival_s.tolist())]
        while due:
            at_s, number, taken_in = heapq.heappop(due)
            self._advance(at_s)
            end_s = None if taken_in else self._step_end_s(number % self._instances, at_s)
            if end_s is not None:
                self._queued_s[number] = end_s
            if end_s is not None and self._lags:
                heapq.heappush(due, (end_s + _AFTER_S, number, True))
            else:
                self._submit(number, at_s)
        while np.any(self._state.instances["running"] + self._state.instances["waiting"]):
            self._advance(self._next_look_s())
        self._look(self._next_look_s())
        self._looks = self._looks or [(self._every_s, 0.0, 0.0, 0.0)]
        return self._result()

    def _next_look_s(self) -> float:
        return (self._ticks + 1) * self._every_s

    def _advance(self, until_s: float) -> None:
        while self._next_look_s() <= until_s:
            self._look(self._next_look_s())
        self._simulate(until_s)

    def _simulate(self, until_s: float) -> None:
        room_for_ended = events.advance(self._state, until_s)
        assert room_for_ended

    def _look(self, at_s: float) -> None:
        self._simulate(at_s)
        self._ticks += 1
        steps = self._steps_ended(at_s)
        if steps == self._steps:
            return
        self._steps = steps
        running, waiting, blocks = events.look(self._state, at_s).sum(axis=0).tolist()
        self._looks.append((at_s, running, waiting, blocks / self._blocks))

    def _steps_ended(self, at_s: float) -> int:
        """Of all engines together, so far: those of a run that is under way are all but the last begun."""
        records = self._state.instances
        begun = (engine.steps_by(self._state, at, at_s) - 1 for at in np.flatnonzero(records["run_steps"]).tolist())
        return int(records["steps"].sum()) + sum(begun)

    def _step_end_s(self, at: int, now_s: float) -> float | None:
        """When the step ends that an engine is in; None if it is idle."""
        record = self._state.instances[at]
        if not record["run_steps"]:
            return None
        steps = engine.steps_by(self._state, at, now_s)
        growth_s = record["growth_s"] * steps * (steps - 1) / 2
        return float(record["run_start_s"] + steps * record["step_s"] + growth_s)

    def _submit(self, number: int, at_s: float) -> None:
        prompt = int(self._requests.prompt_tokens[number])
        output = int(self._requests.output_tokens[number])
        names = _prefixes(int(self._texts[number]), prompt)
        events.submit(self._state, number, number % self._instances, at_s, prompt, output, ABSENT, 0, names)

    def _result(self) -> Replayed:
        ended = self._state.ended[: self._state.counts[ENDED]]
        ended = ended[np.argsort(ended["number"])]
        served = ended["outcome"] <= Outcome.TRUNCATED
        first, last = (np.where(served, ended[name], np.nan) for name in ("first_token_s", "end_s"))
        preemptions = ended["preemptions"].astype(np.int64)
        timeline = _timeline(self._looks, int(preemptions.sum()))
        return Replayed(self._queued_s, first, last, ended["scheduled_s"].copy(), preemptions, timeline)


def _prefixes(text: int, prompt_tokens: int) -> Ints:
    """Names of a prompt's blocks, which prompts of other texts do not have."""
    return text * _MOST_PREFIXES + np.arange(min(_MOST_PREFIXES, prompt_tokens // PREFIX_TOKENS), dtype=np.int64)


def _timeline(looks: Sequence[tuple[float, float, float, float]], preemptions: int) -> Timeline:
    time_s, running, waiting, kv_share = np.array(looks).T
    return Timeline(time_s, running, waiting, kv_share, preemptions)
