import base64
import hashlib
import json
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
    category_of,
    sample_features,
    text_features,
)
from extproc.routing.values import Category

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
    """Only the carriage return is left out, none counts twice, and no two classes share a name."""
    members = Counter(byte for _, class_bytes in CLASSES for byte in class_bytes)
    assert members == dict.fromkeys(set(range(256)) - {ord("\r")}, 1)
    assert len(set(NAMES)) == COUNT == len(CLASSES) + len(TRANSITIONS)


@pytest.mark.parametrize(
    "character", ["a", "Z", "7", " ", "\n", "\t", "_", '"', "`", "[", "{", "(", ";", ".", "%", "\x00"]
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
    "paragraph": rb"(?<=[\r\n])[\r\n]",
}
"""The same beginnings as another tool sees them; a mark is what prints of ASCII and is neither letter nor digit."""


@given(st.text(max_size=80) | st.text(alphabet='aB1 \t\n.,_-{}"é中', max_size=80))
def test_beginnings_are_those_that_patterns_find(text: str) -> None:
    """On any text, classes and beginnings agree with an independent count; a carriage return is as if it were not."""
    found, encoded = counts(text), text.replace("\r", "").encode()
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
    assert (shares(sampled), sampled.category) == (shares(whole), whole.category)


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
    """Its kind is still said of the text, which is empty."""
    features = sample_features([], [b"1" * 50, b"[" * 50])
    assert shares(features) == pytest.approx({"digit": 0.5, "square": 0.5, "number": 0.01, "marks": 0.01})
    assert features.category is Category.PROSE


@pytest.mark.parametrize("structures", [[], [b""], [b"", b""]])
def test_empty_structure_is_none(structures: list[bytes]) -> None:
    """A call without arguments has some, and there may be no text beside it."""
    assert shares(sample_features(["ab"], structures)) == {"lower": 1.0, "word": 0.5}
    assert shares(sample_features([], structures)) == {}


@pytest.mark.parametrize("structures", [[], [b"1" * 10_000]])
def test_the_category_is_that_of_the_text_alone(structures: list[bytes]) -> None:
    """What structure beside it means is decided where both are known."""
    assert sample_features(["words and words " * 20], structures).category is Category.PROSE


# Categories


TEXTS = {
    "english": (
        Category.PROSE,
        (
            "The harbour was quiet that morning, and only one boat had gone out. Nobody on the quay could say when "
            "it would be back, or whether the weather would hold until the evening. They waited, drank their tea, "
            "and talked of other winters, when the ice had come down from the north and closed the bay for nine "
            "weeks."
        ),
    ),
    "french": (
        Category.PROSE,
        (
            "Le port était calme ce matin-là, et un seul bateau avait pris la mer. Personne sur le quai ne savait à"
            " quelle heure il reviendrait, ni si le temps resterait clément jusqu'au soir. On buvait du thé, on "
            "parlait des hivers passés, où la glace était descendue du nord et avait fermé la baie."
        ),
    ),
    "czech": (
        Category.PROSE,
        (
            "Přístav byl toho rána tichý a vyplula jen jediná loď. Nikdo na nábřeží nevěděl, kdy se vrátí, ani zda "
            "počasí vydrží až do večera. Čekali, pili čaj a mluvili o jiných zimách, kdy led přišel ze severu a "
            "uzavřel zátoku na devět týdnů."
        ),
    ),
    "python": (
        Category.CODE,
        (
            "def mean(values: list[float]) -> float:\n    if not values:\n        return 0.0\n"
            "    total = sum(values)\n    return total / len(values)\n\n\nclass Window:\n"
            "    def __init__(self, size: int) -> None:\n        self._values = deque(maxlen=size)\n\n"
            "    def add(self, value: float) -> None:\n        self._values.append(value)\n"
        ),
    ),
    "c": (
        Category.CODE,
        (
            "static int grow(struct buffer *b, size_t need)\n{\n\tif (b->cap - b->len >= need)\n\t\treturn 0;\n"
            "\tchar *p = realloc(b->data, (b->len + need) * 2);\n\tif (p == NULL)\n\t\treturn -ENOMEM;\n"
            "\tb->data = p;\n\tb->cap = (b->len + need) * 2;\n\treturn 0;\n}\n"
        ),
    ),
    "latex": (
        Category.CODE,
        (
            r"\begin{proof} Let $f(x) = \sum_{k=0}^n a_k x^k$ be a polynomial whose leading coefficient does not "
            r"vanish. Dividing by $x^n$ and letting $x \to \infty$, every term but the last goes to zero, so the "
            r"quotient tends to $a_n$, and by \eqref{eq:bound} we have $|f(x)| \le C |x|^n$ for all large $x$. "
            r"\end{proof}"
        ),
    ),
    "json": (
        Category.JSON,
        json.dumps(
            [
                {"name": name, "kind": "boat", "crew": ["captain", "mate"], "open": True}
                for name in ("Ann", "Ben", "Cay")
            ]
        ),
    ),
    "log": (
        Category.LOGS,
        (
            "May  4 07:12:44 quay-1 harbour.Registry[812]: INFO opened the ledger for berth 17, waiting for the pilot\n"
            "May  4 07:12:45 quay-1 harbour.Registry[812]: WARN upstream 10.4.0.17:8080 did not answer, retry 2 of 5\n"
            "May  4 07:12:45 quay-2 harbour.Tide[4410]: INFO level 213 cm, falling, next reading in 600 s\n"
        ),
    ),
    "table of numbers": (
        Category.DENSE,
        "\n".join(f"{i},{i * 1.375:.3f},{i * i * 0.0625:.4f},{1000 - i * 7}" for i in range(10, 30)),
    ),
    "base64": (
        Category.DENSE,
        base64.b64encode(b"".join(hashlib.sha256(bytes([i])).digest() for i in range(12))).decode(),
    ),
    "hexadecimal": (Category.DENSE, "".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(6))),
    "chinese": (
        Category.CJK,
        "那天早晨港口很安静,只有一条船出了海。码头上没有人知道它什么时候回来,也不知道天气能不能撑到晚上。",
    ),
    "japanese": (
        Category.CJK,
        "その朝、港は静かで、沖に出た船は一艘だけだった。岸壁の誰も、それがいつ戻るのか知らなかった。",
    ),
    "korean": (
        Category.CJK,
        "그날 아침 항구는 조용했고 배 한 척만 바다로 나갔다. 부두의 누구도 그 배가 언제 돌아올지 알지 못했다.",
    ),
    "chinese with latin": (
        Category.CJK,
        "请把 connection pool 的 timeout 设为三十秒,然后重启 gateway 服务,再看看日志里还有没有 error,有就告诉我们。",
    ),
    "russian": (
        Category.CYRILLIC,
        "В то утро в порту было тихо, и в море вышла только одна лодка. Никто на причале не знал, когда она вернётся.",
    ),
    "ukrainian": (
        Category.CYRILLIC,
        "Того ранку в порту було тихо, і в море вийшов лише один човен. Ніхто на причалі не знав, коли він прийде.",
    ),
    "arabic": (
        Category.OTHER_SCRIPT,
        "كان الميناء هادئا في ذلك الصباح ولم يخرج إلى البحر إلا قارب واحد ولم يعرف أحد متى يعود",
    ),
    "hindi": (
        Category.OTHER_SCRIPT,
        "उस सुबह बंदरगाह शांत था और केवल एक नाव समुद्र में गई थी। घाट पर कोई नहीं जानता था कि वह कब लौटेगी।",
    ),
    "greek": (
        Category.OTHER_SCRIPT,
        "Εκείνο το πρωί το λιμάνι ήταν ήσυχο και μόνο μία βάρκα είχε βγει στη θάλασσα από νωρίς.",
    ),
}


@pytest.mark.parametrize(("category", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_real_text_is_put_where_its_like_is(category: Category, text: str) -> None:
    """Short texts of every kind a prompt is made of, whole and as a long prompt's sample."""
    assert category_of([text]) is category
    assert category_of([text] * 40) is category


def test_no_text_is_prose() -> None:
    """Something has to be said of a prompt of token ids."""
    assert category_of([]) is category_of([""]) is Category.PROSE


def test_every_category_told_from_text_has_a_text_here() -> None:
    """All but tools, which are told from structure."""
    assert {category for category, _ in TEXTS.values()} == set(Category) - {Category.TOOLS}


@pytest.mark.parametrize(
    ("marks", "category"),
    [
        ("1" * 31 + " " * 20, Category.DENSE),
        ("1" * 30 + " " * 20, Category.LOGS),
        ("1" * 9 + " " * 20, Category.LOGS),
        ("1" * 8 + " " * 20, Category.PROSE),
        ('"' * 7 + " " * 20, Category.JSON),
        ('"[{' * 2 + "]" + " " * 20, Category.JSON),
        ('"' * 6 + " " * 20, Category.PROSE),
        ("1" * 3 + " " * 5, Category.DENSE),
        ("1" * 3 + "\n" * 2 + "\t" * 2 + " " * 2, Category.PROSE),
        ("1" * 2 + " " * 5, Category.PROSE),
        ("1" * 3 + '"' * 7, Category.JSON),
        ("(" * 3, Category.CODE),
        ("_;{", Category.CODE),
        ("(" * 2, Category.PROSE),
        ("1" * 9 + "(" * 9 + " " * 20, Category.LOGS),
    ],
)
def test_kinds_of_latin_text_are_told_by_shares_of_marks(marks: str, category: Category) -> None:
    """Of a hundred characters, the rest letters: each rule holds from one mark more than its share on, in its order."""
    assert category_of([marks.ljust(100, "a")]) is category


@pytest.mark.parametrize(
    ("foreign", "category"),
    [
        ("é" * 20, Category.PROSE),
        ("é" * 21, Category.OTHER_SCRIPT),
        ("я" * 20, Category.PROSE),
        ("я" * 21, Category.CYRILLIC),
        ("я" * 20 + "é" * 2, Category.OTHER_SCRIPT),
        ("中" * 13 + "é", Category.CJK),
        ("한" * 13 + "é", Category.CJK),
        ("中" * 6 + "한" * 7 + "é", Category.CJK),
        ("中" * 12 + "é" * 4, Category.OTHER_SCRIPT),
        ("中" * 13 + "я" * 21, Category.CJK),
    ],
)
def test_scripts_are_told_by_lead_bytes_where_ascii_is_rarer(foreign: str, category: Category) -> None:
    """Of a hundred bytes, the rest letters: above 40 outside ASCII, then above 12 that lead CJK, then above 20."""
    assert category_of([foreign + "a" * (100 - len(foreign.encode()))]) is category


# Anything at all


@given(
    pieces=st.lists(
        st.text(max_size=8) | st.text(alphabet=st.characters(codec=None)) | st.text(min_size=100, max_size=900),
        max_size=12,
    ),
    structures=st.lists(st.binary(max_size=900), max_size=4),
)
def test_any_text_and_any_bytes_have_features(pieces: list[str], structures: list[bytes]) -> None:
    """Controls, unassigned characters, lone surrogates, bytes that are no UTF-8: classes share out all of them.

    All but the carriage return, which belongs to none of them.
    """
    pieces = [piece.replace("\r", "") for piece in pieces]
    structures = [structure.replace(b"\r", b"") for structure in structures]
    for measure in (sample_features, text_features):
        features = measure(pieces, structures)
        assert features.shares.shape == (COUNT,)
        assert ((features.shares >= 0.0) & (features.shares <= 1.0 + 1e-9)).all()
        something = any(pieces) or any(structures)
        assert features.shares[: len(CLASSES)].sum() == pytest.approx(float(something))
        assert features.category in set(Category) - {Category.TOOLS}
