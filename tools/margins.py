"""Prints how often the published estimator misroutes for several margins: the table of docs/adr/0005.

    python tools/margins.py REQUESTS.jsonl.xz

REQUESTS holds one JSON object a line with `body` (a chat's JSON as text) and `llama3_tokens` (its true prompt tokens).
Bodies are shuffled (three orders, each four times); a decision counts unless its ratio was cold.
"""

import argparse
import json
import lzma
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

from extproc.routing.estimators import EmaEstimator, EmaRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.values import Misroute, Provenance, RequestFacts, Usage

THRESHOLD_TOKENS = 8192
REPEATS, ORDERS = 4, 3
Row = tuple[RequestFacts, int]
"""Facts and true prompt tokens."""


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
        shares = [100 * counts[kind] / counts["judged"] for kind in (Misroute.UNDER, Misroute.OVER)]
        print(f"| {gamma:g} | {beta} | {shares[0]:.2f} % | {shares[1]:.2f} % |")


def read_rows(path: Path) -> list[Row]:
    """Facts beside the truth."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(raw: dict[str, object]) -> Row:
    return read_request("/v1/chat/completions", str(raw["body"]).encode()), int(str(raw["llama3_tokens"]))


def run(rows: list[Row], rules: EmaRules, order: int) -> Counter[str]:
    """Route and complete every request with its truth, in one shuffled order."""
    router, counts = Router(estimator=EmaEstimator(rules), policy=TokenBudgetPolicy(THRESHOLD_TOKENS)), Counter[str]()
    stream = rows * REPEATS
    Random(order).shuffle(stream)
    for facts, true_tokens in stream:
        correction = router.complete(router.route(facts, draw=1.0), Usage(true_tokens))
        if correction and correction.judged and correction.provenance is not Provenance.COLD:
            counts["judged"] += 1
            counts[str(correction.misroute)] += 1
    return counts


if __name__ == "__main__":
    main()
