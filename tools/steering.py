"""Prints docs/results/steering.md from simulations of extproc/fleet/scenarios.py under each way to steer.

python tools/steering.py run steering.json
python tools/steering.py document steering.json > docs/results/steering.md

The first simulates every scenario, some ten minutes on two cores, and the second tables what it came to.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from extproc.assembly import steering_rules
from extproc.fleet.answers import Interval
from extproc.fleet.confirm import interval
from extproc.fleet.jobs import Done, jobs
from extproc.fleet.report import shown
from extproc.fleet.scenarios import SCENARIOS, Scenario
from extproc.fleet.trials import Trial, Trialled
from extproc.routing.steerer import SteeringRules
from extproc.settings import Settings

SEEDS, SWEEP_SEEDS = 5, 3
FIXED, SPILLOVER, ADAPTIVE, BOTH = "fixed", "spillover", "adaptive", "both"


def _rules(*, spillover: bool, adaptive: bool) -> SteeringRules:
    """Levels are stated, so that this document stays what it is if defaults change."""
    settings = Settings(
        spillover=spillover,
        spillover_waiting=4.0,
        spillover_kv_usage=0.95,
        spillover_share=0.8,
        adaptive_threshold=adaptive,
        threshold_min_tokens=1024,
    )
    return steering_rules(settings)


WAYS: dict[str, SteeringRules | None] = {
    FIXED: None,
    SPILLOVER: _rules(spillover=True, adaptive=False),
    ADAPTIVE: _rules(spillover=False, adaptive=True),
    BOTH: _rules(spillover=True, adaptive=True),
}
_NAMES = {FIXED: "fixed", SPILLOVER: "fixed, spillover", ADAPTIVE: "adaptive", BOTH: "adaptive, spillover"}
_WORSE = 0.05
"""Than fixed, at most."""
_PREEMPTED = 1.0
"""Per mille, from which a change in per cent says something."""
Found = dict[tuple[str, str], list[dict[str, Any]]]
"""What the runs came to, by scenario and way, in the order of their seeds."""


class Planned(NamedTuple):
    """A run to do."""

    way: str
    """A way to steer, or a threshold in its place."""
    trial: Trial


def main() -> None:
    """Simulate, or print the document."""
    parser = argparse.ArgumentParser(description="Simulations of docs/results/steering.md.")
    parser.add_argument("what", choices=("run", "document"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    if given.what == "run":
        rows: list[dict[str, Any]] = []
        for runs in planned(SCENARIOS, given.seeds):
            rows += run(runs, given.jobs)
            given.file.write_text(json.dumps(rows))
        return
    sys.stdout.write(document(found_in(json.loads(given.file.read_text()))))


def planned(scenarios: Sequence[Scenario], seeds: int = SEEDS) -> Iterator[list[Planned]]:
    """Seed by seed every scenario under every way, and then for fewer seeds under other thresholds."""
    for seed in range(seeds):
        yield [
            Planned(way, Trial(scenario, seed, scenario.fleet.threshold_tokens, rules))
            for scenario in scenarios
            for way, rules in WAYS.items()
        ]
    for seed in range(min(seeds, SWEEP_SEEDS)):
        yield [
            Planned(str(threshold), Trial(scenario, seed, threshold))
            for scenario in scenarios
            for threshold in scenario.fleet.thresholds
        ]


def run(runs: Sequence[Planned], count: int | None) -> list[dict[str, Any]]:
    """Do them, with a dot on standard error for each."""
    done: Done[Trialled] = Done(len(runs))
    with jobs(count) as at_work:
        for _ in at_work.perform([each.trial for each in runs], done):
            sys.stderr.write(".")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return [
        {"scenario": each.trial.scenario.name, "way": each.way, "seed": each.trial.seed, **_flat(result)}
        for each, result in zip(runs, done.all, strict=True)
    ]


def _flat(result: Trialled) -> dict[str, Any]:
    """Of the course only its range, and how often the threshold moved and turned back."""
    fields = result._replace(course=None)._asdict()
    course = result.course
    if course is not None:
        fields |= moves(course.threshold_tokens)
        fields |= {"least_tokens": min(course.threshold_tokens), "most_tokens": max(course.threshold_tokens)}
        fields |= {"from_short": max(course.spilled_from_short), "from_long": max(course.spilled_from_long)}
    return fields


def moves(threshold_tokens: Sequence[int]) -> dict[str, int]:
    """How often a threshold moved, and how many of its moves went back on the one before."""
    steps = [after - before for before, after in pairwise(threshold_tokens) if after != before]
    return {"moves": len(steps), "turns": sum((before > 0) != (after > 0) for before, after in pairwise(steps))}


def found_in(rows: Sequence[dict[str, Any]]) -> Found:
    """By scenario and way."""
    found: Found = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        found.setdefault((row["scenario"], row["way"]), []).append(row)
    return found


def document(found: Found) -> str:
    """All of it."""
    scenarios = [scenario for scenario in SCENARIOS if (scenario.name, FIXED) in found]
    fleets = dict.fromkeys(scenario.fleet for scenario in scenarios)
    parts = [HEAD, _fleets(list(fleets)), _summary(scenarios, found), _verdict(scenarios, found), FINDINGS]
    return "\n".join([*parts, *(_section(scenario, found) for scenario in scenarios)])


def changes(found: Found, scenario: str, way: str, value: str) -> list[float]:
    """Of a figure against the fixed threshold under the same requests: as a share of it, seed by seed."""
    pairs = zip(found[scenario, way], found[scenario, FIXED], strict=False)
    return [after[value] / before[value] - 1.0 for after, before in pairs if before[value]]


def best_fixed(found: Found, scenario: Scenario) -> str:
    """The way of the threshold with the least P99 TTFT, the planned one among them."""
    others = [str(threshold) for threshold in scenario.fleet.thresholds]
    ways = [FIXED, *(way for way in others if (scenario.name, way) in found)]
    return min(ways, key=lambda way: _mean(found[scenario.name, way][:SWEEP_SEEDS], "ttft_p99_s"))


def _fleets(fleets: Sequence[Any]) -> str:
    lines = _head("fleet", "threshold:", "short pool holds:", "P99 TTFT promised:", "planned by")
    for fleet in fleets:
        tokens = [shown.tokens(fleet.threshold_tokens), shown.tokens(fleet.short_max_model_len)]
        lines.append(_row([fleet.name, *tokens, shown.seconds(fleet.slo.ttft_s), f"`{fleet.planned_by}`"]))
    return "\n".join(lines) + "\n"


def _summary(scenarios: Sequence[Scenario], found: Found) -> str:
    """P99 TTFT of each scenario: fixed, and how much each way changes it."""
    names = [f"{_NAMES[way]}:" for way in (SPILLOVER, ADAPTIVE, BOTH)]
    lines = _head("scenario", "fixed, P99 TTFT:", *names, "best fixed:")
    for scenario in scenarios:
        cells = [_change(changes(found, scenario.name, way, "ttft_p99_s")) for way in (SPILLOVER, ADAPTIVE, BOTH)]
        cells.append(_best(scenario, found))
        p99_s = _over(found[scenario.name, FIXED], "ttft_p99_s", shown.seconds)
        lines.append(_row([f"{scenario.name}: {scenario.what}", p99_s, *cells]))
    return "\n".join(lines) + "\n"


def _best(scenario: Scenario, found: Found) -> str:
    """What the best fixed threshold would have changed."""
    if not any(way.isdigit() for name, way in found if name == scenario.name):
        return shown.ABSENT
    best = best_fixed(found, scenario)
    if best == FIXED:
        return "the planned one"
    return f"{_change(changes(found, scenario.name, best, 'ttft_p99_s'))} at {_threshold(scenario, best)}"


def _verdict(scenarios: Sequence[Scenario], found: Found) -> str:
    """Which cases are worse than fixed by more than five per cent, by P99 TTFT or preemptions."""
    worse: list[str] = []
    worst: dict[str, tuple[float, str]] = {}
    for way in (SPILLOVER, ADAPTIVE, BOTH):
        for scenario in scenarios:
            for value, of_what in (("ttft_p99_s", "P99 TTFT"), ("preemptions_per_mille", "preemptions")):
                if value != "ttft_p99_s" and _mean(found[scenario.name, FIXED], value) < _PREEMPTED:
                    continue
                change = interval(changes(found, scenario.name, way, value)).mean
                worst[way] = max(worst.get(way, (-math.inf, "")), (change, f"{of_what} of {scenario.name}"))
                if change > _WORSE:
                    worse.append(f"{_NAMES[way]}: {scenario.name}, {of_what} {shown.change(change)}")
    said = ". ".join(f"{_NAMES[way]}: {shown.change(change)} ({where})" for way, (change, where) in worst.items())
    head = "No case is worse than the fixed threshold by more than 5 %." if not worse else "Worse by more than 5 %:"
    listed = "".join(f"\n- {line}" for line in worse)
    return f"**{head}**{listed}\n\nThe least favourable change of each, in the mean: {said}.\n"


def _section(scenario: Scenario, found: Found) -> str:
    """One scenario: every way, with what its users got."""
    of_users = ("P99 TTFT:", "short:", "long:", "preempted:", "refused:", "lost:", "within the objective:")
    head = ("threshold:", "moves:", *of_users, "spilled:")
    lines = _head("", *head, "change of P99 TTFT:")
    best = best_fixed(found, scenario)
    for way in (*WAYS, *([best] if best != FIXED else [])):
        rows = found[scenario.name, way]
        name = _NAMES.get(way, "best fixed")
        figures = [_over(rows, value, shown.seconds) for value in _TIMES]
        preempted = _over(rows, "preemptions_per_mille", shown.per_mille)
        shares = [_over(rows, value, shown.percent) for value in ("refused_share", "lost_share", "slo_share")]
        change = _change(changes(found, scenario.name, way, "ttft_p99_s")) if way != FIXED else shown.ABSENT
        course = [_threshold(scenario, way, rows), _moves(rows), *figures, preempted, *shares, _spilled(rows), change]
        lines.append(_row([name, *course]))
    return f"## {scenario.name.capitalize()}\n\n{scenario.fleet.name}: {scenario.what}.\n\n" + "\n".join(lines) + "\n"


_TIMES = ("ttft_p99_s", "short_ttft_p99_s", "long_ttft_p99_s")


def _threshold(scenario: Scenario, way: str, rows: Sequence[dict[str, Any]] = ()) -> str:
    if way not in WAYS:
        return shown.tokens(int(way))
    least = min([row.get("least_tokens", math.inf) for row in rows], default=math.inf)
    most = max([row.get("most_tokens", -math.inf) for row in rows], default=-math.inf)
    if least >= most:
        return shown.tokens(scenario.fleet.threshold_tokens)
    return f"{shown.tokens(int(least))} to {shown.tokens(int(most))}"


def _moves(rows: Sequence[dict[str, Any]]) -> str:
    """Of the threshold in eight minutes, and how many of them went back on the one before; means over the seeds."""
    if not any(row.get("moves") for row in rows):
        return shown.ABSENT
    made, back = (_mean(rows, name) for name in ("moves", "turns"))
    return f"{made:.1f}, {back:.1f} back"


def _spilled(rows: Sequence[dict[str, Any]]) -> str:
    """The largest share that went to the other pool."""
    most = [max((row.get(name, 0.0) for row in rows), default=0.0) for name in ("from_short", "from_long")]
    said = [f"{shown.percent(share)} of {pool}" for share, pool in zip(most, ("short", "long"), strict=True) if share]
    return ", ".join(said) or shown.ABSENT


def _change(values: Sequence[float]) -> str:
    found = interval(values)
    if max(map(abs, found)) < 5e-4:  # noqa: PLR2004 - nobody would see it
        return "0 %"
    return shown.spread(found, shown.change)


def _over(rows: Sequence[dict[str, Any]], value: str, say: Callable[[float], str]) -> str:
    """Mean over the seeds and its interval."""
    mean, low, high = interval([row[value] for row in rows])
    return shown.spread(Interval(mean, max(0.0, low), high), say)


def _mean(rows: Sequence[dict[str, Any]], value: str) -> float:
    return interval([row[value] for row in rows]).mean


def _head(*names: str) -> list[str]:
    """Columns whose names end in a colon are aligned right."""
    ruler = ["---:" if name.endswith(":") else "---" for name in names]
    return [_row([name.removesuffix(":") for name in names]), _row(ruler)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


HEAD = """# Steering: spillover and an adaptive threshold, in the simulator

Printed by

    python tools/steering.py run steering.json
    python tools/steering.py document steering.json > docs/results/steering.md

The service's own `Steerer` steers the service's own router in front of simulated pools. Every two seconds it gets
what a poll of their `/metrics` would read: running, waiting, KV use of each instance that is up, preemptions and 503s
since the last look. Levels are those of the settings `spillover_waiting: 4`, `spillover_kv_usage: 0.95`,
`spillover_share: 0.8`, `threshold_min_tokens: 1024`.

Four ways see the same requests, five times with other random numbers: the planned threshold, fixed; that with
spillover; an adaptive threshold; both. Changes are against fixed, seed by seed, with 95 % intervals. "Best fixed" is
the best of some thresholds in hindsight, the planned one among them, by the P99 TTFT of three seeds; no operator
knows it beforehand. Each run lasts eight simulated minutes, the first tenth of the requests is not counted.
"""
FINDINGS = """What the tables say:

- Spillover does no harm where there is nothing to do, and helps wherever one pool is short of room while the other is
  not: mixes that shift, lost instances, a day whose peak one pool cannot take.
- In bursts that hit both pools it hardly moves the P99. In `bursts` it brings more requests within the objective all
  the same, in `bursts, 4090`, where neither pool has room, it does next to nothing; and half of a pool is more than
  three instances of the other can take over.
- The adaptive threshold alone is too slow for most of what happens in minutes, and it is meant to be. In `longer,
  4090` it reaches what spillover does, in `shorter` little more than half of it. In `bursts` it lowers the P99 of all
  at the price of the long pool's own requests: their P99 rises by two thirds, and the threshold stays low between
  bursts.
- Both together are as good as spillover alone or better in every scenario, but for chance: the threshold takes over
  what spillover would have to go on doing.
- Against the best fixed threshold in hindsight both together are ahead where traffic goes back and forth (`bursts`,
  `day`, `turns`, `quick turns`, `half of long`), level in `shorter` and `half of short, agents`, and behind where one
  pool is the worse one from beginning to end (`half of short` for Azure's traffic on either hardware, `longer, 4090`).
- The pool that takes over answers its own requests later than before. Requests lost are those of engines that died;
  nothing is refused but what was taken for shorter than it is, for queues have no limit here.
- With agents' prompts the short pool's queue is seen and relieved like others. Of the long pool, where few requests
  wait and each for long, a level of four to an instance may say nothing; a lower one was not tried.
- Hence `spillover: true` and `adaptive_threshold: false` as defaults: the first needs no watching, the second moves
  what an operator has planned, and is worth turning on beside it where the mix drifts over hours.

Not in it: polls that fail or lie (readings of dead instances vanish at once, not after three polls), the retry of what
a dead or full instance refuses, and traffic that reacts to being slow.
"""

if __name__ == "__main__":
    main()
