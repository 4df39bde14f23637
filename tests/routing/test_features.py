import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.features import (
    CLASSES,
    COUNT,
    NAMES,
    SAMPLE_CHARS,
    SAMPLE_STRIPS,
    TRANSITIONS,
    WHOLE_CHARS,
    Features,
    sample_features,
    text_features,
)

Measure = Callable[[Sequence[str], Sequence[bytes]], Features]


def shares(features: Features) -> dict[str, float]:
    """The features that are not 0, by name."""
    return {name: share for name, share in zip(NAMES, features.shares.tolist(), strict=True) if share}


def counts(text: str) -> dict[str, int]:
    """How often each feature occurs in a short text."""
    text_bytes = len(text.encode())
    found = {name: share * text_bytes for name, share in shares(text_features([text], ())).items()}
    assert all(count == pytest.approx(round(count)) for count in found.values())
    return {name: round(count) for name, count in found.items()}


# Classes of bytes


def test_every_byte_is_in_exactly_one_class() -> None:
    """None is left out, none counts twice, and no two classes share a name."""
    members = Counter(byte for _, class_bytes in CLASSES for byte in class_bytes)
    assert members == dict.fromkeys(range(256), 1)
    assert len(set(NAMES)) == COUNT == len(CLASSES) + len(TRANSITIONS)


@pytest.mark.parametrize(
    "character", ["a", "Z", "7", " ", "\n", "\t", "_", '"', "`", "[", "{", "(", ";", ".", "%", "\x00", "\r", "\x7f"]
)
def test_a_character_of_ascii_is_counted_in_its_class(character: str) -> None:
    """A hundred of one character are all of the text."""
    (name,) = (name for name, members in CLASSES if character.encode() in members)
    assert shares(text_features([character * 100], ()))[name] == 1.0


@pytest.mark.parametrize(
    ("character", "lead"),
    [
        *(("é", "latin"), ("λ", "greek"), ("я", "cyrillic"), ("ה", "hebrew"), ("ع", "arabic"), ("क", "indic")),
        *(("—", "symbol"), ("中", "cjk"), ("の", "cjk"), ("한", "hangul"), ("，", "wide"), ("😀", "emoji")),
    ],
)
def test_the_lead_byte_tells_the_script(character: str, lead: str) -> None:
    """One byte of each character leads it, the others continue it, and none of them begins a word."""
    tail = len(character.encode()) - 1
    assert counts(character * 30) == {lead: 30, "continuation": 30 * tail}


# Where words, numbers and runs begin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat sat", {"word": 3, "lower": 9, "space": 2}),
        ("getTreeHTTP", {"word": 1, "camel": 2, "lower": 6, "upper": 5}),
        ("don't", {"word": 2, "marks": 1, "apostrophe": 1, "lower": 4}),
        ("12.5 of 300", {"number": 3, "marks": 1, "word": 1, "stop": 1, "digit": 6, "space": 2, "lower": 2}),
        ("x2y", {"word": 2, "number": 1, "lower": 2, "digit": 1}),
        ('f({"a"})', {"word": 2, "marks": 2, "lower": 2, "round": 2, "curly": 2, "quote": 2}),
        ("  \tx", {"indent": 2, "word": 1, "space": 2, "tab": 1, "lower": 1}),
        ("a\n\nb", {"paragraph": 1, "word": 2, "newline": 2, "lower": 2}),
        ("a\r\nb", {"word": 2, "newline": 1, "lower": 2}),
        ("a\r\n\r\nb", {"paragraph": 1, "word": 2, "newline": 2, "lower": 2}),
        ("a\rb", {"word": 2, "control": 1, "lower": 2}),
        ("\r\r\na\n\r", {"word": 1, "control": 2, "newline": 2, "lower": 1}),
        ("\r\na", {"paragraph": 1, "word": 1, "newline": 1, "lower": 1}),
        ("\na", {"paragraph": 1, "word": 1, "newline": 1, "lower": 1}),
        ("a\x00\x00b", {"word": 2, "control": 2, "lower": 2}),
        ("naïve", {"word": 2, "latin": 1, "continuation": 1, "lower": 4}),
        ("", {}),
    ],
)
def test_beginnings_are_counted_once_each(text: str, expected: dict[str, int]) -> None:
    """Worked by hand; what stands first in a text begins there, as after a line break."""
    assert counts(text) == expected


PATTERNS = {
    "word": rb"(?<![a-zA-Z])[a-zA-Z]",
    "number": rb"(?<!\d)\d",
    "marks": rb"(?<![!-/:-@\[-`{-~])[!-/:-@\[-`{-~]",
    "camel": rb"(?<=[a-z])[A-Z]",
    "indent": rb"(?<=[ \t])[ \t]",
    "paragraph": rb"(?<=\n)\n",
}
"""The same beginnings as another tool sees them; a mark is what prints of ASCII and is neither letter nor digit."""


@given(st.text(max_size=80) | st.text(alphabet='aB1 \t\r\n.,_-{}"é中', max_size=80))
def test_beginnings_are_those_that_patterns_find(text: str) -> None:
    """On any text, classes and beginnings agree with an independent count; Windows line breaks are as any other."""
    found, encoded = counts(text), re.sub(rb"\r(?=\n)", b"", text.encode())
    for name, members in CLASSES:
        assert found.get(name, 0) == sum(encoded.count(bytes([byte])) for byte in members)
    for name in TRANSITIONS:
        assert found.get(name, 0) == len(re.findall(PATTERNS[name], b"\n" + encoded))


# What is looked at


PLACES = [(sample_features, SAMPLE_CHARS, SAMPLE_STRIPS), (text_features, WHOLE_CHARS, 64)]


@pytest.mark.parametrize(("measure", "chars", "strips"), PLACES)
@pytest.mark.parametrize("times", [1.01, 3, 17])
def test_a_long_text_is_looked_at_in_evenly_spread_strips(
    measure: Measure, chars: int, strips: int, times: float
) -> None:
    """From its first character to its last, always as many: digits put into one strip are its share of all."""
    total, width = int(chars * times), chars // strips
    begins = [strip * (total - width) // (strips - 1) for strip in range(strips)]
    assert (begins[0], begins[-1] + width, width * strips) == (0, total, chars)
    for begin in begins:
        marked = "a" * begin + "1" * width + "a" * (total - begin - width)
        assert shares(measure([marked], ())).get("digit", 0.0) >= 1 / strips
    if times > 2:
        unseen = list("1" * total)
        for begin in begins:
            unseen[begin : begin + width] = "a" * width
        assert shares(measure(["".join(unseen)], ()))["lower"] == 1.0


@pytest.mark.parametrize("piece_chars", [1, 7, 300, 40_000])
def test_pieces_make_one_text(piece_chars: int) -> None:
    """Where they meet makes no difference, to a sample or to all of it."""
    text = "".join(chr(0x20 + index * index % 0x3000) for index in range(12_128))
    pieces = [text[begin : begin + piece_chars] for begin in range(0, len(text), piece_chars)]
    for measure in (sample_features, text_features):
        assert shares(measure(pieces, ())) == shares(measure([text], ()))


@pytest.mark.parametrize("chars", [0, 1, SAMPLE_CHARS])
def test_of_a_short_text_the_sample_is_all(chars: int) -> None:
    """Nothing more is to be had from looking longer."""
    pieces, structures = [("x1 " * SAMPLE_CHARS)[:chars]], [(b'{"a":1}' * SAMPLE_CHARS)[:chars]]
    sampled, whole = sample_features(pieces, structures), text_features(pieces, structures)
    assert shares(sampled) == shares(whole)


def test_of_a_longer_text_all_is_looked_at() -> None:
    """Up to the bound nothing is left out: a single digit shows, wherever it stands."""
    for place in (0, 5_000, 33_333, WHOLE_CHARS - 1):
        text = "a" * place + "1" + "a" * (WHOLE_CHARS - 1 - place)
        assert shares(text_features([text], ()))["digit"] == 1 / WHOLE_CHARS


# Text and structure


@pytest.mark.parametrize("times", [1, 10, 1000])
@pytest.mark.parametrize("measure", [sample_features, text_features])
def test_text_and_structure_are_weighed_by_their_bytes(measure: Measure, times: int) -> None:
    """Three bytes of text to one of structure, whatever is sampled of either and in however many pieces they come."""
    pieces, structures = ["я" * 60 * times, "я" * 90 * times], [b"1" * 40 * times, b"1" * 60 * times]
    found = shares(measure(pieces, structures))
    assert found == pytest.approx({"cyrillic": 0.375, "continuation": 0.375, "digit": 0.25, "number": found["number"]})


def test_structure_alone_is_all_there_is() -> None:
    """An empty text weighs nothing."""
    features = sample_features([], [b"1" * 50, b"[" * 50])
    assert shares(features) == pytest.approx({"digit": 0.5, "square": 0.5, "number": 0.01, "marks": 0.01})


@pytest.mark.parametrize("structures", [[], [b""], [b"", b""]])
def test_empty_structure_is_none(structures: list[bytes]) -> None:
    """A call without arguments has some, and there may be no text beside it."""
    assert shares(sample_features(["ab"], structures)) == {"lower": 1.0, "word": 0.5}
    assert shares(sample_features([], structures)) == {}


# Anything at all


@given(
    pieces=st.lists(
        st.text(max_size=8) | st.text(alphabet=st.characters(codec=None)) | st.text(min_size=100, max_size=900),
        max_size=12,
    ),
    structures=st.lists(st.binary(max_size=900), max_size=4),
    absent=st.sampled_from("\r\n"),
)
def test_any_text_and_any_bytes_have_features(pieces: list[str], structures: list[bytes], absent: str) -> None:
    """Controls, unassigned characters, lone surrogates, bytes that are no UTF-8: classes share out all of them.

    All but one byte of a Windows line break, so carriage returns and line breaks take turns here.
    """
    pieces = [piece.replace(absent, "") for piece in pieces]
    structures = [structure.replace(absent.encode(), b"") for structure in structures]
    for measure in (sample_features, text_features):
        features = measure(pieces, structures)
        assert features.shares.shape == (COUNT,)
        assert ((features.shares >= 0.0) & (features.shares <= 1.0 + 1e-9)).all()
        something = any(pieces) or any(structures)
        assert features.shares[: len(CLASSES)].sum() == pytest.approx(float(something))
