"""Traffic that changes while a fleet stays as it is, and engines that die: what steering is for. Knows no steering.

Each scenario is a fleet as the planner sizes it for steady traffic, and eight minutes in which that traffic is not
steady. Hours are compressed to minutes, which is the harder case for a threshold that moves slowly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.presets import read_preset
from extproc.fleet.samples import Rows
from extproc.fleet.simulation import Death
from extproc.fleet.streams import Drawn
from extproc.fleet.values import Batch, Floats, Ints, PoolSpec, Slo
from extproc.routing.values import Pool

DURATION_S = 480.0
_PIECE_S = 1.0
"""Rates are constant for so long."""


@dataclass(frozen=True, slots=True)
class SteadyFleet:
    """Two pools that keep the objective under steady traffic."""

    name: str
    planned_by: str
    """The command that says how many instances; prices do not matter here."""
    model: str
    gpu: str
    tensor_parallel: int
    short: int
    """Instances."""
    long: int
    rate_per_s: float
    preset: str
    """Its traffic."""
    threshold_tokens: int
    short_max_model_len: int
    """Longer than the threshold, so that this may rise: costs nothing but KV cache that is there anyway."""
    long_max_model_len: int
    short_max_num_batched_tokens: int
    long_max_num_batched_tokens: int
    max_num_seqs: int
    thresholds: tuple[int, ...]
    """To compare with, in hindsight."""
    long_prefill_token_threshold: int = 0
    """In the long pool; 0 for no bound."""
    slo: Slo = field(default_factory=Slo)

    def pools(self) -> tuple[PoolSpec, PoolSpec]:
        """The short and the long one."""
        return self._pool(Pool.SHORT), self._pool(Pool.LONG)

    def _pool(self, pool: Pool) -> PoolSpec:
        catalog, short = builtin(), pool is Pool.SHORT
        spec = instance_of(
            catalog.model(self.model),
            catalog.gpu(self.gpu),
            self.tensor_parallel,
            max_model_len=self.short_max_model_len if short else self.long_max_model_len,
            max_num_batched_tokens=self.short_max_num_batched_tokens if short else self.long_max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            long_prefill_token_threshold=0 if short else self.long_prefill_token_threshold,
        )
        return PoolSpec(pool, self.short if short else self.long, spec)


Level = Callable[[float], tuple[float, float]]
"""At a time in seconds: how many requests come that fit the planned threshold, and how many that do not, in
multiples of the planned rates."""


class _Columns(NamedTuple):
    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    categories: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to a fleet."""

    name: str
    what: str
    fleet: SteadyFleet
    level: Level
    deaths: tuple[Death, ...] = ()
    duration_s: float = DURATION_S

    def draw(self, seed: int) -> Drawn:
        """Its requests; the same seed gives the same ones."""
        random = np.random.default_rng((seed, 5))
        begins = np.arange(0.0, self.duration_s, _PIECE_S)
        levels = np.array([self.level(begin_s + _PIECE_S / 2) for begin_s in begins.tolist()])
        rows, rate = _rows(self.fleet.preset), self.fleet.rate_per_s
        fits = rows.prompt_tokens + rows.output_tokens <= self.fleet.threshold_tokens
        parts = [
            _drawn(rows, np.flatnonzero(which), levels[:, column] * which.mean() * rate, random)
            for column, which in enumerate((fits, ~fits))
        ]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        arrival_s, prompts, outputs, categories = (column[order] for column in columns)
        return Drawn(Batch(arrival_s, prompts, outputs, outputs, categories))


def _drawn(rows: Rows, which: Ints, rates_per_s: Floats, random: np.random.Generator) -> _Columns:
    """Requests that come at random, at a rate for each piece of time; of some of the rows."""
    counts = random.poisson(rates_per_s * _PIECE_S)
    begins = np.repeat(np.arange(len(counts)) * _PIECE_S, counts)
    at = which[random.integers(0, len(which), len(begins))]
    times = begins + _PIECE_S * random.random(len(begins))
    return _Columns(times, rows.prompt_tokens[at], rows.output_tokens[at], rows.categories[at])


@cache
def _rows(preset: str) -> Rows:
    return read_preset(preset).rows


def steady(now_s: float) -> tuple[float, float]:  # noqa: ARG001 - nothing changes
    """As planned."""
    return 1.0, 1.0


def bursts(now_s: float) -> tuple[float, float]:
    """Every two minutes twice the traffic for 20 s."""
    level = 2.0 if now_s % 120.0 > 100.0 else 1.0  # noqa: PLR2004 - as the docstring says
    return level, level


def day(now_s: float) -> tuple[float, float]:
    """One day: from a third of the planned traffic to 1.25 of it and back."""
    level = 0.79 - 0.46 * math.cos(2.0 * math.pi * now_s / DURATION_S)
    return level, level


def longer(now_s: float) -> tuple[float, float]:
    """Short requests give way to long ones and come back: half as many, and 1.6 times the long ones, in the middle."""
    part = _trapezium(now_s / DURATION_S)
    return 1.0 - 0.5 * part, 1.0 + 0.6 * part


def shorter(now_s: float) -> tuple[float, float]:
    """The other way."""
    return longer(now_s)[::-1]


def turns(now_s: float) -> tuple[float, float]:
    """Every minute from 1.5 times the short requests and half the long ones to the reverse."""
    return (1.5, 0.5) if now_s % 120.0 < 60.0 else (0.5, 1.5)  # noqa: PLR2004 - as the docstring says


def quick_turns(now_s: float) -> tuple[float, float]:
    """The same every 15 s, twice and none."""
    return (2.0, 0.0) if now_s % 30.0 < 15.0 else (0.0, 2.0)  # noqa: PLR2004 - as the docstring says


def _trapezium(part: float) -> float:
    """0, then up to 1 from a sixth to a third of the time, and down again from two thirds on."""
    return float(np.interp(part, [1 / 6, 1 / 3, 2 / 3, 5 / 6], [0.0, 1.0, 1.0, 0.0]))


def half_dies(first: int, instances: int, *, from_s: float = 120.0, until_s: float = 300.0) -> tuple[Death, ...]:
    """Every second instance of a pool is gone for three minutes.

    Args:
        first: position of its first instance in the fleet.
        instances: of the pool.
        from_s: when they die.
        until_s: when they are back.
    """
    return tuple(Death(from_s, first + number, until_s) for number in range(0, instances, 2))


A100 = SteadyFleet(
    name="Azure's code and conversations, 40 requests/s, Llama-3-70B on 5 + 8 times 8 A100",
    planned_by="dualpool plan --preset azure-2023 --rate 40 --model llama-3-70b --gpu a100-80gb --threshold 2048"
    " --max-model-len 65536 --seeds 2 --requests 4000",
    model="llama-3-70b",
    gpu="a100-80gb",
    tensor_parallel=8,
    short=5,
    long=8,
    rate_per_s=40.0,
    preset="azure-2023",
    threshold_tokens=2048,
    short_max_model_len=4096,
    long_max_model_len=65_536,
    short_max_num_batched_tokens=512,
    long_max_num_batched_tokens=512,
    max_num_seqs=256,
    thresholds=(1024, 1536, 3072),
)
"""Prefill is what costs; the KV cache is all but empty."""
RTX_4090 = SteadyFleet(
    name="Azure's conversations, 40 requests/s, Llama-3.1-8B on 12 + 3 RTX 4090",
    planned_by="dualpool plan --preset azure-2023-conv --rate 40 --model llama-3.1-8b --gpu rtx-4090"
    " --tensor-parallel-size 1 --max-model-len 32768 --seeds 2 --requests 4000",
    model="llama-3.1-8b",
    gpu="rtx-4090",
    tensor_parallel=1,
    short=12,
    long=3,
    rate_per_s=40.0,
    preset="azure-2023-conv",
    threshold_tokens=4096,
    short_max_model_len=8192,
    long_max_model_len=32_768,
    short_max_num_batched_tokens=256,
    long_max_num_batched_tokens=1024,
    max_num_seqs=64,
    thresholds=(2048, 3072, 6144),
)
"""40,000 tokens of KV cache an instance: memory bounds what runs, and a burst is preempted."""
AGENTS = SteadyFleet(
    name="Agents, 10 requests/s, Llama-3.1-70B on 6 + 24 times 8 A100",
    planned_by="dualpool plan --preset agent-heavy --rate 100 --max-model-len 131072 --model llama-3.1-70b"
    " --gpu a100-80gb --seeds 3, a tenth of it",
    model="llama-3.1-70b",
    gpu="a100-80gb",
    tensor_parallel=8,
    short=6,
    long=24,
    rate_per_s=10.0,
    preset="agent-heavy",
    threshold_tokens=8192,
    short_max_model_len=16_384,
    long_max_model_len=131_072,
    short_max_num_batched_tokens=512,
    long_max_num_batched_tokens=2048,
    long_prefill_token_threshold=512,
    max_num_seqs=256,
    thresholds=(4096, 6144, 12_288),
    slo=Slo(ttft_s=6.0),
)
"""Prompts of 6,000 tokens in the mean and up to 64,000: few requests wait, and each waits long."""

SCENARIOS = (
    Scenario("steady", "as planned: nothing to steer", A100, steady),
    Scenario("bursts", "twice the traffic for 20 s every two minutes", A100, bursts),
    Scenario("day", "a day in eight minutes: from 0.33 to 1.25 of the planned traffic and back", A100, day),
    Scenario("shorter", "over minutes 1.6 times the short requests and half the long ones, and back", A100, shorter),
    Scenario("turns", "every minute from 1.5 times the short and half the long ones to the reverse", A100, turns),
    Scenario("quick turns", "every 15 s only short requests or only long ones, twice as many", A100, quick_turns),
    Scenario("half of short", "3 of 5 short instances gone for three minutes", A100, steady, half_dies(0, 5)),
    Scenario("half of long", "4 of 8 long instances gone for three minutes", A100, steady, half_dies(5, 8)),
    Scenario("bursts, 4090", "twice the traffic for 20 s every two minutes", RTX_4090, bursts),
    Scenario("longer, 4090", "1.6 times the long requests, half the short ones, and back", RTX_4090, longer),
    Scenario("half of short, 4090", "6 of 12 gone for three minutes", RTX_4090, steady, half_dies(0, 12)),
    Scenario("half of short, agents", "3 of 6 gone for three minutes", AGENTS, steady, half_dies(0, 6)),
)
"""All of them."""
