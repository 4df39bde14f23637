import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.kinds import GLANCE_CHARS, category_of
from extproc.routing.values import Category

# Real text


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


# Shares


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
        ("1" * 3 + "\r\n" * 3, Category.PROSE),
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


# What is looked at


QUARTER = GLANCE_CHARS // 4
ENOUGH = 94
"""Chinese characters among 512, the others ASCII, from which the text counts as Chinese: 3·94 of 700 bytes are 40 %."""


def places(chars: int) -> list[range]:
    """The characters looked at in a long text: at its begin, a third and two thirds along, at its end."""
    last = chars - QUARTER
    return [range(begin, begin + QUARTER) for begin in (0, last // 3, 2 * last // 3, last)]


def with_chinese_at(chars: int, indices: range) -> str:
    """ASCII, but for these characters."""
    return "a" * indices.start + "中" * len(indices) + "a" * (chars - indices.stop)


@pytest.mark.parametrize("chars", [GLANCE_CHARS + 1, 1000, 100_003])
@pytest.mark.parametrize("number", range(4))
def test_each_of_four_places_counts_for_a_quarter(number: int, chars: int) -> None:
    """At either end of a place just enough characters of another script tell, and one fewer does not."""
    place = places(chars)[number]
    for enough in (place[:ENOUGH], place[-ENOUGH:]):
        assert category_of([with_chinese_at(chars, enough)]) is Category.CJK
        assert category_of([with_chinese_at(chars, enough[1:])]) is Category.PROSE


@pytest.mark.parametrize("chars", [GLANCE_CHARS + 1, 1000, 100_003])
def test_nothing_else_of_a_long_text_counts(chars: int) -> None:
    """The cost is the same for every size."""
    text = list("中" * chars)
    for place in places(chars):
        for index in place:
            text[index] = "a"
    assert category_of(["".join(text)]) is Category.PROSE


@pytest.mark.parametrize("begin", [0, 50, 100, GLANCE_CHARS - ENOUGH])
def test_of_a_short_text_every_character_counts(begin: int) -> None:
    """Up to the number that is looked at, and once: wherever the other script stands, just enough of it tells."""
    assert category_of([with_chinese_at(GLANCE_CHARS, range(begin, begin + ENOUGH))]) is Category.CJK
    assert category_of([with_chinese_at(GLANCE_CHARS, range(begin + 1, begin + ENOUGH))]) is Category.PROSE


@pytest.mark.parametrize("piece_chars", [1, 7, 300])
def test_pieces_make_one_text(piece_chars: int) -> None:
    """Where they meet makes no difference, though every piece by itself may be of another kind."""
    for text in (text * 5 for _, text in TEXTS.values()):
        pieces = [text[begin : begin + piece_chars] for begin in range(0, len(text), piece_chars)]
        assert category_of(pieces) is category_of([text])


@given(
    st.lists(
        st.text(max_size=8) | st.text(alphabet=st.characters(codec=None)) | st.text(min_size=100, max_size=900),
        max_size=12,
    )
)
def test_any_text_is_of_a_kind(pieces: list[str]) -> None:
    """Controls, unassigned characters, lone surrogates; never tools, which are told from structure."""
    assert category_of(pieces) in set(Category) - {Category.TOOLS}
