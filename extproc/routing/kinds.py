"""Which kind of text a prompt is mostly made of, told at a glance: a few hundred characters and counts of few bytes.

Vocabularies spend tokens by script and by density: a Cyrillic letter is two bytes and often part of a long token, a
digit is a third of a token, base64 hardly compresses. The kinds are those whose bytes per token differ most between
each other and least within (shares measured on samples of chat bodies in 18 kinds of text). Knows nothing of tokens.
"""

from collections.abc import Sequence

from extproc.routing.values import Category

GLANCE_CHARS = 512
"""Characters looked at, whatever the prompt's size, a quarter of them in each of four places."""
_QUARTER = GLANCE_CHARS // 4
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


def _letters() -> bytes:
    """A table for `bytes.translate`: each byte becomes the letter of what it tells."""
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


_LETTERS = _letters()
"""d digit, s space, j mark of JSON, c mark of code, b of both, k lead byte of CJK, y of Cyrillic, h other high byte."""


def category_of(pieces: Sequence[str]) -> Category:
    """The kind of a text in pieces; an empty one counts as prose. Never TOOLS, which structure beside text decides."""
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    if len(text) > GLANCE_CHARS:
        last = len(text) - _QUARTER
        second, third = last // 3, 2 * last // 3
        text = text[:_QUARTER] + text[second : second + _QUARTER] + text[third : third + _QUARTER] + text[last:]
    letters = text.encode(errors="surrogatepass").translate(_LETTERS)
    cjk, cyrillic, total = letters.count(b"k"), letters.count(b"y"), len(letters)
    if letters.count(b"h") + cjk + cyrillic <= _SCRIPT_SHARE * total:
        return _of_latin(letters) if total else Category.PROSE
    if cjk > _CJK_LEAD_SHARE * total:
        return Category.CJK
    return Category.CYRILLIC if cyrillic > _CYRILLIC_LEAD_SHARE * total else Category.OTHER_SCRIPT


def _of_latin(letters: bytes) -> Category:
    count, total = letters.count, len(letters)
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
