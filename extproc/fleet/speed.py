"""How fast the simulator is: requests per second of processor time on one core, with the real router and without.

The fleet is as idle as a planned one, never saturated; what is measured begins when it has filled. Knows no terminal.
"""

import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from extproc.fleet.dispatch import Dispatch, Oracle, Routed
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.simulation import RunRules, Simulation
from extproc.fleet.values import Outcome, PoolSpec
from extproc.fleet.workload import Options, Workload, of_preset
from extproc.routing.values import Pool
from extproc.settings import Settings

PRESET, MODEL, GPU, TENSOR_PARALLEL = "azure-2023", "llama-3-70b", "a100-80gb", 8
THRESHOLD_TOKENS, MAX_MODEL_LEN = 8192, 65_536
INSTANCES, RATE_PER_S = 358, 1000.0
"""So many instances of eight A100 carry this traffic with room to spare."""
_SHORT_SHARE = 0.93
"""Of the instances: about the work of the requests within the threshold."""
SIZES = (10, INSTANCES, 3000)
_FILLED_S = 20.0
_LEARNED = 20_000
"""Requests before the clock starts: the fleet has filled, and the router has had its first lessons."""
_KIB = 1024


class Held(NamedTuple):
    """What a figure is held to."""

    routed_per_s: float = 20_000.0
    oracle_per_s: float = 100_000.0
    relative: float = 0.2
    """Largest difference of the cost of a request between sizes of fleets."""
    long_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    runs: int
    routed_requests: int
    oracle_requests: int


FULL, QUICK = Effort(5, 60_000, 400_000), Effort(1, 20_000, 200_000)


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet and who routes, at the same rate for each instance whatever its size."""

    router: str
    """`anytime` or `oracle`."""
    instances: int
    requests: int
    """That are measured."""

    @property
    def rate_per_s(self) -> float:
        """Of the traffic."""
        return RATE_PER_S * self.instances / INSTANCES


class Timed(NamedTuple):
    """One run."""

    per_s: float
    """Requests per second of processor time."""
    met_slo: float
    """Share of requests within 2 s and 80 ms: whether the fleet was overrun."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A case over all runs."""

    case: Case
    per_s: float
    """Median over runs."""
    low: float
    high: float
    relative: float
    """Processor time of a request over that with `INSTANCES`, median over rounds."""
    met_slo: float


class Long(NamedTuple):
    """Ten simulated minutes at 10,000 requests per second."""

    router: str
    requests: int
    instances: int
    wall_s: float
    cpu_s: float
    peak_mib: float
    """Of the process since it began."""


def cases(effort: Effort) -> list[Case]:
    """The real router and the oracle at every size."""
    counts = {"anytime": effort.routed_requests, "oracle": effort.oracle_requests}
    return [Case(router, size, count) for router, count in counts.items() for size in SIZES]


def compile_all() -> None:
    """Let everything be compiled or read that a first run waits for."""
    for router in ("anytime", "oracle"):
        measure(Case(router, 10, 500), seed=0)


def measure(case: Case, *, seed: int) -> Timed:
    """One run of one case."""
    warm_up = max(_LEARNED if case.router == "anytime" else 0, int(_FILLED_S * case.rate_per_s))
    warm_up = min(warm_up, 10 * case.requests)
    total = warm_up + case.requests
    simulation = _simulation(case.router, case.instances, case.rate_per_s, total, seed)
    started_s, begun = time.process_time(), 0
    for done in simulation.steps():
        if begun < warm_up and done < total:
            started_s, begun = time.process_time(), done
    took_s = time.process_time() - started_s
    return Timed((total - begun) / took_s, _met(simulation))


def speeds(measured: Sequence[Sequence[Timed]], tried: Sequence[Case]) -> list[Speed]:
    """Medians of rounds; `measured[round][case]`."""
    base = {case.router: at for at, case in enumerate(tried) if case.instances == INSTANCES}
    found = []
    for at, case in enumerate(tried):
        rates = [each[at].per_s for each in measured]
        relative = [each[base[case.router]].per_s / each[at].per_s for each in measured]
        met = min(each[at].met_slo for each in measured)
        found.append(Speed(case, statistics.median(rates), min(rates), max(rates), statistics.median(relative), met))
    return found


def long_run(router: str, *, seconds_s: float = 600.0, rate_per_s: float = 10_000.0) -> Iterator[Long]:
    """A long run; yields how far it is as often as the simulation does."""
    instances, requests = round(INSTANCES * rate_per_s / RATE_PER_S), round(seconds_s * rate_per_s)
    wall_s, cpu_s = time.perf_counter(), time.process_time()

    def so_far(done: int) -> Long:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB
        return Long(router, done, instances, time.perf_counter() - wall_s, time.process_time() - cpu_s, peak)

    for done in _simulation(router, instances, rate_per_s, requests, 0).steps():
        yield so_far(done)
    yield so_far(requests)


def _simulation(router: str, instances: int, rate_per_s: float, requests: int, seed: int) -> Simulation:
    dispatch: Dispatch | Routed = Oracle(THRESHOLD_TOKENS)
    if router != "oracle":
        dispatch = Routed(Settings(threshold_tokens=THRESHOLD_TOKENS), seed)
    rules = RunRules(requests, seed=seed, warm_up_share=0.2)
    return Simulation(fleet(instances), _workload(rate_per_s), dispatch, rules=rules, threshold_tokens=THRESHOLD_TOKENS)


def fleet(instances: int) -> tuple[PoolSpec, PoolSpec]:
    """A short and a long pool of so many instances in all."""
    catalog = builtin()
    short, long = (
        instance_of(catalog.model(MODEL), catalog.gpu(GPU), TENSOR_PARALLEL, max_model_len=context)
        for context in (THRESHOLD_TOKENS, MAX_MODEL_LEN)
    )
    first = round(_SHORT_SHARE * instances)
    return PoolSpec(Pool.SHORT, first, short), PoolSpec(Pool.LONG, instances - first, long)


def _workload(rate_per_s: float) -> Workload:
    return of_preset(PRESET, Options(rate_per_s=rate_per_s))


def _met(simulation: Simulation) -> float:
    """Unfinished requests are those that came last: they are not counted against it."""
    pools = simulation.run.pools
    arrivals = sum(pool.arrivals - pool.outcomes[Outcome.UNFINISHED] for pool in pools)
    return sum(pool.met_slo for pool in pools) / max(1, arrivals)
