"""Which kind of text a prompt is mostly made of, told from a small sample of it; knows nothing of tokens or ratios.

Byte-pair vocabularies spend tokens by script and by density: a Cyrillic letter is two bytes and often part of a long
token, a digit is a third of a token, base64 hardly compresses. The classes below are those whose bytes per token
differ most between each other and least within (shares measured on samples of chat bodies in 18 kinds of text).
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from extproc.routing.values import Category

SAMPLE_CHARS = 512
"""Characters looked at, whatever the prompt's size."""
_SLICES = 4
_SLICE_CHARS = SAMPLE_CHARS // _SLICES

_SCRIPT_SHARE = 0.4
"""Bytes outside ASCII; European languages stay below it (at most 0.22), others lie above 0.8."""
_CJK_LEAD_SHARE = 0.12
"""Every third byte of CJK text leads a character; mixed with Latin still every eighth."""
_CYRILLIC_LEAD_SHARE = 0.2
_DENSE_DIGITS = 0.3
"""CSV of numbers lies around 0.65."""
_BLOB_SPACES, _BLOB_DIGITS = 0.06, 0.02
"""Base64 and minified matter: hardly a space, some digits."""
_LOG_DIGITS = 0.08
_JSON_SHARE = 0.06
_CODE_SHARE = 0.025

_DIGITS = b"0123456789"
_SPACES = b" \t\r\n"
_JSON_MARKS = b'{}[]"'
_CODE_MARKS = b"(){};=<>_\\$#*/"
_HIGH = bytes(range(0x80, 0x100))
_CJK_LEADS = bytes(range(0xE3, 0xEE))
_CYRILLIC_LEADS = b"\xd0\xd1"


def sample(pieces: Sequence[str]) -> str:
    """The whole of a short prompt, `SAMPLE_CHARS` characters spread evenly over the pieces of a longer one."""
    ends = list(accumulate(map(len, pieces)))
    total = ends[-1] if ends else 0
    if total <= SAMPLE_CHARS:
        return "".join(pieces)
    stride = (total - _SLICE_CHARS) // (_SLICES - 1)
    return "".join(_slice_at(pieces, ends, index * stride) for index in range(_SLICES))


def _slice_at(pieces: Sequence[str], ends: Sequence[int], start: int) -> str:
    """A slice's length from `start`, over as many pieces as that takes."""
    index = bisect_right(ends, start)
    within = start - (ends[index] - len(pieces[index]))
    text = pieces[index][within : within + _SLICE_CHARS]
    while len(text) < _SLICE_CHARS:
        index += 1
        text += pieces[index][: _SLICE_CHARS - len(text)]
    return text


def classify(text: str) -> Category:
    """The category of a sample; an empty one counts as prose. Lone surrogates, which no JSON body can bring, pass."""
    raw = text.encode(errors="surrogatepass")
    if not raw:
        return Category.PROSE
    if not text.isascii() and _share(raw, _HIGH) > _SCRIPT_SHARE:
        return _classify_script(raw)
    return _classify_latin(raw)


def _classify_script(raw: bytes) -> Category:
    if _share(raw, _CJK_LEADS) > _CJK_LEAD_SHARE:
        return Category.CJK
    return Category.CYRILLIC if _share(raw, _CYRILLIC_LEADS) > _CYRILLIC_LEAD_SHARE else Category.OTHER_SCRIPT


def _classify_latin(raw: bytes) -> Category:
    digits, spaces = _share(raw, _DIGITS), _share(raw, _SPACES)
    if digits <= _DENSE_DIGITS and _share(raw, _JSON_MARKS) > _JSON_SHARE:
        return Category.JSON
    if digits > _DENSE_DIGITS or (spaces < _BLOB_SPACES and digits > _BLOB_DIGITS):
        return Category.DENSE
    if digits > _LOG_DIGITS:
        return Category.LOGS
    return Category.CODE if _share(raw, _CODE_MARKS) > _CODE_SHARE else Category.PROSE


def _share(raw: bytes, members: bytes) -> float:
    """How much of `raw` lies in `members`, by deleting them in C."""
    return 1.0 - len(raw.translate(None, members)) / len(raw)
