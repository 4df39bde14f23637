"""What is published of learning bytes per token, beside what an average and the public distribution give.

It knows the published table and arithmetic, and no estimator of ours. Source of the table: arXiv 2604.08075, as public
summaries report it.
"""

import math
from typing import NamedTuple

from extproc.fleet.comparison import Row, Table, compared
from extproc.fleet.slotmodel import AZURE, PROMPT_SHARE, REFERENCE_TOKENS, quantiles

_OBSERVATIONS = 50
_START = 4.0
"""Bytes per token before anything is learned, and of the estimator that never learns."""


class Learned(NamedTuple):
    """One kind of text; ratios in bytes per token, shares in per cent."""

    name: str
    true: float
    learned: float
    error: float
    misrouted: float


_TEXTS = (
    Learned("English prose", 4.48, 4.41, 1.6, 0.3),
    Learned("code", 3.52, 3.47, 1.4, 0.2),
    Learned("CJK", 2.01, 2.08, 3.5, 0.8),
)
_FIXED_MISROUTED = 4.1
"""Per cent, with four bytes a token for everything."""


def calibration(source: str) -> Table:
    """Ratios learned in 50 observations: what a noise-free average would show, and what errors and misroutes follow."""
    rows: list[Row] = []
    for text in _TEXTS:
        seen = 100 * abs(text.learned / text.true - 1)
        why = f"distance of {text.learned} / {text.true} from 1"
        rows += [compared(f"{text.name}: error", text.error, seen, "%", why, within=0.05), _decay(text), _routed(text)]
    return Table("Calibration: bytes per token after 50 observations", source, (*rows, _fixed()))


def _decay(text: Learned) -> Row:
    """Decay β with which a noise-free average that starts at 4.0 is where it is said to be after 50 observations."""
    left = (text.learned - text.true) / (_START - text.true)
    what = f"{text.name}: decay β that gives {text.learned}"
    if left <= 0.0:
        why = "β is not published; the average is said to pass below the true value, which no decay does without noise"
        return Row(what, math.nan, math.nan, "", reproduced=False, why=why)
    why = f"β is not published; ({text.learned} − {text.true}) / (4.0 − {text.true}) = β^50"
    return Row(what, math.nan, left ** (1 / _OBSERVATIONS), "", reproduced=False, why=why)


def _routed(text: Learned) -> Row:
    """Misroutes of the learned mean."""
    why = "requests of public Azure that a factor of true over learned on the prompt moves across 8,192 tokens"
    return compared(f"{text.name}: misrouted", text.misrouted, misrouted(text.true, text.learned), "%", why)


def _fixed() -> Row:
    """Misroutes of four bytes a token: no mix of texts is published, so the worst of the three."""
    worst = max(_TEXTS, key=lambda text: misrouted(text.true, _START))
    why = f"likewise, of {worst.name}, the worst of the three; their mix is not published, and no mix is worse"
    return compared("four bytes a token: misrouted", _FIXED_MISROUTED, misrouted(worst.true, _START), "%", why)


def misrouted(true: float, taken: float) -> float:
    """Per cent of public Azure requests that land in the wrong pool at 8,192 tokens.

    Four fifths of a request are prompt, as the published planner has it, and are taken for true/taken times as much.
    """
    turns_at = REFERENCE_TOKENS / (PROMPT_SHARE * true / taken + 1 - PROMPT_SHARE)
    _, share = quantiles(AZURE, min(turns_at, REFERENCE_TOKENS), max(turns_at, REFERENCE_TOKENS))
    return 100 * share
