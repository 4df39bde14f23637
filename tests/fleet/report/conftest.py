"""Plans as a planner would hand them over, one for each verdict: figures are made up but of a likely size."""

import math
from dataclasses import replace

import numpy as np
import pytest

from extproc.fleet.answers import (
    Ask,
    Baseline,
    Confirmed,
    FleetPlan,
    Interval,
    Measured,
    Plan,
    PoolPlan,
    RouterKind,
    Saving,
    SweepRow,
    Verdict,
)
from extproc.fleet.report.page import page
from extproc.fleet.values import Series, Slo
from extproc.routing.values import Pool

NAN = math.nan
GPU_USD = 2.21
B1_GPUS, B2_GPUS, SPLIT_GPUS = 352, 288, 268


def about(mean: float, width: float = 0.04) -> Interval:
    """A mean, and bounds so far from it as a share."""
    return Interval(mean, mean * (1 - width), mean * (1 + width))


def saved_share(gpus: int, other: int) -> Interval:
    """Of the other's cost; bounds in ascending order for a loss, too."""
    mean = 1 - gpus / other
    return Interval(mean, mean - 0.12 * abs(mean), mean + 0.12 * abs(mean))


def curve(p50_s: float, p99_s: float) -> tuple[list[float], list[float]]:
    """A log-normal distribution function through two quantiles."""
    sigma = math.log(p99_s / p50_s) / 2.326
    z = np.linspace(-3, 3.2, 120)
    shares = [0.5 * (1 + math.erf(each / math.sqrt(2))) for each in z]
    return (p50_s * np.exp(sigma * z)).tolist(), shares


def series(running: float, kv: float, waiting: float, seed: int) -> Series:
    """Ten minutes that wander about a mean."""
    random = np.random.default_rng(seed)
    time_s = np.arange(0.0, 600.0, 2.0)
    wave = 1 + 0.08 * np.sin(time_s / 40 + seed) + 0.03 * random.standard_normal(len(time_s))
    queue = np.maximum(0.0, waiting * (wave - 0.9) * 10)
    return Series(time_s.tolist(), (running * wave).tolist(), queue.tolist(), np.clip(kv * wave, 0, 1).tolist())


def measured(
    ttft_s: tuple[float, float], tpot_s: tuple[float, float], *, kv: float = 0.7, instances: int = 60, seed: int = 1
) -> Measured:
    """Of a pool or a fleet whose P50 and P99 are given."""
    return Measured(
        ttft_p50_s=about(ttft_s[0]),
        ttft_p99_s=about(ttft_s[1], 0.09),
        tpot_p50_s=about(tpot_s[0], 0.01),
        tpot_p99_s=about(tpot_s[1]),
        slo_share=Interval(0.9931, 0.9922, 0.994),
        preemptions_per_mille=about(4.7 * kv, 0.2),
        rejected=Interval(0.0, 0.0, 0.0),
        truncated=Interval(0.0004, 0.0002, 0.0006),
        running_mean=about(110 * kv),
        kv_mean=about(kv, 0.02),
        ttft_curve=curve(*ttft_s),
        tpot_curve=curve(*tpot_s),
        series=Series() if math.isnan(kv) else series(110 * kv * instances, kv, 0.2 * instances, seed),
    )


def whole(ttft_s: tuple[float, float], tpot_s: tuple[float, float]) -> Measured:
    """Of a fleet of two pools: no KV share of its own, and no series."""
    return replace(
        measured(ttft_s, tpot_s), kv_mean=Interval(NAN, NAN, NAN), running_mean=Interval(NAN, NAN, NAN), series=Series()
    )


def command(max_model_len: int, max_num_seqs: int) -> str:
    """Of an instance."""
    return (
        "vllm serve meta-llama/Meta-Llama-3-70B-Instruct --tensor-parallel-size 4"
        f" --max-model-len {max_model_len} --max-num-seqs {max_num_seqs} --max-num-batched-tokens 8192"
    )


def pool_plan(pool: Pool, instances: int, closed_form: int, max_model_len: int, *, rate_per_s: float) -> PoolPlan:
    """Of instances of four A100."""
    return PoolPlan(
        pool=pool,
        instances=instances,
        instances_closed_form=closed_form,
        instance="A100-80GB TP 4",
        gpus=4 * instances,
        usd_per_hour=4 * GPU_USD * instances,
        command=command(max_model_len, 256),
        rate_per_s=rate_per_s,
        capacity_per_s=rate_per_s / max(1, closed_form),
        limit="kv" if pool is Pool.LONG else "tpot",
        max_model_len=max_model_len,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        long_prefill_token_threshold=0,
        kv_blocks=30_900,
    )


def one_pool(name: str, kind: Baseline, gpus: int, closed_form: int, times: tuple[float, float]) -> FleetPlan:
    """A simulated fleet without a split."""
    found = measured((0.31, times[0]), (0.041, times[1]), kv=0.82, instances=gpus // 4, seed=gpus)
    pool = pool_plan(Pool.LONG, gpus // 4, closed_form // 4, 65_536, rate_per_s=1000)
    zero = Interval(0.0, 0.0, 0.0)
    return FleetPlan(
        name=name,
        sentence=f"{name}: one pool.",
        baseline=kind,
        router=RouterKind.NONE,
        threshold_tokens=None,
        pools=(pool,),
        gpu_range=Interval(gpus, gpus - 4, gpus + 6),
        usd_range=Interval(GPU_USD * gpus, GPU_USD * (gpus - 4), GPU_USD * (gpus + 6)),
        confirmed=Confirmed(found, (found,), under=zero, over=zero),
        saving_b1=None if kind is Baseline.B1 else saved_share(gpus, B1_GPUS),
        saving_b2=None if kind is Baseline.B2 else saved_share(gpus, B2_GPUS),
    )


def two_pools(name: str, router: RouterKind, short: int, long: int, kind: Baseline = Baseline.SPLIT) -> FleetPlan:
    """A simulated fleet with a split."""
    stages = {"none": 0.04, "bounds": 0.71, "memory": 0.02, "size": 0.19, "sample": 0.035, "text": 0.005}
    fleet = whole((0.22, 1.44), (0.036, 0.067))
    pools = (
        measured((0.19, 0.9), (0.034, 0.058), kv=0.62, instances=54, seed=3),
        measured((0.48, 1.9), (0.052, 0.0765), kv=0.8, instances=13, seed=4),
    )
    return FleetPlan(
        name=name,
        sentence=f"{name}: a short and a long pool.",
        baseline=kind,
        router=router,
        threshold_tokens=4096,
        pools=(
            pool_plan(Pool.SHORT, short // 4, short // 4 - 2, 4096, rate_per_s=893),
            pool_plan(Pool.LONG, long // 4, long // 4 - 1, 65_536, rate_per_s=107),
        ),
        gpu_range=Interval(short + long, short + long - 6, short + long + 8),
        usd_range=Interval(*(GPU_USD * n for n in (short + long, short + long - 6, short + long + 8))),
        confirmed=Confirmed(
            fleet,
            pools,
            under=Interval(0.0008, 0.0006, 0.001),
            over=Interval(0.012, 0.011, 0.0131),
            stages={} if router is RouterKind.ORACLE else stages,
        ),
        saving_b1=saved_share(short + long, B1_GPUS),
        saving_b2=saved_share(short + long, B2_GPUS),
    )


def unconfirmed(fleet: FleetPlan) -> FleetPlan:
    """As the closed form alone sizes it."""
    pools = tuple(
        replace(
            pool,
            instances=pool.instances_closed_form,
            gpus=4 * pool.instances_closed_form,
            usd_per_hour=4 * GPU_USD * pool.instances_closed_form,
        )
        for pool in fleet.pools
    )
    return replace(fleet, pools=pools, gpu_range=None, usd_range=None, confirmed=None, saving_b1=None, saving_b2=None)


def sweep() -> tuple[SweepRow, ...]:
    """Eight thresholds, of which the last is too long and one was simulated."""
    rows = [
        SweepRow(
            threshold_tokens=threshold,
            short_share=share,
            gpus=gpus,
            usd_per_hour=gpus * GPU_USD,
            saving_b1=1 - gpus / B1_GPUS,
            saving_b2=1 - gpus / 288,
            saving_published=share * (1 - threshold / 65_536),
            confirmed_usd=about(gpus * GPU_USD * 1.02, 0.03) if threshold == 4096 else None,
            confirmed_b1=about(0.3, 0.03) if threshold == 4096 else None,
            confirmed_b2=about(0.1, 0.03) if threshold == 4096 else None,
        )
        for threshold, share, gpus in (
            (512, 0.289, 336), (1024, 0.404, 320), (2048, 0.78, 288), (3072, 0.869, 276), (4096, 0.898, 264),
            (6144, 0.976, 272), (8192, 0.99996, 284),
        )
    ]  # fmt: skip
    last = SweepRow(16_384, 1.0, 0, NAN, NAN, NAN, NAN, infeasible="the long pool would be empty")
    return (*rows, last)


ASK = Ask(
    workload="azure-2023",
    source="Azure LLM inference traces of 2023, code and conversation (AzurePublicDataset).",
    model="llama-3-70b",
    gpus=("a100-80gb",),
    rate_per_s=1000.0,
    slo=Slo(),
    max_model_len=65_536,
    vllm="0.32",
    thresholds=(512, 1024, 2048, 3072, 4096, 6144, 8192, 16_384),
    requests=100_000,
    seeds=5,
    promise=0.001,
)


def savings(gpus: int, against: tuple[tuple[str, int], ...]) -> tuple[Saving, ...]:
    """Of a fleet of so many GPUs."""
    year = 8760 * GPU_USD
    return tuple(
        Saving(name, other - gpus, about(year * (other - gpus), 0.12), about(1 - gpus / other, 0.12))
        for name, other in against
    )


def split_plan() -> Plan:
    """Two pools save money."""
    fleets = (
        one_pool("B0 published assumption", Baseline.B0, 1432, 1432, (1.2, 0.052)),
        one_pool("B1 vLLM defaults", Baseline.B1, B1_GPUS, 344, (1.92, 0.078)),
        one_pool("B2 one tuned pool", Baseline.B2, 288, 280, (1.88, 0.0783)),
        two_pools("Two pools, oracle", RouterKind.ORACLE, 216, 48),
        two_pools("Two pools, our router", RouterKind.ANYTIME, 216, 52),
        two_pools("Two pools, published router", RouterKind.EMA, 216, 72),
        unconfirmed(two_pools("Two pools, fixed ratio", RouterKind.FIXED, 220, 88)),
        replace(
            two_pools("Two pools, short on TP 2", RouterKind.ANYTIME, 0, 0, Baseline.SPLIT_HARDWARE),
            pools=(), gpu_range=None, usd_range=None, confirmed=None,
            infeasible="TP 2 leaves no room for the KV cache of 4,096 tokens",
        ),
    )  # fmt: skip
    against = (("B1 vLLM defaults", B1_GPUS), ("B2 one tuned pool", 288), ("B0 published assumption", 1432))
    return Plan(
        ask=ASK,
        verdict=Verdict.SPLIT,
        sentence=(
            "Two pools with the threshold at 4,096 tokens need 268 GPUs instead of 352 with vLLM's defaults (−23.9 %,"
            " 1.6 M$ a year); against one well tuned pool they save 6.9 %."
        ),
        fleets=fleets,
        recommended=4,
        savings=savings(SPLIT_GPUS, against),
        sweep=sweep(),
        notes=(
            "Step times of a100-80gb were not measured: they follow its data sheet, corrected as measured elsewhere.",
            "The trace ends at 14,089 tokens; nothing tests contexts of 65,536 tokens <beyond> that.",
        ),
        seconds=41.3,
    )


def no_difference_plan() -> Plan:
    """One tuned pool is as cheap."""
    plan = split_plan()
    against = (("B1 vLLM defaults", B1_GPUS), ("B0 published assumption", 1432))
    return replace(
        plan,
        verdict=Verdict.NO_DIFFERENCE,
        sentence="Two pools do not help here: one well tuned pool costs the same, and is simpler to run.",
        recommended=2,
        savings=savings(288, against),
    )


def long_pool_empty_plan() -> Plan:
    """All requests are short."""
    plan = split_plan()
    single = replace(one_pool("One short pool", Baseline.SPLIT, 240, 236, (1.7, 0.07)), router=RouterKind.NONE)
    return replace(
        plan,
        verdict=Verdict.LONG_POOL_EMPTY,
        sentence="No request is longer than 8,192 tokens: one pool of that context serves them all.",
        fleets=(*plan.fleets[:3], single),
        recommended=3,
        savings=savings(240, (("B1 vLLM defaults", B1_GPUS),)),
        sweep=tuple(replace(row, infeasible="the long pool would be empty") for row in plan.sweep[-2:]),
        notes=(),
    )


def infeasible_plan() -> Plan:
    """Nothing fits."""
    plan = split_plan()
    reason = "131.4 GiB of weights do not fit two GPUs of 24 GiB"
    fleets = tuple(
        replace(fleet, pools=(), gpu_range=None, usd_range=None, confirmed=None, infeasible=reason)
        for fleet in plan.fleets[:5]
    )
    return replace(
        plan,
        ask=replace(plan.ask, gpus=("rtx-4090",)),
        verdict=Verdict.INFEASIBLE,
        sentence="No number of these GPUs serves this model: its weights do not fit one instance.",
        fleets=fleets,
        recommended=None,
        savings=(),
        sweep=(),
        notes=(),
    )


def alone(found: Interval) -> Interval:
    """A mean without bounds."""
    return Interval(found.mean, NAN, NAN)


def closed_form_plan() -> Plan:
    """Nothing was simulated."""
    plan = split_plan()
    fleets = tuple(unconfirmed(fleet) for fleet in plan.fleets)
    rows = tuple(replace(row, confirmed_usd=None, confirmed_b1=None, confirmed_b2=None) for row in plan.sweep)
    certain = tuple(
        replace(each, usd_per_year=alone(each.usd_per_year), share=alone(each.share)) for each in plan.savings
    )
    return replace(plan, fleets=fleets, sweep=rows, savings=certain)


PLANS = {
    "split": split_plan,
    "split_hardware": lambda: replace(split_plan(), verdict=Verdict.SPLIT_HARDWARE),
    "no_difference": no_difference_plan,
    "long_pool_empty": long_pool_empty_plan,
    "infeasible": infeasible_plan,
    "closed_form": closed_form_plan,
}


@pytest.fixture(params=PLANS, scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    """Each verdict, and a plan without simulation."""
    found: Plan = PLANS[request.param]()
    return found


@pytest.fixture(scope="session")
def text(plan: Plan) -> str:
    """The page of each."""
    return page(plan, command="dualpool plan --confirm")


@pytest.fixture(scope="session")
def saved_text(saved: Plan) -> str:
    """The page of the plan that saves."""
    return page(saved, command="dualpool plan --preset <mine>", made_on="7 May 2026")


@pytest.fixture(scope="session")
def saved() -> Plan:
    """Two pools save money."""
    return split_plan()


@pytest.fixture
def infeasible() -> Plan:
    """Nothing fits."""
    return infeasible_plan()


@pytest.fixture
def unsimulated() -> Plan:
    """The closed form alone."""
    return closed_form_plan()
