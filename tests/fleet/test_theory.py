"""Queues whose behaviour is known in closed form. Tolerances are four standard errors of the run, by means of batches.

An instance of one sequence, whose steps all take the same time, is a server; its service time is the output tokens
times that step, and where outputs are geometric with many tokens, nearly exponential. Formulas: Kleinrock, Queueing
Systems I, 1975; Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
"""

from dataclasses import replace
from math import factorial, log
from typing import Any, NamedTuple

import numpy as np
import pytest

from extproc.fleet.capacity import Limit, capacity
from extproc.fleet.dispatch import Chance, Oracle
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.simulation import RunRules, simulate
from extproc.fleet.tally import together
from extproc.fleet.values import ABSENT, Balancing, Batch, Floats, InstanceSpec, Ints, Outcome, Slo, StepTimes
from extproc.fleet.workload import Lengths, Options, of_preset
from extproc.routing.values import Pool
from tests.fleet.reference import Fixed, play, pool_of, spec_of

STEP_S = 0.001
TOKENS = 200
"""Mean output: a service of 0.2 s."""
SERVICE_S = STEP_S * TOKENS
REQUESTS = 150_000
ERRORS = 4.0
"""Standard errors within which a mean must lie: by chance alone one in 16,000 does not."""


def servers(count: int) -> InstanceSpec:
    """An instance that serves so many at a time, none slower for the others."""
    steps = StepTimes(np.full(10_001, STEP_S), np.zeros(count + 1), 0.0, 0.0, 0.0)
    return spec_of(kv_blocks=1_000_000, max_num_seqs=count, max_num_batched_tokens=10_000, steps=steps)


def batch(rate_per_s: float, outputs: Ints, *, seed: int) -> Batch:
    """Poisson arrivals of one prompt token."""
    count = len(outputs)
    arrivals_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, count))
    ones = np.ones(count, np.int64)
    return Batch(arrivals_s, ones, outputs, ABSENT * ones, np.zeros(count, np.int8))


def geometric(count: int = REQUESTS, *, seed: int) -> Ints:
    """Nearly exponential: its squared coefficient of variation is 1 − 1/200."""
    return np.random.default_rng((seed, 1)).geometric(1 / TOKENS, count)


class Measured(NamedTuple):
    """A mean, and the standard error of it."""

    mean: float
    error: float

    def assert_is(self, expected: float, slack: float = 0.0) -> None:
        """Within the errors, and what the formula leaves out."""
        assert abs(self.mean - expected) <= ERRORS * self.error + slack, f"{self} is not {expected} ± {slack}"


def measured(values: Floats, batches: int = 40) -> Measured:
    """Of values that hang together: by the spread of the means of long pieces, after a tenth of warm-up."""
    kept = values[len(values) // 10 :]
    means = np.array([piece.mean() for piece in np.array_split(kept, batches)])
    return Measured(float(kept.mean()), float(means.std(ddof=1) / batches**0.5))


def times_s(records: Any) -> Floats:
    """In the system."""
    assert (records["outcome"] == Outcome.COMPLETED).all()
    spent: Floats = records["end_s"] - records["arrival_s"]
    return spent


def pollaczek_khinchine_s(rate_per_s: float, services_s: Floats) -> float:
    """Mean time in the system of M/G/1: service and λ·E[S²] / 2(1 − ρ)."""
    busy = rate_per_s * float(services_s.mean())
    return float(services_s.mean()) + rate_per_s * float((services_s**2).mean()) / (2 * (1 - busy))


def erlang_c_s(rate_per_s: float, count: int) -> float:
    """Mean time in the system of M/M/c."""
    offered = rate_per_s * SERVICE_S
    free = 1 - offered / count
    last = offered**count / factorial(count) / free
    waits = last / (sum(offered**number / factorial(number) for number in range(count)) + last)
    return SERVICE_S + waits * SERVICE_S / (count * free)


@pytest.mark.parametrize("busy", [0.3, 0.7, 0.85])
def test_one_exponential_server_is_m_m_1(busy: float) -> None:
    """Mean time 1/(μ − λ); its 50th, 90th and 99th percentiles those of the exponential; tokens make half a percent."""
    rate = busy / SERVICE_S
    _, records = play([pool_of(servers(1))], batch(rate, geometric(seed=1), seed=1))
    expected_s, spent = SERVICE_S / (1 - busy), times_s(records)
    measured(spent).assert_is(expected_s, slack=0.005 * expected_s)
    for share in (0.5, 0.9, 0.99):
        quantile_s = -expected_s * log(1 - share)
        measured((spent <= quantile_s).astype(np.float64)).assert_is(share, slack=0.005 * (1 - share) * 5)


def test_one_constant_server_is_m_d_1() -> None:
    """Half the waiting of the exponential one."""
    outputs = np.full(REQUESTS, TOKENS)
    _, records = play([pool_of(servers(1))], batch(0.7 / SERVICE_S, outputs, seed=2))
    measured(times_s(records)).assert_is(pollaczek_khinchine_s(0.7 / SERVICE_S, outputs * STEP_S))


def test_one_server_of_two_kinds_of_work_is_m_g_1() -> None:
    """Many short and few long answers: by the second moment of what was drawn."""
    drawn = np.random.default_rng(3).random(REQUESTS)
    outputs = np.where(drawn < 0.9, 50, 1000)
    rate = 0.6 / (STEP_S * (0.9 * 50 + 0.1 * 1000))
    _, records = play([pool_of(servers(1))], batch(rate, outputs, seed=3))
    measured(times_s(records)).assert_is(pollaczek_khinchine_s(rate, outputs * STEP_S), slack=0.001)


@pytest.mark.parametrize(("count", "busy"), [(2, 0.8), (8, 0.85), (16, 0.9)])
def test_many_sequences_of_one_instance_are_m_m_c(count: int, busy: float) -> None:
    """One queue in front of c servers, by Erlang's C; steps let arrivals and departures wait for one step at most."""
    rate = busy * count / SERVICE_S
    _, records = play([pool_of(servers(count))], batch(rate, geometric(seed=4), seed=4))
    expected_s = erlang_c_s(rate, count)
    measured(times_s(records)).assert_is(expected_s + STEP_S / 2, slack=STEP_S / 2 + 0.005 * (expected_s - SERVICE_S))


def test_instances_chosen_at_random_are_as_many_m_m_1() -> None:
    """A split of Poisson arrivals by chance leaves Poisson arrivals."""
    pool = pool_of(servers(1), instances=5, balancing=Balancing.RANDOM)
    _, records = play([pool], batch(5 * 0.7 / SERVICE_S, geometric(seed=5), seed=5))
    measured(times_s(records)).assert_is(SERVICE_S / 0.3, slack=0.005 * SERVICE_S / 0.3)


@pytest.mark.parametrize("busy", [0.7, 0.9])
def test_least_request_stands_between_one_queue_and_chance(busy: float) -> None:
    """Better than any way that does not look, worse than a common queue: M/M/c below, random and in turn above."""
    rate, count = 8 * busy / SERVICE_S, 8
    drawn = batch(rate, geometric(80_000, seed=6), seed=6)
    means = {}
    for balancing in Balancing:
        _, records = play([pool_of(servers(1), instances=count, balancing=balancing)], drawn)
        means[balancing] = measured(times_s(records))
    least = means[Balancing.LEAST_REQUEST]
    assert erlang_c_s(rate, count) < least.mean - ERRORS * least.error
    for other in (Balancing.ROUND_ROBIN, Balancing.RANDOM):
        assert least.mean + ERRORS * (least.error + means[other].error) < means[other].mean
    assert means[Balancing.ROUND_ROBIN].mean < means[Balancing.RANDOM].mean, "turns make arrivals more even"


def test_least_of_two_is_the_power_of_two_choices() -> None:
    """With many instances the mean time is Σ ρ^(2^i − 2) services; a hundred are within 3 % of infinitely many."""
    busy = 0.9
    pool = pool_of(servers(1), instances=100)
    _, records = play([pool], batch(100 * busy / SERVICE_S, geometric(seed=7), seed=7))
    expected_s = SERVICE_S * sum(busy ** (2**number - 2) for number in range(1, 12))
    measured(times_s(records)).assert_is(expected_s, slack=0.03 * expected_s)


def test_littles_law_holds_on_a_real_instance() -> None:
    """Requests in the system are rate times time in it, whatever the schedule; by the integral of what is there."""
    spec, lengths = REAL["sequences"]
    drawn = of_lengths(lengths, 3000, seed=8, rate_per_s=0.8 * capacity(spec, lengths, Slo()).saturated.rate_per_s)
    _, records = play([pool_of(spec)], drawn)
    moments = np.concatenate([records["arrival_s"], records["end_s"]])
    order, change = np.argsort(moments), np.repeat([1, -1], len(records))
    present = np.cumsum(change[order])[:-1]
    area = float(present @ np.diff(moments[order]))
    assert area == pytest.approx(float(times_s(records).sum()), rel=1e-9)


def log_normal(prompt: float, output: float, *, width: float = 0.8, seed: int = 9) -> Lengths:
    """Two thousand rows around these medians."""
    rng = np.random.default_rng(seed)
    prompts = np.clip(np.exp(rng.normal(log(prompt), width, 2000)), 4, 7000).astype(np.int64)
    outputs = np.clip(np.exp(rng.normal(log(output), width, 2000)), 1, 1000).astype(np.int64)
    return Lengths(prompts, outputs, np.full(2000, ABSENT), np.full(2000, 1 / 2000))


def of_lengths(lengths: Lengths, count: int, *, seed: int, rate_per_s: float) -> Batch:
    """Poisson arrivals of them."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(lengths.weight), count)
    return Batch(
        np.cumsum(rng.exponential(1 / rate_per_s, count)),
        lengths.prompt_tokens[rows],
        lengths.output_tokens[rows],
        lengths.declared_tokens[rows],
        np.zeros(count, np.int8),
    )


def each_once(lengths: Lengths, count: int, *, seed: int) -> Batch:
    """All rows of equal weight equally often, so that the lengths are exactly those; at once, so that a queue forms."""
    assert np.ptp(lengths.weight) < 1e-12
    times = max(1, round(count / len(lengths.weight)))
    rows = np.random.default_rng(seed).permutation(np.tile(np.arange(len(lengths.weight)), times))
    return Batch(
        np.linspace(0.0, 1e-4, len(rows), dtype=np.float64),
        lengths.prompt_tokens[rows],
        lengths.output_tokens[rows],
        lengths.declared_tokens[rows],
        np.zeros(len(rows), np.int8),
    )


def real(model: str, gpu: str, tp: int, *, max_model_len: int = 8192, **others: Any) -> InstanceSpec:
    """An instance of the catalogue."""
    return instance_of(builtin().model(model), builtin().gpu(gpu), tp, max_model_len=max_model_len, **others)


def small(**others: Any) -> InstanceSpec:
    """An 8B model on 24 GB: KV for a few tens of requests."""
    return real("llama-3-8b", "rtx4090", 1, **others)


def large(**others: Any) -> InstanceSpec:
    """A 70B model on four A100: KV for hundreds."""
    return real("llama-3-70b", "a100-80gb", 4, max_num_seqs=1024, **others)


def preset(name: str) -> Lengths:
    """Lengths of a public trace."""
    return of_preset(name, Options(rate_per_s=1.0)).lengths()


REAL = {
    "kv": (small(), log_normal(400, 250)),
    "kv, prompts longer than outputs": (small(), log_normal(1000, 200)),
    "kv, watermark": (small(watermark=0.01), log_normal(400, 250)),
    "kv, small steps, most preempted": (small(max_num_batched_tokens=512), log_normal(200, 400)),
    "kv, azure on a small instance": (small(), preset("azure-2023")),
    "kv of a large model": (large(), log_normal(1000, 200)),
    "kv of a large model, long outputs": (large(), log_normal(1000, 400)),
    "kv of a large model, large steps": (large(max_num_batched_tokens=8192), log_normal(1000, 400)),
    "kv of a large model, short prompts": (large(), log_normal(200, 400)),
    "kv, prompts of several steps": (real("llama-3-8b", "h100", 1, max_num_seqs=1024), log_normal(4000, 100)),
    "kv, mooncake": (large(max_model_len=131_072, max_num_batched_tokens=8192), preset("mooncake")),
    "kv, agents": (
        real("llama-3-8b", "a100-80gb", 1, max_model_len=32_768, max_num_seqs=1024),
        preset("agent-heavy"),
    ),
    "sequences": (real("llama-3-70b", "a100-80gb", 4, max_num_seqs=64), log_normal(600, 200)),
    "compute": (real("llama-3-8b", "h100", 1), log_normal(2000, 8)),
    "compute of a large model": (real("llama-3-70b", "h100", 4), log_normal(1500, 12)),
    "compute, azure": (large(), preset("azure-2023")),
}


@pytest.mark.parametrize("name", REAL)
def test_saturated_throughput_is_the_analytic_one(name: str) -> None:
    """Ends per second while the queue is never empty, against the balance equations: 3 %, and two standard errors."""
    spec, lengths = REAL[name]
    expected = capacity(spec, lengths, Slo()).saturated
    assert expected.limit == Limit(name.split(maxsplit=1)[0].strip(","))
    drawn = each_once(lengths, 24_000, seed=10)
    _, records = play([pool_of(spec)], drawn)
    ends = np.sort(records["end_s"])
    ends = ends[ends < np.nanmax(records["scheduled_s"])]
    gaps = np.diff(ends[len(ends) // 10 :])
    gap = measured(gaps, 20)
    assert gap.error < 0.009 * gap.mean
    assert abs(gap.mean * expected.rate_per_s - 1) < 0.03 + 2 * gap.error / gap.mean


@pytest.mark.parametrize(
    ("name", "passes"),
    [("kv", 0.4), ("kv, small steps, most preempted", 1.0), ("kv of a large model, long outputs", 0.1)],
)
def test_preemption_computes_again_what_the_equations_say(name: str, passes: float) -> None:
    """Tokens computed beyond each prompt once, per request, to a tenth."""
    spec, lengths = REAL[name]
    expected = capacity(spec, lengths, Slo()).saturated
    drawn = each_once(lengths, 24_000, seed=12)
    state, records = play([pool_of(spec)], drawn)
    again = (int(state.pools[0]["prefilled"]) - int(drawn.prompt_tokens.sum())) / len(records)
    assert records["preemptions"].mean() > passes
    assert again == pytest.approx(expected.recomputed_tokens, rel=0.1)


@pytest.mark.parametrize("context", [1024, 8192])
def test_routing_by_chance_loses_against_the_oracle_when_queues_form(context: int) -> None:
    """As many go short as the oracle sends, but any: cut or refused for length, or, where all fit, made to wait.

    Two instances of the short pool do for 64 % of the requests by the oracle's choice, and not for 64 % of any.
    """
    wide, drawn = (
        real("llama-3-8b", "rtx4090", 1),
        of_lengths(log_normal(500, 80, width=1.2), 6000, seed=11, rate_per_s=16),
    )
    short = replace(wide, max_model_len=context)
    pools = [pool_of(short, instances=2, pool=Pool.SHORT), pool_of(wide, instances=4)]
    share = float((drawn.prompt_tokens + drawn.output_tokens <= 1024).mean())
    by_oracle, by_chance = (
        together(simulate(pools, Fixed(drawn), dispatch, rules=RunRules(6000), threshold_tokens=1024).pools)
        for dispatch in (Oracle(1024), Chance(share, seed=11))
    )
    assert by_oracle.slo_share > by_chance.slo_share + 0.2, "a standard error is below 0.01"
    lost = by_chance.share(Outcome.TRUNCATED, Outcome.REJECTED_LENGTH)
    assert lost > 0.2 if context == 1024 else by_chance.queue.mean_s > 100 * by_oracle.queue.mean_s
    assert by_oracle.outcomes == {Outcome.COMPLETED: 5400}
