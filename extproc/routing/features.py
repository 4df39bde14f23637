"""Which kind of text a prompt is mostly made of, told from a small sample of it; knows nothing of tokens or ratios.

Byte-pair vocabularies spend tokens by script and by density: a Cyrillic letter is two bytes and often part of a long
token, a digit is a third of a token, base64 hardly compresses. The classes below are those whose bytes per token
differ most between each other and least within (shares measured on samples of chat bodies in 18 kinds of text).
"""

from collections.abc import Sequence

from extproc.routing.values import Category

SAMPLE_CHARS = 512
"""Characters looked at, whatever the prompt's size."""
_QUARTER = SAMPLE_CHARS // 4

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


def _kinds() -> bytes:
    """A table for `bytes.translate`: each byte becomes the letter of its kind."""
    table = bytearray(b"." * 0x80 + b"h" * 0x80)
    members = (
        (b"d", b"0123456789"),
        (b"s", b" \t\r\n"),
        (b"j", b'[]"'),
        (b"b", b"{}"),
        (b"c", b"();=<>_\\$#*/"),
        (b"k", bytes(range(0xE3, 0xEE))),
        (b"y", b"\xd0\xd1"),
    )
    for letter, characters in members:
        for character in characters:
            table[character] = letter[0]
    return bytes(table)


_KINDS = _kinds()
"""d digit, s space, j mark of JSON, c mark of code, b of both, k lead byte of CJK, y of Cyrillic, h other high byte."""


def sample(pieces: Sequence[str]) -> str:
    """The whole of a short prompt, `SAMPLE_CHARS` characters spread evenly over the pieces of a longer one."""
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    if len(text) <= SAMPLE_CHARS:
        return text
    last = len(text) - _QUARTER
    second, third = last // 3, 2 * last // 3
    return text[:_QUARTER] + text[second : second + _QUARTER] + text[third : third + _QUARTER] + text[last:]


def classify(text: str) -> Category:
    """The category of a sample; an empty one counts as prose. Lone surrogates, which no JSON body can bring, pass."""
    kinds = text.encode(errors="surrogatepass").translate(_KINDS)
    if not kinds:
        return Category.PROSE
    cjk, cyrillic = kinds.count(b"k"), kinds.count(b"y")
    if kinds.count(b"h") + cjk + cyrillic <= _SCRIPT_SHARE * len(kinds):
        return _classify_latin(kinds)
    if cjk > _CJK_LEAD_SHARE * len(kinds):
        return Category.CJK
    return Category.CYRILLIC if cyrillic > _CYRILLIC_LEAD_SHARE * len(kinds) else Category.OTHER_SCRIPT


def _classify_latin(kinds: bytes) -> Category:
    count, total = kinds.count, len(kinds)
    digits, both = count(b"d"), count(b"b")
    if digits > _DENSE_DIGITS * total:
        return Category.DENSE
    if count(b"j") + both > _JSON_SHARE * total:
        return Category.JSON
    if digits > _BLOB_DIGITS * total and count(b"s") < _BLOB_SPACES * total:
        return Category.DENSE
    if digits > _LOG_DIGITS * total:
        return Category.LOGS
    return Category.CODE if count(b"c") + both > _CODE_SHARE * total else Category.PROSE
