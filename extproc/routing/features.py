"""What a prompt's bytes look like: shares of byte classes, of a small sample or of all text; knows nothing of tokens.

Byte-pair vocabularies first split text into words, runs of digits, runs of marks and white space, then join bytes
within each of them. What they make of a text therefore follows from few counts: how many bytes of each script and kind
there are, and how many words, numbers and runs of marks begin. Both are sums over pairs of neighbouring bytes, so one
histogram of pairs of classes holds all of it, in one pass of compiled code.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import msgspec
import numpy as np

from extproc.routing import kernels
from extproc.routing.kernels import Array, Bytes

SAMPLE_CHARS = 768
"""Characters looked at in a sample, whatever the prompt's size."""
SAMPLE_STRIPS = 12
"""Places they come from, evenly spread: text changes its kind along a prompt (instructions, then a document)."""
WHOLE_CHARS = 65_536
"""Most characters ever looked at; of a longer text as many, in strips. A prompt near any threshold of 16K is shorter,
and what is left out of a longer one looks like the rest."""
_WHOLE_STRIPS = 64

CLASSES: tuple[tuple[str, bytes], ...] = (
    ("lower", bytes(range(0x61, 0x7B))),
    ("upper", bytes(range(0x41, 0x5B))),
    ("digit", bytes(range(0x30, 0x3A))),
    ("space", b" "),
    ("newline", b"\n"),
    ("tab", b"\t"),
    ("underscore", b"_"),
    ("quote", b'"'),
    ("apostrophe", b"'`"),
    ("square", b"[]"),
    ("curly", b"{}"),
    ("round", b"()<>"),
    ("code", b";=\\$#*/"),
    ("stop", b".,:!?"),
    ("mark", b"%&+-@^|~"),
    ("control", bytes(range(9)) + bytes(range(11, 32)) + b"\x7f"),
    ("continuation", bytes(range(0x80, 0xC0))),
    ("latin", bytes(range(0xC0, 0xCD))),
    ("greek", bytes(range(0xCD, 0xD0))),
    ("cyrillic", b"\xd0\xd1"),
    ("hebrew", bytes(range(0xD2, 0xD8))),
    ("arabic", bytes(range(0xD8, 0xE0))),
    ("indic", b"\xe0\xe1"),
    ("symbol", b"\xe2"),
    ("cjk", bytes(range(0xE3, 0xEA))),
    ("hangul", bytes(range(0xEA, 0xEE))),
    ("wide", b"\xee\xef"),
    ("emoji", bytes(range(0xF0, 0x100))),
)
"""Kinds of bytes that vocabularies treat alike; every byte is in one. From "continuation" on they are the bytes of
UTF-8 outside ASCII: the lead byte tells the script, a continuation byte nothing."""
_NAMES = tuple(name for name, _ in CLASSES)
_LETTERS = ("lower", "upper")
_MARKS = ("underscore", "quote", "apostrophe", "square", "curly", "round", "code", "stop", "mark")
_BLANKS = ("space", "tab")
TRANSITIONS = ("word", "number", "marks", "camel", "indent", "paragraph")
"""Where a word, a number, a run of marks begins; an upper letter after a lower one; a blank after a blank; a line break
after a line break."""
NAMES = _NAMES + TRANSITIONS
"""Of every feature, in order."""
COUNT = len(NAMES)


def _begins(kind: str, before: str, after: str) -> bool:
    """Whether a pair of classes is one of the transitions."""
    return {
        "word": after in _LETTERS and before not in _LETTERS,
        "number": after == "digit" != before,
        "marks": after in _MARKS and before not in _MARKS,
        "camel": (before, after) == ("lower", "upper"),
        "indent": before in _BLANKS and after in _BLANKS,
        "paragraph": before == after == "newline",
    }[kind]


def _kinds() -> tuple[tuple[str, ...], ...]:
    """Classes before a byte, put together where no transition tells them apart."""
    told_apart = (("lower",), ("upper",), ("digit",), ("newline",), _BLANKS, _MARKS)
    return (*told_apart, tuple(name for name in _NAMES if not any(name in kind for kind in told_apart)))


_KINDS = _kinds()


def _table(number: Callable[[str], int]) -> Bytes:
    """The number of each byte's class."""
    table = np.zeros(256, np.uint8)
    for name, members in CLASSES:
        table[list(members)] = number(name)
    return table


def _of_pairs() -> Bytes:
    """Features that a pair counts for, a column each: the class of its second byte, and at most one transition."""
    columns = []
    for before, after in product(_KINDS, _NAMES):
        begun = [name for name in TRANSITIONS if _begins(name, before[0], after)]
        columns.append([NAMES.index(after), *map(NAMES.index, begun)])
    most = max(map(len, columns))
    return np.array([column + [COUNT] * (most - len(column)) for column in columns], np.uint8).T.copy()


_BEFORE = _table(lambda name: len(_NAMES) * next(at for at, kind in enumerate(_KINDS) if name in kind))
_AFTER = _table(_NAMES.index)
_OF_PAIRS = _of_pairs()
"""The kind before and the class of a byte are one number: 196 of them."""
_RETURN = b"\r"
_LINE_ENDS = b"\r\n", b"\n"
"""Vocabularies have both bytes together as one token."""


class Features(msgspec.Struct, frozen=True):
    """What a prompt looks like, in numbers from which no text can be told."""

    shares: Array
    """Of the prompt's bytes, by feature; shape (COUNT,)."""


def sample_features(pieces: Sequence[str], structures: Sequence[bytes]) -> Features:
    """Features of a small sample: the same cost for every size."""
    return _features(pieces, structures, SAMPLE_CHARS, SAMPLE_STRIPS)


def text_features(pieces: Sequence[str], structures: Sequence[bytes]) -> Features:
    """Features of all text, up to `WHOLE_CHARS`."""
    return _features(pieces, structures, WHOLE_CHARS, _WHOLE_STRIPS)


def _features(pieces: Sequence[str], structures: Sequence[bytes], chars: int, strips: int) -> Features:
    """Text and structure are sampled apart, and weighed by their bytes."""
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    drawn = _strips(text, chars, strips).encode(errors="surrogatepass")
    of_text = _shares(drawn)
    json_text = b"".join(structures)
    if not json_text:
        return Features(of_text)
    of_structure = _shares(_strips(json_text, chars, strips))
    drawn_chars = min(len(text), chars)
    text_bytes = len(drawn) * len(text) / max(1, drawn_chars)
    weight = text_bytes / (text_bytes + len(json_text))
    return Features(weight * of_text + (1.0 - weight) * of_structure)


def _strips(text: Any, chars: int, strips: int) -> Any:
    """All of a short text or bytes; of a longer one `chars` of it in evenly spread strips."""
    if len(text) <= chars:
        return text
    width = chars // strips
    last, gaps = len(text) - width, strips - 1
    return text[:0].join([text[i * last // gaps : i * last // gaps + width] for i in range(strips)])


def _shares(text: bytes) -> Array:
    """Features of bytes, each divided by their number."""
    shown = text.replace(*_LINE_ENDS) if _RETURN in text else text  # one byte is found many times as fast as two are
    return kernels.shares(shown, len(text), _BEFORE, _AFTER, _OF_PAIRS)
