"""Prints docs/results/plans.md from what `dualpool plan --json` said of a list of cases.

python tools/plans.py commands DIRECTORY | sh
python tools/plans.py document DIRECTORY > docs/results/plans.md

The first prints one command for each case, which writes DIRECTORY/<case>.json; the second tables those that are there.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from extproc.fleet.answers import PLANNER, Interval
from extproc.fleet.report import shown

SEEDS = 3
_WEIGHED = ("B0", "B1", "B2", "B2_hardware")
"""One pool; of two pools only those that our router parts are shown."""
_BASES = ("B1", "B2")
_CONFIRMED_MOST = 400
"""Instances that a confirmation simulates at most (extproc/fleet/tasks.py)."""


class Case(NamedTuple):
    """One question and what to make of the answer."""

    name: str
    title: str
    flags: str
    why: str
    """What binds."""
    sweep: bool = False
    """Whether to table all thresholds."""


CASES = tuple(Case(**case) for case in yaml.safe_load((Path(__file__).parent / "plans.yaml").read_text()))


def main() -> None:
    """Print commands or the document."""
    parser = argparse.ArgumentParser(description="Plans of docs/results/plans.md.")
    parser.add_argument("what", choices=("commands", "document"))
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    if given.what == "commands":
        sys.stdout.write(f"mkdir -p {given.directory}\n")
        sys.stdout.writelines(f"{command(case)} > {given.directory / case.name}.json\n" for case in CASES)
        return
    sys.stdout.write(document([(case, json.loads(path.read_text())) for case, path in written(given.directory)]))


def written(directory: Path) -> list[tuple[Case, Path]]:
    """Cases that were answered, with their files."""
    paths = [(case, directory / f"{case.name}.json") for case in CASES]
    return [(case, path) for case, path in paths if path.exists()]


def command(case: Case) -> str:
    """That answers a case."""
    return f"dualpool plan {case.flags} --seeds {SEEDS} --json"


def document(found: list[tuple[Case, dict[str, Any]]]) -> str:
    """All of it."""
    return "\n".join([HEAD, *aged(found), summary(found), *(section(case, plan) for case, plan in found)])


def aged(found: list[tuple[Case, dict[str, Any]]]) -> list[str]:
    """Which answers are of an earlier planner than this one."""
    titles = [case.title for case, plan in found if plan.get("planner", 1) < PLANNER]
    if not titles:
        return []
    lines = [
        "These are of an earlier planner, and this one may answer otherwise. Where savings have no interval but",
        "in the sentence, the sentence says nothing of that flag either:",
        "",
        *(f"* {title}" for title in titles),
    ]
    return ["\n".join(lines) + "\n"]


def summary(found: list[tuple[Case, dict[str, Any]]]) -> str:
    """One line for each case: what the planner recommends, and what the best two pools save."""
    lines = _head("case", "verdict", "B1, GPUs:", "B2, GPUs:", "two pools, GPUs:", "saved against B1:", "against B2:")
    for case, plan in found:
        best = _best_split(plan)
        bases = [_by_baseline(plan, base) for base in _BASES]
        cells = [case.title, _verdict(plan), *(_gpus(base) for base in bases), _gpus(best)]
        lines.append(_row([*cells, *(_saved(best, base) for base in _BASES)]))
    return "\n".join(lines) + "\n"


def section(case: Case, plan: dict[str, Any]) -> str:
    """One case: the command, what the planner says, its fleets and their pools, and why."""
    fleets = [fleet for fleet in plan["fleets"] if fleet["baseline"] in _WEIGHED or fleet["router"] == "anytime"]
    parts = [
        f"## {case.title}\n",
        f"    {command(case)}\n",
        f"**{plan['sentence']}**\n",
        _fleet_table(fleets),
        _pool_table(fleets),
        *([_sweep_table(plan)] if case.sweep else []),
        f"{case.why}\n",
    ]
    return "\n".join(parts)


def _fleet_table(fleets: list[dict[str, Any]]) -> str:
    sizes = ("fleet", "threshold:", "GPUs, calculated:", "GPUs, simulated:", "M$ a year:")
    served = ("P99 TTFT:", "P99 TPOT:", "preempted:", "refused:", "truncated:")
    lines = _head(*sizes, *served, "saved against B1:", "against B2:")
    for fleet in fleets:
        threshold = shown.ABSENT if fleet["threshold_tokens"] is None else shown.tokens(fleet["threshold_tokens"])
        head = [fleet["name"].removesuffix(", anytime"), threshold, shown.count(fleet["gpus_closed_form"])]
        if fleet["infeasible"]:
            lines.append(_row([*head, fleet["infeasible"], *[shown.ABSENT] * 8]))
            continue
        saved = [_saved(fleet, base) for base in _BASES]
        lines.append(_row([*head, _gpus(fleet), f"{fleet['usd_per_year'] / 1e6:,.1f}", *_experience(fleet), *saved]))
    return "\n".join(lines) + "\n"


def _experience(fleet: dict[str, Any]) -> list[str]:
    """What its users get."""
    if not fleet["confirmed"]:
        return [shown.ABSENT] * 5
    found = fleet["confirmed"]["fleet"]
    times = [shown.seconds(_mean(found[name])) for name in ("ttft_p99_s", "tpot_p99_s")]
    shares = [shown.percent(_mean(found[name])) for name in ("rejected", "truncated")]
    return [*times, shown.per_mille(_mean(found["preemptions_per_mille"])), *shares]


def _pool_table(fleets: list[dict[str, Any]]) -> str:
    size = ("fleet", "pool", "instances:", "batched tokens:", "prompt:", "requests/s of each:")
    lines = _head(*size, "running, of max_num_seqs:", "KV used:", "bound by")
    for fleet in fleets:
        for at, pool in enumerate(fleet["pools"]):
            found = fleet["confirmed"]["pools"][at] if fleet["confirmed"] else None
            running = _mean(found["running_mean"]) / _simulated(fleet, pool) if found else math.nan
            kv = _mean(found["kv_mean"]) if found else math.nan
            name = pool["pool"] if len(fleet["pools"]) > 1 else "one"
            lines.append(_row([
                fleet["name"].removesuffix(", anytime"),
                name,
                f"{pool['instances']:,} × {pool['instance']}",
                shown.tokens(pool["max_num_batched_tokens"]),
                shown.tokens(pool["long_prefill_token_threshold"]) if pool["long_prefill_token_threshold"] else "",
                f"{pool['rate_per_s'] / pool['instances']:.2f}",
                f"{shown.count(round(running, 1))} of {pool['max_num_seqs']:,}",
                shown.percent(kv),
                pool["limit"],
            ]))  # fmt: skip
    return "\n".join(lines) + "\n"


def _sweep_table(plan: dict[str, Any]) -> str:
    """All thresholds on the hardware of one pool; those that the closed form likes best were simulated."""
    closed = ("by α·(1 − 1/ρ):", "calculated, against B1:", "against B2:")
    lines = _head("threshold:", "short share:", *closed, "simulated, against B1:", "against B2:")
    for row in plan["sweep"]:
        if row["infeasible"]:
            continue
        closed_form = [shown.percent(row[name]) for name in ("saving_published", "saving_b1", "saving_b2")]
        found = [row[name] for name in ("confirmed_b1", "confirmed_b2")]
        simulated = [shown.percent(_mean(each)) if each else shown.ABSENT for each in found]
        lines.append(_row([shown.tokens(row["threshold_tokens"]), shown.percent(row["short_share"]), *closed_form,
                           *simulated]))  # fmt: skip
    return "\n".join(lines) + "\n"


def _simulated(fleet: dict[str, Any], pool: dict[str, Any]) -> int:
    """Instances of the pool in the confirmation: a large fleet is simulated in part."""
    instances: int = pool["instances"]
    part = min(1.0, _CONFIRMED_MOST / sum(int(each["instances"]) for each in fleet["pools"]))
    return max(1, round(part * instances))


def _verdict(plan: dict[str, Any]) -> str:
    """With the single pool that it is about, where that is not B2 but one of other hardware."""
    said: str = plan["verdict"].replace("_", " ")
    tuned, other = (_by_baseline(plan, base) for base in ("B2", "B2_hardware"))
    if other is None or (tuned is not None and tuned["usd_per_year"] <= other["usd_per_year"]):
        return said
    return f"{said}, beside {other['name']} with {_gpus(other)}"


def _best_split(plan: dict[str, Any]) -> dict[str, Any] | None:
    """The cheapest two pools that our router parts."""
    ours = [fleet for fleet in plan["fleets"] if fleet["router"] == "anytime" and not fleet["infeasible"]]
    return min(ours, key=lambda fleet: float(fleet["usd_per_year"]), default=None)


def _by_baseline(plan: dict[str, Any], baseline: str) -> dict[str, Any] | None:
    return next((fleet for fleet in plan["fleets"] if fleet["baseline"] == baseline and not fleet["infeasible"]), None)


def _gpus(fleet: dict[str, Any] | None) -> str:
    """That are bought, and the interval of what replications need."""
    if fleet is None or not fleet["gpu_range"]:
        return shown.ABSENT if fleet is None else shown.count(fleet["gpus"])
    found = fleet["gpu_range"]
    return f"{shown.count(fleet['gpus'])} ({shown.count(round(found['low']))} to {shown.count(round(found['high']))})"


def _saved(fleet: dict[str, Any] | None, base: str) -> str:
    """Of the other's cost, replication by replication, as the plan says it."""
    found = fleet and fleet[f"saving_{base.lower()}"]
    if not found:
        return shown.ABSENT
    mean, low, high = (math.nan if found[name] is None else found[name] for name in ("mean", "low", "high"))
    return shown.spread(Interval(mean, low, high), shown.percent)


def _mean(found: dict[str, float | None]) -> float:
    mean = found["mean"]
    return math.nan if mean is None else mean


def _head(*columns: str) -> list[str]:
    """Of a table; a column whose name ends in a colon holds figures."""
    return [
        _row([name.rstrip(":") for name in columns]),
        _row(["---:" if name[-1] == ":" else "---" for name in columns]),
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


HEAD = f"""# What the planner says: against vLLM's defaults, and against one pool that is tuned

Printed by

    python tools/plans.py commands plans | sh
    python tools/plans.py document plans > docs/results/plans.md

The questions of [published.md](published.md) and some others, put to `dualpool plan`. B0 runs as many requests at a
time as whole contexts fit into the KV cache, which is what the published savings are measured against; B1 is vLLM as it
starts; B2 has its batch settings and tensor parallelism chosen for the traffic, which is what two pools must beat.
Every fleet keeps the same objective: 99 % of all requests have their first token within 2 s (longer for the
longest prompts, alike in all fleets) and further ones every 80 ms, at 118 % of the stated traffic.

GPUs are those to buy, enough in each of {SEEDS} replications; in brackets the 95 % interval of what they need on
average, each sized alone, so that what is bought may lie beyond it. Savings are of that need's cost, with both fleets
compared replication by replication, on the same requests. Intervals tell chance alone: step times come from a model of
each GPU, and prices from the catalogue (extproc/fleet/hardware/gpus.yaml). With other prices, another release of the
catalogue or your own calibration the figures change; for the same ones they do not.

"KV used" and "running" are means at the stated traffic; "bound by" is what stops an instance from taking more by the
closed form; "calculated" is by the closed form, which is quick and knows no router; the simulation decides. Where a
table lists thresholds, α·(1 − 1/ρ) is the published formula with the ρ of B0; what was simulated there rests on two
replications.

Where prompts fill several steps, B2 and the long pools of the best splits are also simulated with vLLM's
--long-prefill-token-threshold, which lets short prompts pass long ones within one pool, and have it where that is
cheaper: "prompt" is the most tokens of a step that one prompt gets then.
"""


if __name__ == "__main__":
    main()
