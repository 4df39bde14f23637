"""Prints docs/results/estimators-cost.md from `dualpool simulate --json` and `dualpool plan --json`.

python tools/estimators_cost.py commands DIRECTORY | sh
python tools/estimators_cost.py document DIRECTORY > docs/results/estimators-cost.md

The first prints the commands, each of which writes a file into DIRECTORY; the second tables what is there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from extproc.fleet.answers import Interval
from extproc.fleet.report import shown

SEEDS = 3
ROUTERS = {"oracle": "oracle", "anytime": "ours", "ema": "published EMA", "fixed": "4 bytes a token"}
THRESHOLDS = (4_096, 8_192)
_BATCH = "--max-num-batched-tokens 512 --watermark 0.01"


class Traffic(NamedTuple):
    """A workload and fleets for it that have room to spare, so that what is lost is the estimator's."""

    name: str
    title: str
    flags: str
    pools: dict[int, str]
    """By threshold."""
    objective: str = ""
    """Of the plans, where the default one would be beyond any fleet of a sensible size."""


TRAFFIC = (
    Traffic(
        "azure-2023",
        "Azure, 1,000 requests/s, Llama-3-70B on A100",
        "--preset azure-2023 --rate 1000 --max-model-len 65536 --model llama-3-70b",
        {4_096: "--short 280 --long 140", 8_192: "--short 320 --long 80"},
    ),
    Traffic(
        "mooncake",
        "Mooncake conversations, 100 requests/s, Llama-3.1-70B on A100",
        "--preset mooncake --rate 100 --max-model-len 131072 --model llama-3.1-70b",
        {4_096: "--short 60 --long 400", 8_192: "--short 120 --long 400"},
        " --ttft 10000",
    ),
)


def main() -> None:
    """Print commands or the document."""
    parser = argparse.ArgumentParser(description="Tables of docs/results/estimators-cost.md.")
    parser.add_argument("what", choices=("commands", "document"))
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    if given.what == "commands":
        sys.stdout.write(f"mkdir -p {given.directory}\n")
        sys.stdout.writelines(f"{line} > {given.directory / name}\n" for name, line in commands())
        return
    paths = {name: given.directory / name for name, _ in commands()}
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    sys.stdout.write(document(found))


def commands() -> list[tuple[str, str]]:
    """Files and what writes them."""
    simulated = [(_run(traffic, threshold, router), simulation(traffic, threshold, router))
                 for traffic in TRAFFIC for threshold in THRESHOLDS for router in ROUTERS]  # fmt: skip
    planned = [(_plan(traffic, threshold), planning(traffic, threshold))
               for traffic in TRAFFIC for threshold in THRESHOLDS]  # fmt: skip
    return simulated + planned


def simulation(traffic: Traffic, threshold: int, router: str) -> str:
    """What one router does to a fleet with room to spare."""
    return (
        f"dualpool simulate {traffic.flags} {traffic.pools[threshold]} {_BATCH} --threshold {threshold}"
        f" --router {router} --seeds {SEEDS} --json"
    )


def planning(traffic: Traffic, threshold: int) -> str:
    """What fleets with each router cost at one threshold."""
    return f"dualpool plan {traffic.flags} --threshold {threshold}{traffic.objective} --seeds {SEEDS} --json"


def document(found: dict[str, Any]) -> str:
    """All of it."""
    parts = [HEAD]
    for traffic in TRAFFIC:
        parts.append(f"## {traffic.title}\n")
        for threshold in THRESHOLDS:
            names = {router: _run(traffic, threshold, router) for router in ROUTERS}
            if not set(names.values()) <= found.keys():
                continue
            plan = found.get(_plan(traffic, threshold), {"fleets": []})
            runs = {router: found[name] for router, name in names.items()}
            shared = simulation(traffic, threshold, "ROUTER").replace(" --json", "")
            parts += [f"Threshold {threshold:,}:\n\n    {shared}\n    {planning(traffic, threshold)}\n"]
            parts.append(table(runs, plan))
    return "\n".join([*parts, TAIL])


def table(runs: dict[str, Any], plan: dict[str, Any]) -> str:
    """One line for each estimator: what it loses, and what a fleet that bears it costs."""
    columns = ("estimator", "sent short, too long", "sent long, would fit", "refused", "truncated", "GPUs (mean need)",
               "M$ a year")  # fmt: skip
    lines = [_row([*columns]), f"|---|{'---:|' * (len(columns) - 1)}"]
    for router, name in ROUTERS.items():
        run = runs[router]["confirmed"]
        lost = [run["under"], run["over"], run["fleet"]["rejected"], run["fleet"]["truncated"]]
        lines.append(
            _row([name, *(shown.spread(_interval(each), shown.percent) for each in lost), *_cost(plan, router)])
        )
    for best in (fleet for fleet in plan["fleets"] if fleet["baseline"] == "B2" and not fleet["infeasible"]):
        money = f"{best['usd_per_year'] / 1e6:,.1f}"
        lines.append(_row(["one pool, tuned (B2)", *[shown.ABSENT] * 4, _gpus(best), money]))
    return "\n".join(lines) + "\n"


def _cost(plan: dict[str, Any], router: str) -> list[str]:
    """Of a fleet on the same hardware that this router parts."""
    if not plan["fleets"]:
        return ["not planned", shown.ABSENT]
    fleet = next((each for each in plan["fleets"] if (each["router"], each["baseline"]) == (router, "split")), None)
    if fleet is None or fleet["infeasible"]:
        return ["none keeps the objective", shown.ABSENT]
    return [_gpus(fleet), f"{fleet['usd_per_year'] / 1e6:,.1f}"]


def _gpus(fleet: dict[str, Any]) -> str:
    """That are bought, beside the interval of the mean need."""
    found = fleet["gpu_range"]
    return f"{shown.count(fleet['gpus'])} ({shown.count(round(found['low']))} to {shown.count(round(found['high']))})"


def _interval(found: dict[str, float]) -> Interval:
    """No share is below nothing."""
    return Interval(found["mean"], max(0.0, found["low"]), found["high"])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _run(traffic: Traffic, threshold: int, router: str) -> str:
    return f"{traffic.name}-{threshold}-{router}.json"


def _plan(traffic: Traffic, threshold: int) -> str:
    return f"{traffic.name}-{threshold}.json"


HEAD = f"""# What a wrong estimator costs

Printed by

    python tools/estimators_cost.py commands estimators | sh
    python tools/estimators_cost.py document estimators > docs/results/estimators-cost.md

Four ways to know a request's length: the truth (oracle), the service's own estimator at its default promise of 0.1 %,
the published one (a moving average by kind of text), and four bytes a token. The router is the service's own in each;
it sees bytes that are made from the true tokens with a ratio, noise and template for each kind of text, and learns from
the simulated answers. What kinds of text a public trace holds is not published: the mixes are assumed (presets).

Shares are of all requests, with 95 % intervals over {SEEDS} runs of 50,000, the first fifth of which is not counted,
from fleets that have room to spare: what is refused or truncated there is the router's doing. A request that went short
and does not fit is refused (400) if its prompt alone is too long; where prompt and declared limit together are, vLLM
0.32 and newer cut the limit, and its answer is truncated if it wanted to be longer. GPUs are what `dualpool plan` buys
so that the fleet keeps the objective with such a router, which has seen 8,000 requests before: each pool is as large
as the neediest replication asks. In brackets stands the 95 % interval of what replications need on average, so that
what is bought may lie beyond it. The objective is the planner's own, for Mooncake's prompts of up to 100,000 tokens
with 10 s to the first token in place of 2 s, which at these thresholds only fleets keep that are all but idle. Prices
are the catalogue's.
"""
TAIL = """## What it comes to

Four bytes a token send short what does not fit, wherever text is denser than that: some per cent of all requests are
refused or answered short, more than an objective of 99 % allows, whatever the fleet. At 8,192 tokens Azure hides this,
since next to no request is longer. The published average and our estimator are about equally safe; it pays for that by
sending several times as many long that would fit. Those cost instances of the long pool, not failures: 2 % more GPUs
of an Azure fleet at 4,096 tokens, whose long pool lets short prompts pass long ones; as elsewhere, the intervals
overlap, and what an estimator costs is not told from chance. Fleets for Mooncake are sized by few very long prompts,
so that the order of the estimators there is within chance: at 4,096 the published average comes out cheaper than ours.
"""


if __name__ == "__main__":
    main()
