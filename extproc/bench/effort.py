"""What each stage of a decision costs in this process, on one body looked at again and again; knows no Envoy.

The processor's caches are warm here, and hold nothing else: in service the same work takes two to five times as long.
"""

import statistics
from collections.abc import Callable
from time import perf_counter

from extproc.bench.measure import KIB, request_of
from extproc.bench.recording import recordings
from extproc.routing.budget import BudgetRules, bounds_of
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request, read_request
from extproc.routing.served import Promise, Served

BODY_BYTES = 43 * KIB
_PATH = "/v1/chat/completions"
_ANSWERS = 300
"""What the model has learned from: enough to be in doubt no more."""
_BYTES_PER_TOKEN = 4


def efforts_us(clock_ns: Callable[[], int], repeats: int = 500) -> dict[str, float]:
    """Median cost of reading a body, of each stage that looks at it, without those before it, and of telemetry.

    Args:
        clock_ns: read before and after each.
        repeats: how often each is done.
    """
    body = request_of(BODY_BYTES).partition(b"\r\n\r\n")[2]
    steps = {"read": lambda: read_request(_PATH, body)} | _stages(read_request(_PATH, body))
    with recordings(perf_counter) as recorded:
        return {name: _median_us(step, clock_ns, repeats) for name, step in (steps | recorded).items()}


def table(efforts: dict[str, float]) -> str:
    """A Markdown table."""
    rows = [f"| {name} | {cost:.1f} |" for name, cost in efforts.items()]
    return "\n".join([f"| {BODY_BYTES // KIB} KiB | µs |", "|---|---:|", *rows])


def _stages(read: Request) -> dict[str, Callable[[], object]]:
    """Each on a request that nobody has looked at yet: it keeps what was found out about it."""
    facts, rules, policy, served = read.facts, BudgetRules(), TokenBudgetPolicy(8192), Served(Promise())
    for _ in range(_ANSWERS):
        served.model.learn(read.text().shares, facts, facts.text_bytes // _BYTES_PER_TOKEN)

    def fresh() -> Request:
        return Request(facts, read.prompt)

    return {
        "bounds": lambda: policy.settle(facts, bounds_of(facts, rules)),
        "size": lambda: served.glance(fresh().category(), facts),
        "sample": lambda: served.model.judge(fresh().sample().shares, facts),
        "text": lambda: served.model.judge(fresh().text().shares, facts),
    }


def _median_us(step: Callable[[], object], clock_ns: Callable[[], int], repeats: int) -> float:
    costs_ns = []
    for _ in range(repeats):
        started_ns = clock_ns()
        step()
        costs_ns.append(clock_ns() - started_ns)
    return statistics.median(costs_ns) / 1e3
