"""The few figures of a plan that whoever pays will ask for, the commands to start, and how the figures were made."""

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from extproc.fleet.answers import FleetPlan, Interval, Plan, Saving
from extproc.fleet.report import roles, tables
from extproc.fleet.report.shown import ABSENT, count, per_second, percent, plural, seconds, tokens, usd
from extproc.fleet.report.wording import POOLS
from extproc.fleet.values import Slo
from extproc.routing.values import Pool

_TIED = "\u00a0"
"""A space at which no line breaks."""
_PACKAGES = ("dualpool", "numpy", "numba")
_PRICES = "list price of each GPU, or your own, 8,760 hours a year; GPUs only: no staff, network or discounts"


class Card(NamedTuple):
    """One figure in large."""

    title: str
    value: str
    detail: str = ""


class Command(NamedTuple):
    """What to start."""

    title: str
    command: str
    colour: str = ""
    """`short` or `long` where there are two pools."""


def asked(plan: Plan) -> str:
    """What every fleet must do, in words."""
    ask, slo = plan.ask, plan.ask.slo
    return (
        f"Each fleet serves {ask.model} at {per_second(ask.rate_per_s)} requests per second, with contexts of up to"
        f" {tokens(ask.max_model_len)} tokens, and is as large as it must be so that {slo.percentile:g} % of requests"
        f" see their first token within {seconds(slo.ttft_s)}{allowance(slo)} and each further one within"
        f" {seconds(slo.tpot_s)}."
    )


def allowance(slo: Slo) -> str:
    """What long prompts are allowed, to be read behind the time of the others; nothing where it is no more."""
    if not slo.ttft_s_per_token:
        return ""
    return f", or {seconds(slo.ttft_s_per_token)} per prompt token where that is longer,"


def times_caption(slo: Slo) -> str:
    """What the dots of `curves.times` mean, and what they do not."""
    kept = "A fleet keeps its promise where its line passes above the dot, or to the left of it"
    if not slo.ttft_s_per_token:
        return f"{kept}."
    longest = count(slo.ttft_s / slo.ttft_s_per_token)
    return (
        f"{kept}; but prompts of more than {longest} tokens are allowed {seconds(slo.ttft_s_per_token)} per token until"
        " the first one, so that its line may pass below the dot of TTFT where there are many of them."
    )


def cards(plan: Plan, chosen: FleetPlan) -> list[Card]:
    """The figures that whoever pays will ask for."""
    cost = [_cost_card(chosen)] if plan.ask.priced else []
    return [_gpu_card(chosen), *cost, *(_saving_card(plan, saving) for saving in plan.savings)]


def _gpu_card(chosen: FleetPlan) -> Card:
    """The fleet has what the neediest replication needs; the interval is of what they need on average."""
    what = tables.layout(chosen)
    if not roles.simulated(chosen):
        return Card("GPUs", count(chosen.gpus), f"{what}; by the closed form")
    reach = _reach(chosen.gpu_range, count) if chosen.gpu_range else ""
    need = f", mean need {reach} (95 % interval)" if reach else ""
    return Card("GPUs", count(chosen.gpus), f"{what}; enough in every simulated run{need}")


def _cost_card(chosen: FleetPlan) -> Card:
    reach = _reach(roles.usd_range(chosen), usd)
    detail = f"{count(chosen.usd_per_hour)} $ per hour" + (f"; mean need {reach} (95 % interval)" if reach else "")
    return Card("Cost per year", usd(chosen.usd_per_year), detail)


def _saving_card(plan: Plan, saving: Saving) -> Card:
    """Named by what it is against; a loss says so."""
    other = roles.named(plan, saving.against)
    loses = saving.share.mean < 0
    sign = -1 if loses else 1
    money, share = (_turned(found, sign) for found in (saving.usd_per_year, saving.share))
    reach = " or ".join(found for found in (_reach(share, percent), _reach(money, usd)) if found)
    told = [
        f"{usd(money.mean)} per year" if plan.ask.priced else "",
        f"95 % interval {reach}" if reach else "",
        f"{plural(abs(saving.gpus), 'GPU')} {'fewer' if saving.gpus > 0 else 'more'}" if saving.gpus else "",
    ]
    detail = "; ".join(filter(None, told))
    title = "Costs more than" if loses else "Saves against"
    return Card(f"{title} {other.name if other else saving.against}", percent(share.mean), detail)


def _turned(found: Interval, sign: int) -> Interval:
    """A loss counted upwards."""
    return found if sign > 0 else Interval(-found.mean, -found.high, -found.low)


def _reach(found: Interval, shown: Callable[[float], str]) -> str:
    """Nothing where the interval has no width."""
    low, high = (shown(value).replace(" ", _TIED) for value in (found.low, found.high))
    return "" if ABSENT in {low, high} or found.low == found.high else f"{low} to {high}"


def commands(fleet: FleetPlan) -> list[Command]:
    """One for each pool; flags on lines of their own, unless quotes could be torn."""
    two = len(fleet.pools) > 1
    return [
        Command(
            f"{_title(pool.pool) if two else 'One pool'}: {plural(pool.instances, 'instance')} of {pool.instance}",
            lines(pool.command),
            pool.pool.value if two else "",
        )
        for pool in fleet.pools
        if pool.instances
    ]


def _title(pool: Pool) -> str:
    return POOLS[pool].capitalize()


def lines(command: str) -> str:
    """A shell command, broken before its flags."""
    return command if {"'", '"', "\\"} & set(command) else command.replace(" --", " \\\n  --")


def made(plan: Plan) -> list[tuple[str, str]]:
    """What somebody needs to get the same figures again."""
    ask = plan.ask
    simulated = any(fleet.confirmed is not None for fleet in plan.fleets)
    runs = f"{plural(ask.seeds, 'run')} of {count(ask.requests)} requests, each with random numbers of its own"
    return [
        ("Workload", f"{ask.workload}. {ask.source}"),
        *([("Simulation", f"{runs}; intervals are Student's t over the runs, 95 %")] if simulated else []),
        *([("Thresholds tried", ", ".join(map(tokens, ask.thresholds)) + " tokens")] if ask.thresholds else []),
        ("Router's promise", f"at most {percent(ask.promise)} of requests are sent short and do not fit"),
        ("Prices", _PRICES if ask.priced else "not known for every GPU: GPUs are counted instead"),
        ("vLLM", f"scheduling as in version {ask.vllm}"),
        ("Versions", versions()),
        *([("Computed in", seconds(plan.seconds))] if plan.seconds else []),
    ]


def versions() -> str:
    """Of what computes."""
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
