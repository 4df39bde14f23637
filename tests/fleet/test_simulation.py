import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from extproc.fleet.dispatch import SHORT, Chance, Oracle, Routed
from extproc.fleet.simulation import Run, RunRules, Simulation, simulate
from extproc.fleet.state import state_of
from extproc.fleet.tally import together
from extproc.fleet.values import Balancing, Batch, InstanceSpec, Outcome, PoolSpec, Slo
from extproc.routing.values import Pool
from extproc.settings import Settings
from tests.fleet.reference import Asked, Fixed, batch_of, play, pool_of, random_batch, spec_of

SPEC = spec_of(kv_blocks=400, max_num_seqs=16, max_num_batched_tokens=256)
SMALL = spec_of(kv_blocks=120, max_num_seqs=16, max_num_batched_tokens=256, max_model_len=256)
REQUESTS = 3000
BATCH = random_batch(REQUESTS, rate_per_s=6.0, seed=1)
RULES = RunRules(REQUESTS, slo=Slo(ttft_s=1.0, tpot_s=0.1))
SETTINGS = Settings(threshold_tokens=256, learning_samples=200, warm_up_samples=20, max_observed=32)


def split(short: InstanceSpec = SMALL, long: InstanceSpec = SPEC) -> list[PoolSpec]:
    """Two short instances and two long ones."""
    return [pool_of(short, instances=2, pool=Pool.SHORT), pool_of(long, instances=2)]


def fingerprint(run: Run) -> str:
    """Everything that a run came to, to the last bit."""
    parts = [repr((run.requests, run.simulated_s, run.under, run.over, run.counted))]
    for pool in run.pools:
        times = (pool.ttft, pool.tpot, pool.e2e, pool.queue)
        parts += [repr((each.counts.tolist(), each.sum_s)) for each in times]
        parts += [repr((sorted(pool.outcomes.items()), pool.met_slo, pool.preemptions, pool.series))]
    return "\n".join(parts)


def assert_conserved(run: Run, batch: Batch, rules: RunRules) -> None:
    """Each arrival after the warm-up has one outcome in one pool."""
    arrivals = sum(sum(pool.outcomes.values()) for pool in run.pools)
    assert arrivals == run.counted == len(batch.arrival_s) - int(rules.warm_up_share * rules.requests)
    assert run.simulated_s == batch.arrival_s[-1]


def test_every_arrival_has_one_outcome() -> None:
    """With limits, refusals, deaths and an end that comes too soon all at once."""
    long = replace(SPEC, deaths_per_hour=30.0, restart_s=20.0, max_queued_requests=20, max_model_len=440)
    rules = replace(RULES, drain_s=0.2)
    run = simulate(split(long=long), Fixed(BATCH), Chance(0.3, seed=1), rules=rules, threshold_tokens=256)
    assert_conserved(run, BATCH, rules)
    outcomes = together(run.pools).outcomes
    assert all(outcomes[outcome] > 0 for outcome in Outcome), outcomes


def test_a_run_is_what_was_played() -> None:
    """Times, preemptions and tokens are those of the records of the same requests, whole or in pieces."""
    rules = replace(RULES, warm_up_share=0.0)
    run = simulate([pool_of(SPEC, instances=3)], Fixed(BATCH), rules=rules)
    _, records = play([pool_of(SPEC, instances=3)], BATCH)
    (pool,) = run.pools
    assert pool.e2e.mean_s == pytest.approx(float((records["end_s"] - records["arrival_s"]).mean()), rel=1e-12)
    assert pool.ttft.mean_s == pytest.approx(float((records["first_token_s"] - records["arrival_s"]).mean()), rel=1e-12)
    assert pool.preemptions == records["preemptions"].sum()
    assert pool.output_tokens == BATCH.output_tokens.sum()
    assert pool.outcomes == {Outcome.COMPLETED: REQUESTS}


def test_the_warm_up_is_cut() -> None:
    """Of the last tenth only the last tenth is counted, and it is the busier one."""
    batch = random_batch(1000, rate_per_s=40.0, seed=2)
    late = simulate([pool_of(SPEC)], Fixed(batch), rules=RunRules(1000, warm_up_share=0.9))
    whole = simulate([pool_of(SPEC)], Fixed(batch), rules=RunRules(1000, warm_up_share=0.0))
    assert (late.counted, whole.counted) == (100, 1000)
    assert late.pools[0].ttft.mean_s > 1.5 * whole.pools[0].ttft.mean_s
    assert late.pools[0].prompt_tokens == batch.prompt_tokens[900:].sum()


def test_what_does_not_end_in_time_is_unfinished() -> None:
    """It stands in the denominator; with time enough there is none of it."""
    batch = random_batch(500, rate_per_s=50.0, seed=2)
    soon = simulate([pool_of(SPEC)], Fixed(batch), rules=RunRules(500, warm_up_share=0.0, drain_s=1.0))
    late = simulate([pool_of(SPEC)], Fixed(batch), rules=RunRules(500, warm_up_share=0.0))
    _, records = play([pool_of(SPEC)], batch)
    assert soon.pools[0].outcomes[Outcome.UNFINISHED] == (records["end_s"] > batch.arrival_s[-1] + 1.0).sum() > 100
    assert late.pools[0].outcomes == {Outcome.COMPLETED: 500}


def test_a_queue_limit_refuses_and_keeps_the_rest_fast() -> None:
    """Beyond capacity some get 503 in place of all waiting longer and longer; the counts add up."""
    batch = random_batch(1500, rate_per_s=40.0, seed=2)
    limited = replace(SPEC, max_queued_requests=24)
    rules = RunRules(1500)
    free, bound = (simulate([pool_of(spec)], Fixed(batch), rules=rules).pools[0] for spec in (SPEC, limited))
    assert free.outcomes[Outcome.REJECTED_BUSY] == 0
    assert bound.outcomes[Outcome.REJECTED_BUSY] > 200
    assert bound.outcomes[Outcome.REJECTED_BUSY] + bound.outcomes[Outcome.COMPLETED] == 1350
    assert bound.ttft.quantile_s(0.99) < free.ttft.quantile_s(0.5)


def test_deaths_fail_what_is_in_flight() -> None:
    """With one instance that dies a few times requests fail, and while it is down they get 503; it comes back."""
    mortal = replace(SPEC, deaths_per_hour=60.0, restart_s=5.0)
    batch = random_batch(3000, rate_per_s=5.0, seed=2)
    pool = simulate([pool_of(mortal)], Fixed(batch), rules=RunRules(3000, warm_up_share=0.0)).pools[0]
    assert pool.outcomes[Outcome.FAILED] > 10
    assert pool.outcomes[Outcome.REJECTED_BUSY] > 50
    assert pool.outcomes[Outcome.COMPLETED] > 1500
    expected = 60.0 / 3600 * batch.arrival_s[-1]
    assert pool.outcomes[Outcome.REJECTED_BUSY] < 5.0 * 5.0 * (expected + 4 * expected**0.5), "5 s of 5 a second each"


@pytest.mark.parametrize("dispatch", ["oracle", "chance", "routed"])
def test_the_same_seed_comes_to_the_same(dispatch: str) -> None:
    """Twice in one process: to the last bit."""
    runs = [simulate(split(), Fixed(BATCH), _dispatch(dispatch), rules=RULES, threshold_tokens=256) for _ in range(2)]
    assert fingerprint(runs[0]) == fingerprint(runs[1])


def _dispatch(name: str) -> Oracle | Chance | Routed:
    if name == "oracle":
        return Oracle(256)
    return Chance(0.5, seed=3) if name == "chance" else Routed(SETTINGS, seed=3)


def test_two_processes_come_to_the_same() -> None:
    """With the router in the loop and deaths, another process's run is this one's byte for byte."""
    code = "import tests.fleet.test_simulation as it; print(it.fingerprint(it.routed_run()), end='')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert other.stdout == fingerprint(routed_run())


def routed_run() -> Run:
    """Of everything a little."""
    mortal = replace(SPEC, deaths_per_hour=20.0, restart_s=5.0)
    return simulate(
        split(long=mortal), Fixed(BATCH), Routed(SETTINGS, seed=5), rules=replace(RULES, seed=8), threshold_tokens=256
    )


def test_another_seed_comes_to_something_else() -> None:
    """Balancing and deaths draw from it."""
    pools = [pool_of(replace(SPEC, deaths_per_hour=20.0, restart_s=5.0), instances=4)]
    one, other = (simulate(pools, Fixed(BATCH), rules=replace(RULES, seed=seed)) for seed in (1, 2))
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("balancing", Balancing)
def test_more_instances_do_not_lower_the_share_that_meets_the_objective(balancing: Balancing) -> None:
    """On one trace, from overload to plenty; by chance an instance more may shift things by 1 % at most."""
    batch = random_batch(REQUESTS, rate_per_s=30.0, seed=4)
    shares = []
    for instances in (1, 2, 3, 4, 6, 9, 16):
        pools = [pool_of(SPEC, instances=instances, balancing=balancing)]
        shares.append(simulate(pools, Fixed(batch), rules=RULES).pools[0].slo_share)
    assert all(more >= fewer - 0.01 for fewer, more in pairwise(shares)), shares
    assert shares[0] < 0.5
    assert shares[-1] > 0.95


def test_misroutes_are_judged_by_the_threshold() -> None:
    """The oracle makes none; chance makes both, as many as the batch says."""
    rules = replace(RULES, warm_up_share=0.0)
    oracle = simulate(split(), Fixed(BATCH), Oracle(256), rules=rules, threshold_tokens=256)
    assert (oracle.under, oracle.over) == (0, 0)
    chance = simulate(split(), Fixed(BATCH), Chance(0.5, seed=3), rules=rules, threshold_tokens=256)
    fits = BATCH.prompt_tokens + BATCH.output_tokens <= 256
    short = Chance(0.5, seed=3).pools_of(BATCH) == SHORT
    assert (chance.under, chance.over) == ((~fits & short).sum(), (fits & ~short).sum())


def test_the_router_in_the_loop_is_completed_once_for_each_request() -> None:
    """Also where requests fail, are refused or do not end: nothing stays observed."""
    mortal = replace(SMALL, deaths_per_hour=60.0, restart_s=5.0, max_queued_requests=10)
    settings = SETTINGS.model_copy(update={"learning_samples": 10_000})
    routed = Routed(settings, seed=5, keeps_corrections=True)
    simulation = Simulation(
        split(short=mortal), Fixed(BATCH), routed, rules=replace(RULES, drain_s=0.1), threshold_tokens=256
    )
    seen = [routed.router.observing for _ in simulation.steps()]
    assert max(seen) > 0
    assert routed.router.observing == 0
    assert not simulation._watching
    assert sum(routed.decisions.values()) == REQUESTS
    assert len(routed.corrections) > 200
    assert_conserved(simulation.run, BATCH, simulation._rules)


@pytest.mark.parametrize("places", [1, 3, 4])
def test_a_run_does_not_depend_on_the_room_it_begins_with(places: int) -> None:
    """Where it begins with few places it makes more whenever they run out, be it while time passes after a request."""
    pair = replace(SPEC, max_num_seqs=2)  # room for four ended requests, so that it runs out of that too
    crowd = [Asked(at_s, 10, 10) for at_s in (*3 * [0.0], *3 * [0.3], *2 * [0.6], *8 * [0.9])]
    for pools, batch in ((split(pair, pair), batch_of(crowd)), (split(), BATCH)):
        rules = RunRules(len(batch.arrival_s))
        roomy, tight = (Simulation(pools, Fixed(batch), Routed(SETTINGS, seed=3), rules=rules) for _ in range(2))
        tight._state = state_of(pools, seed=rules.seed, places=places, ended=0)
        for simulation in (roomy, tight):
            list(simulation.steps())
        assert len(tight._state.requests) > places
        assert counted(tight.run) == counted(roomy.run)


def counted(run: Run) -> list[object]:
    """What a run came to, but for sums of times, which depend on what is added to what first."""
    return [
        (
            pool.outcomes,
            pool.met_slo,
            pool.preemptions,
            pool.series,
            pool.e2e.counts.tolist(),
            pool.ttft.counts.tolist(),
        )
        for pool in run.pools
    ]


def test_samples_are_those_of_the_whole_run() -> None:
    """At equal distances over the run, at most four hundred, and their mean is that of the requests (Little's law)."""
    run = simulate([pool_of(SPEC, instances=3)], Fixed(BATCH), rules=replace(RULES, sample_s=0.25, warm_up_share=0.0))
    (pool,) = run.pools
    times = np.array(pool.series.time_s)
    assert 200 <= len(times) <= 400
    np.testing.assert_allclose(np.diff(times), times[1] - times[0])
    assert times[-1] > run.simulated_s - 2 * (times[1] - times[0])
    present = np.mean(pool.series.running) + np.mean(pool.series.waiting)
    by_little = pool.e2e.sum_s / run.simulated_s
    assert present == pytest.approx(by_little, rel=0.1), "about four standard errors of some 250 looks"
    assert 0.0 < max(pool.series.kv_share) <= 1.0


def test_progress_is_told() -> None:
    """Requests that have come so far, up to all."""
    told = list(Simulation([pool_of(SPEC)], Fixed(BATCH), rules=RULES).steps())
    assert told == [REQUESTS // 2, REQUESTS]


def test_memory_follows_what_is_in_flight() -> None:
    """Twenty thousand requests pass through room for four thousand."""
    batch = random_batch(20_000, rate_per_s=10.0, seed=2, prompt=(10, 50), output=(2, 10))
    simulation = Simulation([pool_of(SPEC, instances=2)], Fixed(batch), rules=RunRules(20_000))
    for _ in simulation.steps():
        pass
    assert len(simulation._state.requests) == 4096


def test_the_door_counts_for_the_user() -> None:
    """What stands before the scheduler is added to the time to the first token."""
    door = replace(SPEC, api_s=0.5)
    plain, later = (simulate([pool_of(spec)], Fixed(BATCH), rules=RULES).pools[0] for spec in (SPEC, door))
    assert later.ttft.mean_s == pytest.approx(plain.ttft.mean_s + 0.5)
