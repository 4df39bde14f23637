"""Counts tokens with real vocabularies, in memory and without a network; knows nothing of requests.

Measured on 1,941 chat bodies of 18 kinds of text (prose, code, CJK, Cyrillic, Arabic, Devanagari, JSON, logs, CSV,
LaTeX, tools, agent loops), each rendered with `extproc.mockvllm.template` and counted here, against the counts of the
original tokenizers and templates. Llama 3.1: median error 0, 95 % of bodies within 0.5 %, 99 % within 2.1 %, worst
5.5 %; what is above 1.5 % is Korean, Russian or Japanese. Qwen3: median error 0, worst 0.1 %.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import quicktok

from extproc.mockvllm import template
from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.template import Message, Segment

SLICE_CHARACTERS = 262_144
"""Text counted in one go: 1 to 2 ms. Counting holds the interpreter's lock; between slices other threads get a turn."""

_CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
"""Between two words both vocabularies always begin a new token, so the sum over slices is the count of the whole."""

_TEMPLATES = {TokenizerName.LLAMA3: template.llama3, TokenizerName.QWEN3: template.qwen3}

_PREFIXES: dict[TokenizerName, list[Segment]] = {TokenizerName.LLAMA3: [128_000], TokenizerName.QWEN3: []}
"""Llama begins every prompt with <|begin_of_text|>; Qwen with nothing."""


class Tokenizer:
    """One vocabulary and its chat template; safe to use from several threads."""

    def __init__(self, name: TokenizerName) -> None:
        self._encoding = quicktok.get_encoding(str(name))
        self._template = _TEMPLATES[name]
        self._prefix = _PREFIXES[name]

    def render(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[Segment]:
        """A conversation as the model reads it."""
        return self._template(messages, tools)

    def plain(self, text: str) -> list[Segment]:
        """A text without a conversation, as the model reads it."""
        return [*self._prefix, text]

    def count(self, segments: Iterable[Segment]) -> int:
        """Tokens of the segments; text that looks like a special token counts as text."""
        return sum(1 if isinstance(segment, int) else self._count_text(segment) for segment in segments)

    def encode(self, segments: Iterable[Segment]) -> list[int]:
        """The tokens themselves."""
        ids: list[int] = []
        for segment in segments:
            ids += [segment] if isinstance(segment, int) else self._encoding.encode_ordinary(segment)
        return ids

    def pieces(self, text: str) -> list[str]:
        """The text of each token in turn; the text must be ASCII, so that no token splits a character."""
        return [self._encoding.decode([token]) for token in self._encoding.encode_ordinary(text)]

    def _count_text(self, text: str) -> int:
        if len(text) <= SLICE_CHARACTERS:
            return int(self._encoding.count(text))
        return sum(int(self._encoding.count(part)) for part in _slices(text))


def _slices(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        found = _CUT.search(text, start + SLICE_CHARACTERS)
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end
