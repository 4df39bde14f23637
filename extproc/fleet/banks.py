"""Veins of synthetic text with true bytes per token, to cut prompts from; knows kinds of text, no request.

Bytes per token are centred on the means of each kind that were measured under the vocabularies of Llama 3.1 and Qwen3
(`extproc.routing.density`), and the veins of a kind differ from each other by a tenth or two. Part of that difference
shows in the bytes (longer words, more digits), in proportion to a crude count of tokens; part of it shows nowhere, as
with languages whose words some vocabularies know and others do not.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

import msgspec
import numpy as np

from extproc.fleet import words
from extproc.fleet.values import Ints
from extproc.fleet.words import Line, letters, prose, script, some
from extproc.routing.density import Density
from extproc.routing.values import Category

BANK_CHARS = 32_768
"""Of each vein before it repeats: far more than an estimator's features tell apart."""
_TILES = 6
"""Times that a bank stands in memory, so that most prompts are one slice."""
_EXPLAINED = 0.5
"""How much of a crude count's difference from its kind is a true difference."""
_DIFFERENCE_MAX = 0.12
"""Of the logarithm, from what the bytes show."""
_PIECES = re.compile(r"[A-Za-z]+|[0-9]+|[^\x00-\x7f]+|[^A-Za-z0-9\s]+|\s+")
_LETTERS_PER_TOKEN, _DIGITS_PER_TOKEN, _MARKS_PER_TOKEN, _SCRIPT_CHARS_PER_TOKEN = 6, 3, 2, 2
_SEED = 20_260_101


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """One vein of text."""

    name: str
    bytes_per_token: float
    tiled: str
    """The text, several times."""
    ends: Ints | None
    """UTF-8 bytes before each character of the text, and after the last; None where each is one byte."""

    def cut(self, start: int, chars: int) -> str:
        """So many characters from one of the first `BANK_CHARS` on, however often the text must be repeated."""
        if start + chars <= len(self.tiled):
            return self.tiled[start : start + chars]
        return (self.tiled * (1 + (start + chars) // len(self.tiled)))[start : start + chars]

    def chars_of(self, wanted_bytes: Ints) -> Ints:
        """Whole characters that are about so many bytes; shape (n,), as those are."""
        if self.ends is None:
            return wanted_bytes.copy()
        chars: Ints = np.maximum(1, np.rint(wanted_bytes * BANK_CHARS / self.ends[-1])).astype(np.int64)
        return chars

    def bytes_of(self, starts: Ints, chars: Ints) -> Ints:
        """Bytes of so many characters from each start on; shape (n,), as those are."""
        return chars.copy() if self.ends is None else self._bytes_before(starts + chars) - self._bytes_before(starts)

    def _bytes_before(self, positions: Ints) -> Ints:
        assert self.ends is not None
        rounds, rest = np.divmod(positions, BANK_CHARS)
        before: Ints = rounds * self.ends[-1] + self.ends[rest]
        return before


class Toolset(NamedTuple):
    """Tools that come with a request."""

    json_text: bytes
    """Compact, a list."""
    tools: int


@lru_cache(maxsize=1)
def banks() -> dict[Category, tuple[Bank, ...]]:
    """The veins of every kind; tools stand beside prose. Always the same."""
    kinds = {category: _of_kind(category, lines) for category, lines in _lines(Random(_SEED)).items()}  # noqa: S311 - no secret
    return {**kinds, Category.TOOLS: kinds[Category.PROSE]}


@lru_cache(maxsize=1)
def toolsets() -> tuple[Toolset, ...]:
    """Sets of tools from one to four hundred, each a quarter larger than the one before."""
    rng = Random(_SEED + 1)  # noqa: S311 - no secret
    tools = [words.tool(rng) for _ in range(_TOOLS_MAX)]
    counts = sorted({min(_TOOLS_MAX, math.ceil(1.25**power)) for power in range(32)})
    starts = accumulate(counts, lambda start, count: (start + count) % _TOOLS_MAX, initial=0)
    return tuple(
        Toolset(msgspec.json.encode((tools[start:] + tools)[:count]), count)
        for start, count in zip(starts, counts, strict=False)
    )


_TOOLS_MAX = 400


def _lines(rng: Random) -> dict[Category, dict[str, tuple[Line, float]]]:
    """What the veins are made of, and by how much their tokens per byte differ beyond what bytes show."""
    hanzi = some(rng, letters("一", "鿋"), 900)
    kana, hangul = letters("ぁ", "ん") * 4 + hanzi[:300], some(rng, letters("가", "힣"), 500)
    cyrillic, greek, devanagari = letters("а", "я"), letters("α", "ω"), letters("अ", "ह") + letters("ा", "्") * 3
    return {
        Category.PROSE: {
            "short words": (prose(syllables=2, sentence=12), -0.06),
            "mixed words": (prose(syllables=3, sentence=16), 0.03),
            "long words": (prose(syllables=4, sentence=20), -0.10),
            "accented": (prose(syllables=3, sentence=14, accents="éàèçüñ"), 0.12),
            "terse": (prose(syllables=3, sentence=5), 0.01),
        },
        Category.CODE: {
            "indented": (words.indented_code, -0.10),
            "braced": (words.braced_code, 0.07),
            "queries": (words.query_code, -0.04),
            "shell": (words.shell_code, 0.12),
        },
        Category.JSON: {
            "flat": (words.flat_json, 0.08),
            "indented": (words.indented_json, -0.13),
            "deep": (words.deep_json, 0.04),
        },
        Category.LOGS: {
            "web server": (words.server_log, -0.10),
            "service": (words.service_log, 0.02),
            "kernel": (words.kernel_log, 0.10),
        },
        Category.DENSE: {
            "measurements": (words.decimal_csv, 0.08),
            "counts": (words.count_csv, -0.06),
            "base64": (words.base64, -0.10),
            "dump": (words.hexadecimal, 0.07),
        },
        Category.CJK: {
            "hanzi": (script(hanzi, longest=18, between="，", stops="。！"), -0.03),
            "kana": (script(kana, longest=14, between="、", stops="。"), 0.09),
            "hangul": (script(hangul, longest=5), -0.06),
        },
        Category.CYRILLIC: {
            "short words": (script(cyrillic, longest=7, stops=".,"), 0.09),
            "long words": (script(cyrillic, longest=13, stops=".,"), -0.09),
            "with Latin": (_mixed(script(cyrillic, longest=10), prose(syllables=2, sentence=4)), 0.03),
        },
        Category.OTHER_SCRIPT: {
            "devanagari": (script(devanagari, longest=8, stops="।"), -0.05),
            "arabic": (script(letters("ء", "ي"), longest=8), 0.04),
            "greek": (script(greek, longest=9), 0.06),
        },
    }


def _mixed(often: Line, seldom: Line) -> Line:
    return lambda rng: often(rng) + often(rng) + seldom(rng)[:120] + "\n"


def _of_kind(category: Category, lines: dict[str, tuple[Line, float]]) -> tuple[Bank, ...]:
    texts = {name: _text(f"{category} {name}", line) for name, (line, _) in lines.items()}
    shown = {name: math.log(_crude_tokens(text) / len(text.encode())) for name, text in texts.items()}
    shown_mean = sum(shown.values()) / len(shown)
    hidden_mean = sum(hidden for _, hidden in lines.values()) / len(lines)
    found = []
    for name, (_, hidden) in lines.items():
        seen = max(-_DIFFERENCE_MAX, min(_DIFFERENCE_MAX, _EXPLAINED * (shown[name] - shown_mean)))
        found.append(_bank(name, texts[name], Density(category).mean + seen + hidden - hidden_mean))
    return tuple(found)


def _text(seed: str, line: Line) -> str:
    rng, parts, chars = Random(seed), list[str](), 0  # noqa: S311 - no secret
    while chars < BANK_CHARS:
        parts.append(line(rng))
        chars += len(parts[-1])
    return "".join(parts)[:BANK_CHARS]


def _bank(name: str, text: str, log_density: float) -> Bank:
    ends = None if text.isascii() else np.cumsum([0, *(len(char.encode()) for char in text)])
    if ends is not None:
        ends.flags.writeable = False
    return Bank(name, math.exp(-log_density), text * _TILES, ends)


def _crude_tokens(text: str) -> int:
    """Pieces as byte-pair vocabularies first split a text, longer ones more than once."""
    return sum(math.ceil(len(piece) / _per_token(piece)) for piece in _PIECES.findall(text))


def _per_token(piece: str) -> int:
    if not piece.isascii():
        return _SCRIPT_CHARS_PER_TOKEN
    if piece.isalpha():
        return _LETTERS_PER_TOKEN
    return _DIGITS_PER_TOKEN if piece.isdigit() else _MARKS_PER_TOKEN
