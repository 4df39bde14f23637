"""An exact count of a prompt's text, and what the chat template adds to it; knows no tokenizer, only that there is one.

The local tokenizer counts text and compact JSON. What the template sets around them, and how it writes tools anew, is
in no tokenizer's file; it is nearly linear in a few counts, and learned from usage.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from extproc.routing.judgement import Judgement
from extproc.routing.ridge import Ridge
from extproc.routing.text import Prompt

_PRIOR = (20.0, 4.5, 80.0, 0.0, 0.0)
"""Tokens for a prompt, each message, having tools at all, each token and each line of structure (fits to 1,941 chat
bodies under Llama 3.1: 29, 4, 90, and 0 to 1 for a line; under Qwen3: 3, 5, 77, 0)."""
TERMS = len(_PRIOR)
_SCALE_MIN = 0.3
_NOISE, _TRUST, _FORGETTING = 0.01, 1.0, 0.998
_FLOOR_TOKENS = 500.0
"""Errors count by their share of the prompt, and of at least so many tokens: those of tiny prompts are a few tokens."""
_SPREADS = (0.03, 0.06)
"""Before anything is learned: without structure, and with it."""
_FOLLOWED = 0.05
_CLAMP = 4.0
_SPREAD_MIN = 0.001


class Counter(Protocol):
    """A local tokenizer."""

    def count(self, texts: Sequence[str]) -> int | None:
        """Tokens of texts, without special ones; None where they are too long to be counted."""
        ...


class Counted(NamedTuple):
    """What was counted of a prompt."""

    text_tokens: int
    structure_tokens: int
    structure_lines: int
    """Lines that the structure takes up where a template indents it: marks after which JSON breaks the line."""
    message_count: int


def counted(counter: Counter, prompt: Prompt) -> Counted | None:
    """Count a prompt; None where it is too long."""
    structures = [structure.decode(errors="replace") for structure in prompt.structures]
    text_tokens, structure_tokens = counter.count(prompt.pieces), counter.count(structures)
    if text_tokens is None or structure_tokens is None:
        return None
    lines = sum(json.count(',"') + 2 * json.count("{") + json.count("[") for json in structures)
    return Counted(text_tokens, structure_tokens, lines, prompt.message_count)


class Framing:
    """What one serving model's template adds. Not thread-safe."""

    def __init__(self) -> None:
        self.ridge = Ridge(_PRIOR, scale_min=_SCALE_MIN, noise=_NOISE, trust=_TRUST, forgetting=_FORGETTING)
        self.variances = [spread**2 for spread in _SPREADS]
        """Of the logarithm, without structure and with it."""

    def judge(self, count: Counted) -> Judgement:
        """The prompt's tokens, as a distribution of their logarithm."""
        known = count.text_tokens + count.structure_tokens
        tokens = max(1.0, known + float(_terms(count) @ self.ridge.weights))
        return Judgement(math.log(tokens), math.sqrt(self.variances[bool(count.structure_tokens)]))

    def learn(self, count: Counted, prompt_tokens: int) -> None:
        """Take in the truth; fewer tokens than were counted are no framing (text that spells special tokens)."""
        known = count.text_tokens + count.structure_tokens
        if prompt_tokens < known:
            return
        judgement, kind = self.judge(count), bool(count.structure_tokens)
        most = _CLAMP * judgement.spread
        error = min(most, max(-most, math.log(prompt_tokens) - judgement.log_tokens))
        self.variances[kind] = max(_SPREAD_MIN**2, self.variances[kind] + _FOLLOWED * (error**2 - self.variances[kind]))
        believed = math.exp(judgement.log_tokens + error)
        weight = 1.0 / (known + _FLOOR_TOKENS)
        row = _terms(count) * self.ridge.scale * weight
        self.ridge.learn(row, (believed - known) * weight - float(_terms(count) @ self.ridge.prior) * weight)


def _terms(count: Counted) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    structured = float(count.structure_tokens > 0)
    return np.array((1.0, count.message_count, structured, count.structure_tokens, count.structure_lines))
