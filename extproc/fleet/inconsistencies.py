"""Where published figures of dual-pool routing do not follow from one another: each as one computation.

It knows the papers' figures (arXiv 2604.08075, 2604.09613, as public summaries report them) and arithmetic; it judges
nothing: a row says what was computed and what would have to hold for the published figure.
"""

import math

from extproc.fleet.comparison import Row, Table, compared
from extproc.fleet.cost import HOURS_PER_YEAR, published_saving
from extproc.fleet.slotmodel import A100, AZURE, LMSYS, REFERENCE_TOKENS, quantiles

SOURCE = "arXiv 2604.08075 and its first version 2604.09613, as reported by public summaries of them."
_RATIO = 11.2 / 2.8
_KV_BYTES_PER_TOKEN = 2 * 80 * 8 * 128 * 2
"""Llama-3-70B in bf16: keys and values, layers, KV heads, head dimension, bytes (its published configuration)."""
_WEIGHT_BYTES = 141e9
"""Llama-3-70B in bf16."""
_GIB = 2**30
_A100_BYTES = 79.15 * _GIB
_MEMORY_SHARE = 0.92
"""vLLM's default gpu_memory_utilization since 0.20.2."""
_OVERHEAD_BYTES = 2.3 * _GIB
"""Per GPU, with CUDA graphs."""


def inconsistencies() -> Table:
    """All computations, in order of weight."""
    rows = [*_savings(), *_versions(), *_traces(), *_memory(), *_money(), *_laws()]
    return Table("Figures that do not follow from one another", SOURCE, tuple(rows))


def _savings() -> list[Row]:
    """The stated savings against the closed form with the stated ratio."""
    share = (38.6 - 8.7) / (38.6 - 1.2)
    from_preemptions = 100 * published_saving(share, _RATIO)
    mixed = f"ρ = 4; 1.2·α + 38.6·(1 − α) = 8.7 preemptions per mille gives α = {share:.2f}"
    rows = [compared("Azure: saving, α from the preemption table", 41.9, from_preemptions, "%", mixed)]
    for name, cumulative, saved in (("Azure", AZURE, 41.9), ("LMSYS", LMSYS, 31.3)):
        _, alpha = quantiles(cumulative, 0.0, REFERENCE_TOKENS)
        needed = saved / 100 / (1 - 1 / _RATIO)
        why = f"share of the public distribution up to 8,192 tokens; the other is what {saved} % needs at ρ = 4"
        rows.append(compared(f"{name}: α behind the saving", needed, alpha, "", why))
    return rows


def _versions() -> list[Row]:
    """Two versions of one paper."""
    why = "published: second version, computed: what the first one stated"
    return [
        compared("Azure: saving in the two versions", 41.9, 16.6, "%", why),
        compared("LMSYS: saving in the two versions", 31.3, 38.5, "%", f"{why}; the order of the traces is reversed"),
        compared("Azure: P99 TTFT of two pools over homogeneous", 1.71 / 1.82, 1.60 / 0.91, "×", why),
    ]


def _traces() -> list[Row]:
    """What the traces hold."""
    same = "both traces get 358; computed: mean tokens of a request, 1,588 of public Azure over 69.5 + 214.5 of LMSYS"
    azure = "Azure Public Dataset 2023, code and conversation: 153.8 output of 1,588.0 tokens"
    lmsys = "stated means of 69.5 input and 214.5 output tokens"
    longest = "published: tail to 64K; computed: longest of 28,185 public requests, of which one exceeds 8,192 tokens"
    return [
        compared("homogeneous fleet, Azure over LMSYS", 1.0, 1_588 / 284, "×", same),
        compared("longest request", 65_536, 14_089, "tokens", longest),
        compared("Azure: output share of tokens", 20, 100 * 153.8 / 1_588.0, "%", f"the planner splits 80/20; {azure}"),
        compared("LMSYS: output share of tokens", 20, 100 * 214.5 / 284, "%", f"the planner splits 80/20; {lmsys}"),
    ]


def _memory() -> list[Row]:
    """What an instance of the stated size holds."""
    stated = 16 * 65_536
    held = [_kv_tokens(gpus) for gpus in (2, 8)]
    why = "(0.92·79.15 − 2.3) GiB per GPU less 141 GB of weights, over 327,680 bytes per token; stated: 16 × 65,536"
    size = f"{stated:,} tokens of 327,680 bytes; computed: memory of the two GPUs"
    return [
        compared(
            "KV tokens of an instance of two A100", stated, held[0], "tokens", f"{why}; one 64K request does not fit"
        ),
        compared("KV tokens of an instance of eight A100", stated, held[1], "tokens", why),
        compared("KV bytes of an instance", stated * _KV_BYTES_PER_TOKEN / 1e9, 2 * _A100_BYTES / 1e9, "GB", size),
    ]


def _kv_tokens(gpus: int) -> float:
    """KV cache of Llama-3-70B in bf16 on so many A100."""
    return (gpus * (_MEMORY_SHARE * _A100_BYTES - _OVERHEAD_BYTES) - _WEIGHT_BYTES) / _KV_BYTES_PER_TOKEN


def _money() -> list[Row]:
    """What the saved instances cost."""
    saved = 358 - 208
    yearly = saved * 2.21 * HOURS_PER_YEAR / 1e6
    hours = 2.864e6 / saved / 2.21
    return [
        compared("Azure: saving per year", 2.86, yearly, "M$", f"150 · 2.21 $ · 8,760 h; 2.864 needs {hours:,.0f} h"),
        compared("the same, two GPUs per instance", 2.86, 2 * yearly, "M$", "TP=2 is stated; one GPU's price was used"),
    ]


def _laws() -> list[Row]:
    """The iteration law, and whole instances."""
    rates = [_tokens_per_ms(slots, REFERENCE_TOKENS) for slots in (128, 16)]
    scaled = [_tokens_per_ms(slots, 1_200) for slots in (128, 16)]
    law = "slots / (8 + 0.65·slots) ms, 128 over 16 slots"
    ceil = "a fleet that one instance serves becomes two: rounding up admits no lower bound on the saving"
    ours = 100 * (1 - 2 / math.ceil(1 / 2.8))
    return [
        compared("ρ by the iteration law", _RATIO, rates[0] / rates[1], "×", law),
        compared("ρ with 1,200 resident tokens", _RATIO, scaled[0] / scaled[1], "×", f"{law}, H scaled by 1,200/8,192"),
        Row("lowest saving, at 1 request/s", 0.0, ours, "%", reproduced=False, why=ceil),
        Row("homogeneous preemptions", 47.3, math.nan, "‰", reproduced=False, why=_PREEMPTIONS),
    ]


_PREEMPTIONS = "in the published planner's model preemption is either absent or endless, so no figure can come from it"


def _tokens_per_ms(slots: int, resident_tokens: int) -> float:
    """Tokens per millisecond of a full batch."""
    each_s = A100.sequence_s * resident_tokens / REFERENCE_TOKENS
    return slots / (A100.iteration_s + each_s * slots) / 1e3
