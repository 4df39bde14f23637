"""What is published of two pools' latency and reliability, beside what the published planner's model gives (B0).

It knows the published tables; times come from `extproc.fleet.slotmodel`: the prefill of a request, its iteration, and
the wait for a slot. Source of the tables: arXiv 2604.08075, as public summaries report it.
"""

import math

import numpy as np

from extproc.fleet.comparison import Row, Table, compared
from extproc.fleet.slotmodel import (
    A100,
    AZURE,
    PROMPT_SHARE,
    REFERENCE_TOKENS,
    instances,
    quantiles,
    service,
    slots,
    wait_p99_s,
)
from extproc.fleet.values import Floats

_LONG_TOKENS = 65_536
_RATE_PER_S = 1_000.0
_POOLS = ((0.0, 65_536.0, _LONG_TOKENS),)
_TWO_POOLS = ((0.0, 8_192.0, 8_192), (8_192.0, 65_536.0, _LONG_TOKENS))
"""Above and up to so many tokens, and max_model_len: one pool, and the published two."""
_TIMES = (
    ("P50 TTFT", "ttft", 50, 0.42, 0.28, 33),
    ("P99 TTFT", "ttft", 99, 1.82, 1.71, 6),
    ("P50 TPOT", "tpot", 50, 28, 25, 11),
    ("P99 TPOT", "tpot", 99, 67, 62, 7),
)
"""Seconds of TTFT and milliseconds of TPOT, homogeneous and of two pools; gain in per cent."""
_VIDUR = "the step times of the simulator that gave the published figure are not published"
_NO_GROWTH = "a slot reserves the whole context, so nothing is ever preempted; the simulator behind it is not published"


def latency(source: str) -> Table:
    """TTFT and TPOT on Azure by the published planner's model, and the gains from the figures beside them."""
    law = {
        "ttft": "⌈prompt/512⌉ iterations of W + H·tokens/8,192·slots, and the wait for a slot",
        "tpot": "one iteration, W + H·tokens/8,192·slots with all slots taken",
    }
    rows = []
    for name, kind, percentile, one, two, gain in _TIMES:
        unit, scale = ("s", 1.0) if kind == "ttft" else ("ms", 1e3)
        for fleet, pools, figure in (("homogeneous", _POOLS, one), ("two pools", _TWO_POOLS, two)):
            ours = scale * _percentile(kind, percentile, pools)
            rows.append(compared(f"{name}: {fleet}", figure, ours, unit, f"{law[kind]}; {_VIDUR}"))
        stated = 100 * (1 - two / one)
        rows.append(compared(f"{name}: gain", gain, stated, "%", f"1 − {two}/{one}", within=0.5))
    return Table("Latency, Azure", source, tuple(rows))


def _percentile(kind: str, percentile: int, pools: tuple[tuple[float, float, int], ...]) -> float:
    """Seconds, of all requests of a fleet; to P99 of TTFT the longest P99 wait of a pool is added."""
    found = [_times(*pool) for pool in pools]
    wait_s = max(wait for *_, wait in found) if (kind, percentile) == ("ttft", 99) else 0.0
    values = np.concatenate([times[0] if kind == "ttft" else times[1] for times in found])
    weights = np.concatenate([np.full(len(times[0]), times[2] / len(times[0])) for times in found])
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(reached, percentile / 100)]) + wait_s


def _times(above_tokens: float, to_tokens: float, max_model_len: int) -> tuple[Floats, Floats, float, float]:
    """Of one pool: prefill and iteration of its requests in seconds, their share of all, and the P99 wait."""
    tokens, share = quantiles(AZURE, above_tokens, to_tokens)
    iteration_s = A100.iteration_s + A100.sequence_s * tokens / REFERENCE_TOKENS * slots(A100, max_model_len)
    prefill_s = np.ceil(PROMPT_SHARE * tokens / A100.chunk_tokens) * iteration_s
    what = service(A100, AZURE, max_model_len, above_tokens=above_tokens, to_tokens=to_tokens)
    wait_s = wait_p99_s(what, _RATE_PER_S * share, instances(what, _RATE_PER_S))
    return prefill_s, np.asarray(iteration_s), share, wait_s


def reliability(source: str) -> Table:
    """Preemptions, deaths and refusals on Azure at 90 % utilisation."""
    dies = "KV growth cannot end an engine: vLLM preempts instead; no other cause or rate is published"
    queue = "the model has no bound on its queue, so nothing is refused; no bound is published"
    return Table("Reliability, Azure, 90 % utilisation", source, (
        compared("homogeneous: preemptions", 47.3, 0.0, "‰", _NO_GROWTH),
        compared("short pool: preemptions", 1.2, 0.0, "‰", _NO_GROWTH),
        compared("long pool: preemptions", 38.6, 0.0, "‰", _NO_GROWTH),
        _mixed(),
        compared("fewer preemptions", 5.4, 47.3 / 8.7, "×", "47.3 / 8.7 per mille", within=0.05),
        compared("homogeneous: OOM per hour", 2.1, math.nan, "", dies),
        compared("two pools: OOM per hour", 0.4, math.nan, "", dies),
        compared("fewer OOM", 5.3, 2.1 / 0.4, "×", "2.1 / 0.4 per hour", within=0.051),
        compared("homogeneous: rejected", 0.31, 0.0, "%", queue),
        compared("two pools: rejected", 0.05, 0.0, "%", queue),
        compared("homogeneous: without success", 100 - 99.69, 0.31, "%", "100 − 99.69 against what is rejected"),
        compared("two pools: without success", 100 - 99.95, 0.05, "%", "100 − 99.95 against what is rejected"),
    ))  # fmt: skip


def _mixed() -> Row:
    """The fleet's preemptions from those of its pools, with the public share of requests up to 8,192 tokens."""
    _, share = quantiles(AZURE, 0.0, REFERENCE_TOKENS)
    why = f"1.2·α + 38.6·(1 − α) with α(8192) = {share:.5f} of the public distribution; 8.7 needs α = 0.80"
    return compared("two pools: preemptions", 8.7, 1.2 * share + 38.6 * (1 - share), "‰", why)
