from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.capacity import Capacities, Capacity, Limit, capacity
from extproc.fleet.values import ABSENT, InstanceSpec, Overflow, Slo, StepTimes
from extproc.fleet.workload import Lengths

EMPTY_S, KNEE, TOKEN_S, SEQUENCE_S = 0.022, 90, 0.00009, 0.00001
LENIENT = Slo(ttft_s=1e6, tpot_s=1e3)


def spec(kv_blocks: int, max_num_seqs: int = 256, tokens: int = 2_048, *, watermark: float = 0.0) -> InstanceSpec:
    """Something like Llama-3-70B on eight A100: flat up to a knee, then linear in tokens."""
    dense = EMPTY_S + TOKEN_S * np.maximum(0, np.arange(tokens + 1) - KNEE)
    steps = StepTimes(dense, SEQUENCE_S * np.arange(max_num_seqs + 1, dtype=np.float64), 6e-8, 1e-9, 3e-9)
    return InstanceSpec(16_384, max_num_seqs, tokens, kv_blocks, steps, watermark=watermark)


def lognormal(prompt: float, output: float, rows: int = 400) -> Lengths:
    """Prompts and outputs of given medians, spread as in chat traffic, independent of each other."""
    g = np.random.default_rng(5)
    prompts = np.clip(g.lognormal(np.log(prompt), 0.8, rows), 1, 8_000).astype(np.int64)
    outputs = np.clip(g.lognormal(np.log(output), 0.8, rows), 1, 4_000).astype(np.int64)
    return Lengths(prompts, outputs, np.full(rows, ABSENT), np.full(rows, 1 / rows))


def constant(prompt: int, output: int, declared: int = ABSENT) -> Lengths:
    """All requests alike."""
    return Lengths(np.array([prompt]), np.array([output]), np.array([declared]), np.ones(1))


@dataclass
class Running:
    """A request of the engine below."""

    prompt: int
    output: int
    computed: int = 0
    written: int = 0


def blocks(tokens: int) -> int:
    """KV blocks of so many tokens."""
    return -(-tokens // 16)


def saturated_rate(  # noqa: C901 - the rules in one place, as plainly as can be
    spec: InstanceSpec, lengths: Lengths, steps: int
) -> float:
    """Ends per second of an engine that follows vLLM's rules step by step, its queue never empty; half is warm-up."""
    g = np.random.default_rng(7)
    waiting: deque[Running] = deque()
    running: list[Running] = []
    free, ends, clock_s = spec.kv_blocks, 0, 0.0
    reserve = int(spec.watermark * spec.kv_blocks)
    for step in range(steps):
        if step == steps // 2:
            ends, clock_s = 0, 0.0
        while len(waiting) < 30:
            row = g.choice(len(lengths.weight), p=lengths.weight)
            waiting.append(Running(int(lengths.prompt_tokens[row]), int(lengths.output_tokens[row])))
        budget, place, preempted, chunks = spec.max_num_batched_tokens, 0, False, []
        while place < len(running) and budget > 0:
            request = running[place]
            chunk = min(request.prompt + request.written - request.computed, budget)
            needed = blocks(request.computed + chunk) - blocks(request.computed)
            while needed > free and place < len(running):
                victim = running.pop()
                free, preempted = free + blocks(victim.computed), True
                victim.computed = 0
                waiting.appendleft(victim)
            if place < len(running):
                free, budget, place = free - needed, budget - chunk, place + 1
                chunks.append(chunk)
        while not preempted and budget > 0 and len(running) < spec.max_num_seqs:
            request = waiting[0]
            total = request.prompt + request.written
            if blocks(total) > free - (reserve if running else 0):
                break
            chunk = min(total, budget)
            free, budget = free - blocks(chunk), budget - chunk
            running.append(waiting.popleft())
            chunks.append(chunk)
        clock_s += step_s(spec, running, chunks)
        for request, chunk in zip(list(running), chunks, strict=False):
            request.computed += chunk
            if request.computed == request.prompt + request.written:
                request.written += 1
            if request.written == request.output:
                running.remove(request)
                free, ends = free + blocks(request.computed), ends + 1
    return ends / clock_s


def step_s(spec: InstanceSpec, running: list[Running], chunks: list[int]) -> float:
    """Time of a step as `StepTimes` defines it."""
    times, seconds = spec.steps, 0.0
    for request, chunk in zip(running, chunks, strict=False):
        if chunk == 1 and request.written:
            seconds += times.kv_s * (request.computed + 1)
        else:
            pairs = chunk * (request.computed + chunk / 2)
            seconds += times.pair_s * pairs + times.earlier_s * request.computed
    return seconds + float(times.dense_s[sum(chunks)] + times.sequences_s[len(chunks)])


@pytest.mark.parametrize(
    ("instance", "lengths", "limit"),
    [
        (spec(1_500), lognormal(600, 60), Limit.KV),
        (spec(1_500, watermark=0.02), lognormal(600, 60), Limit.KV),
        (spec(20_000, 40), lognormal(300, 150), Limit.SEQUENCES),
        (spec(8_000, tokens=512), lognormal(900, 20), Limit.COMPUTE),
    ],
)
def test_saturated_rate_is_that_of_an_engine_run_step_by_step(
    instance: InstanceSpec, lengths: Lengths, limit: Limit
) -> None:
    """Whatever binds, the closed form is within 3 % of an engine that follows vLLM's rules."""
    found = capacity(instance, lengths, LENIENT).saturated
    assert found.limit is limit
    assert found.rate_per_s == pytest.approx(saturated_rate(instance, lengths, 12_000), rel=0.03)


def test_compute_bound_rate_is_arithmetic() -> None:
    """Full steps of constant requests take dense, sequences, KV and attention as the formula says."""
    found = capacity(spec(50_000, 256, 512), constant(512, 1), LENIENT).saturated
    each_s = EMPTY_S + TOKEN_S * (512 - KNEE) + 1e-9 * 512**2 / 2
    assert found.limit is Limit.COMPUTE
    assert found.rate_per_s == pytest.approx(1 / each_s, rel=0.03)


def test_one_slot_serves_one_request_after_another() -> None:
    """With one sequence at a time the rate is one over the time of its prefill and its decode steps."""
    found = capacity(spec(5_000, 1), constant(160, 50), LENIENT).saturated
    prefill_s = EMPTY_S + TOKEN_S * (160 - KNEE) + SEQUENCE_S + 1e-9 * 160**2 / 2
    decode_s = sum(EMPTY_S + SEQUENCE_S + 6e-8 * (160 + j) for j in range(1, 50))
    assert found.limit is Limit.SEQUENCES
    assert found.rate_per_s == pytest.approx(1 / (prefill_s + decode_s), rel=0.03)


def test_requests_all_alike_are_said_to_come_in_waves() -> None:
    """Where KV binds them; not where they spread, and not where steps are full anyway."""
    assert capacity(spec(1_500), constant(600, 60), LENIENT).in_waves
    assert not capacity(spec(1_500), lognormal(600, 60), LENIENT).in_waves
    assert not capacity(spec(50_000, 256, 512), constant(512, 4), LENIENT).in_waves


def test_tighter_slo_never_raises_the_rate() -> None:
    """The rate within the SLO falls with its TPOT and stays below the saturated rate."""
    found = [within(capacity(spec(8_000), lognormal(600, 60), Slo(tpot_s=tpot))) for tpot in (0.3, 0.12, 0.08, 0.05)]
    assert found == sorted(found, reverse=True)
    assert found[0] <= capacity(spec(8_000), lognormal(600, 60), LENIENT).saturated.rate_per_s
    assert found[-1] < found[0]


def within(found: Capacity) -> float:
    """Rate within the SLO, 0 for none."""
    return found.within_slo.rate_per_s if found.within_slo else 0.0


@pytest.mark.parametrize(
    ("slo", "limit"),
    [(Slo(tpot_s=0.04, ttft_s=60), Limit.TPOT), (Slo(tpot_s=9.0, ttft_s=0.5), Limit.TTFT), (LENIENT, Limit.KV)],
)
def test_what_binds_within_the_slo_is_named(slo: Slo, limit: Limit) -> None:
    """Each promise binds when it is the tight one, and KV when none is."""
    found = capacity(spec(1_100), lognormal(600, 60), slo)
    assert found.breaks is limit
    assert found.within_slo is not None
    assert found.within_slo.tpot_s <= slo.tpot_s
    assert found.within_slo.ttft_s <= slo.ttft_s


def test_longer_prompts_may_have_longer() -> None:
    """Where the first token may take longer after a longer prompt, an instance takes more traffic."""
    strict = Slo(tpot_s=9.0, ttft_s=0.5)
    lenient = replace(strict, ttft_s_per_token=0.0005)
    asked = lognormal(600, 60)
    assert within(capacity(spec(4_000), asked, lenient)) > 1.1 * within(capacity(spec(4_000), asked, strict))


def test_unreachable_slo_is_said() -> None:
    """Where an idle instance's step is longer than the TPOT there is no rate, and TPOT is named."""
    found = capacity(spec(8_000), lognormal(600, 60), Slo(tpot_s=0.01))
    assert found.within_slo is None
    assert found.breaks is Limit.TPOT


def test_declared_output_cuts_what_is_written() -> None:
    """A request that declares 50 tokens costs as one that writes 50."""
    assert capacity(spec(3_000), constant(300, 400, 50), LENIENT) == capacity(spec(3_000), constant(300, 50), LENIENT)


def test_longer_than_the_context_is_clamped_or_refused() -> None:
    """By vLLM's version, a request that declares too much is shortened or refused; refusals cost nothing."""
    mixed = Lengths(np.array([300, 16_000]), np.array([50, 50]), np.array([50, 500]), np.array([0.5, 0.5]))
    instance = spec(3_000)
    clamped = capacity(instance, mixed, LENIENT)
    refused = capacity(replace(instance, overflow=Overflow.REJECT), mixed, LENIENT)
    only = capacity(instance, constant(300, 50), LENIENT)
    assert clamped.rejected == 0.0
    assert refused.rejected == 0.5
    assert refused.saturated.rate_per_s == pytest.approx(2 * only.saturated.rate_per_s)


def test_instance_that_vllm_would_not_start_is_refused() -> None:
    """KV for fewer tokens than max_model_len is an error that says so."""
    with pytest.raises(ConfigurationError, match="max_model_len"):
        capacity(spec(1_000), lognormal(600, 60), LENIENT)


def test_traffic_that_fits_nowhere_is_refused() -> None:
    """If every prompt is longer than the context there is nothing to sustain."""
    with pytest.raises(ConfigurationError, match="fits a context"):
        capacity(spec(3_000), constant(20_000, 5), LENIENT)


def test_equal_instances_are_computed_once() -> None:
    """The same answer to the same question, by content; another instance has its own."""
    known, one = Capacities(lognormal(600, 150), LENIENT), spec(4_000)
    assert known.of(one) is known.of(spec(4_000))
    assert known.of(one).saturated is known.saturated(one)
    slower = replace(one, steps=replace(one.steps, dense_s=2 * one.steps.dense_s))
    for other in (spec(5_000), slower):
        assert known.of(other) == capacity(other, lognormal(600, 150), LENIENT) != known.of(one)


@pytest.mark.parametrize("slo", [Slo(), Slo(ttft_s=0.5, tpot_s=0.04), LENIENT, Slo(ttft_s=1e-6)])
def test_whether_a_rate_is_sustained_agrees_with_how_much(slo: Slo) -> None:
    """Asked before the rate is known or after: what it sustains, it may; a little more it may not, nor twice that."""
    lengths, instance = lognormal(600, 100), spec(20_000)
    within = capacity(instance, lengths, slo).within_slo
    rate_per_s = 0.0 if within is None else within.rate_per_s
    known = Capacities(lengths, slo)
    known.of(instance)
    for asked in (Capacities(lengths, slo), known):
        assert within is None or asked.sustains(instance, rate_per_s)
        assert not asked.sustains(instance, max(0.1, 1.01 * rate_per_s))
        assert not asked.sustains(instance, max(0.1, 2 * rate_per_s))
