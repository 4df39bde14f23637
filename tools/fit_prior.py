"""Fits the weights the estimator starts from: prints or writes extproc/routing/prior.py.

    python tools/fit_prior.py REQUESTS.jsonl.xz [--write]

REQUESTS holds one JSON object a line: `body` (a chat's JSON as text) and its true prompt tokens under two vocabularies,
`llama3_tokens` and `qwen3_tokens`. Robust least squares of relative errors (iteratively reweighted), over both.
"""

import argparse
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from extproc.routing.features import NAMES
from extproc.routing.kernels import Array
from extproc.routing.request import read_request

TARGET = Path(__file__).parents[1] / "extproc/routing/prior.py"
ROUNDS = 12
RIDGE = 1e-3
"""Shares of a weight's own information, added to it: keeps weights of rare bytes from fitting single bodies."""
TOLERATED = 0.05
"""Relative errors beyond it lose weight: one odd source must not tilt the fit for all."""
FRAMING_NAMES = ("structure byte", "prompt", "message", "tool")
UNSEEN = {"hebrew": 0.7, "emoji": 0.9, "control": 1.0}
"""Bytes that such text has none or too few of, by what byte-level vocabularies make of them at worst: weights are per
lead byte, with those of its continuation bytes in them."""


def main() -> None:
    """Fit, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name} instead of printing it")
    arguments = parser.parse_args()
    counts, truths = read(arguments.requests)
    weights = fit(counts, truths)
    text = module(weights, np.abs(np.log(truths / (counts @ weights))))
    TARGET.write_text(text) if arguments.write else print(text)


def read(path: Path) -> tuple[Array, Array]:
    """Counts of every body, once for each vocabulary, and the true tokens."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt") as lines:
        rows = [row for line in lines for row in _rows(json.loads(line))]
    return np.array([counts for counts, _ in rows]), np.array([float(tokens) for _, tokens in rows])


def _rows(raw: dict[str, object]) -> Iterator[tuple[list[float], int]]:
    request = read_request("/v1/chat/completions", str(raw["body"]).encode())
    facts, shares = request.facts, request.text().shares
    framing = [facts.structure_bytes, 1, facts.message_count, facts.tool_count]
    counts = [*(facts.text_bytes * shares).tolist(), *framing]
    for name in ("llama3_tokens", "qwen3_tokens"):
        yield counts, int(str(raw[name]))


def fit(counts: Array, truths: Array) -> Array:
    """Weights that make relative errors small."""
    predicted, trust = truths, np.ones(len(truths))
    weights = np.zeros(counts.shape[1])
    for _ in range(ROUNDS):
        scaled = counts / predicted[:, None] * np.sqrt(trust)[:, None]
        information = scaled.T @ scaled
        ridge = np.diag(np.diag(information)) * RIDGE + 1e-9 * np.eye(len(weights))
        moment = scaled.T @ (truths / predicted * np.sqrt(trust))
        weights = np.asarray(np.linalg.solve(information + ridge, moment), np.float64)
        predicted = np.maximum(counts @ weights, 1.0)
        trust = 1.0 / np.sqrt(1.0 + ((truths / predicted - 1.0) / TOLERATED) ** 2)
    for name, weight in UNSEEN.items():
        weights[NAMES.index(name)] = weight
    return weights


def module(weights: Array, errors: Array) -> str:
    """The source of the module."""
    p50, p95 = (100 * float(np.quantile(errors, share)) for share in (0.5, 0.95))
    named = zip((*NAMES, *FRAMING_NAMES), weights, strict=True)
    lines = "\n".join(f"    {weight:.4f},  # {name}" for name, weight in named)
    return TEMPLATE.format(lines=lines, bodies=len(errors) // 2, p50=p50, p95=p95)


TEMPLATE = '''"""What the estimator knows before its first answer: tokens for each count of a prompt. Generated.

`python tools/fit_prior.py REQUESTS.jsonl.xz --write`, on {bodies} chat bodies in 18 kinds of text with true prompt
tokens under the vocabularies and chat templates of Llama 3.1 and Qwen3, both alike. On the bodies it was fitted to,
|log error| is {p50:.1f} % at the median and {p95:.1f} % at the 95th percentile.
"""

WEIGHTS = (
{lines}
)
"""By `extproc.routing.features.NAMES`, then tokens for each structure byte, prompt, message, tool."""
SCALE_MIN = 0.02
"""Weights are learned in shares of themselves; those near zero, in shares of this."""
'''


if __name__ == "__main__":
    main()
