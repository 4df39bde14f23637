"""Prints how often the published estimator misroutes for several margins: the table of docs/adr/0005.

    python tools/margins.py REQUESTS.jsonl.xz

REQUESTS holds one JSON object a line with `body` (the request's JSON as text), `max_tokens` and `llama3_tokens` (true
prompt tokens). Bodies are shuffled (three orders, each four times); a decision counts once its ratio is calibrated.
"""

import argparse
import json
import lzma
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

from extproc.routing.budget import BudgetRules, budget_of
from extproc.routing.estimators import EmaEstimator, EmaRules
from extproc.routing.policy import judge
from extproc.routing.request import read_request
from extproc.routing.values import Misroute, Pool, RequestFacts, Usage

THRESHOLD_TOKENS = 8192
REPEATS, ORDERS = 4, 3
Row = tuple[RequestFacts, int, int]
"""Facts, true prompt tokens, output tokens."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", type=Path)
    rows = read_rows(parser.parse_args().requests)
    print("| γ | β | under | over |\n|---|---|---|---|")
    for gamma, beta in product((0.0, 1.0, 2.0, 3.0), (0.95, 0.98)):
        counts = Counter[str]()
        for order in range(ORDERS):
            counts += run(rows, EmaRules(decay=beta, margin_deviations=gamma), order)
        shares = [100 * counts[kind] / counts["decided"] for kind in (Misroute.UNDER, Misroute.OVER)]
        print(f"| {gamma:g} | {beta} | {shares[0]:.2f} % | {shares[1]:.2f} % |")


def read_rows(path: Path) -> list[Row]:
    """Facts beside the truth."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(raw: dict[str, object]) -> Row:
    facts = read_request("/v1/chat/completions", str(raw["body"]).encode())
    return facts, int(str(raw["llama3_tokens"])), int(str(raw["max_tokens"] or 0))


def run(rows: list[Row], rules: EmaRules, order: int) -> Counter[str]:
    """Decide, compare, learn, in one shuffled order."""
    estimator, counts = EmaEstimator(rules), Counter[str]()
    stream = rows * REPEATS
    Random(order).shuffle(stream)
    for facts, true_tokens, output_tokens in stream:
        if facts.flaw is not None:
            continue
        estimate = estimator.estimate(facts)
        if estimate.calibrated:
            prompt = budget_of(facts, estimate, BudgetRules()).prompt_tokens
            pool = Pool.SHORT if prompt + output_tokens <= THRESHOLD_TOKENS else Pool.LONG
            counts["decided"] += 1
            counts[str(judge(pool, true_tokens + output_tokens, THRESHOLD_TOKENS))] += 1
        estimator.learn(facts, Usage(true_tokens))
    return counts


if __name__ == "__main__":
    main()
