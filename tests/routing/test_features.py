import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.features import SAMPLE_CHARS, classify, sample
from extproc.routing.values import Category

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
    assert classify(text) is category
    assert classify(sample([text] * 20)) is category


def test_no_text_is_prose() -> None:
    """Something has to be said of a prompt of token ids."""
    assert classify("") is Category.PROSE


def test_every_category_told_from_text_has_a_text_here() -> None:
    """All but tools, which are told from structure."""
    assert {category for category, _ in TEXTS.values()} == set(Category) - {Category.TOOLS}


@given(st.text() | st.text(alphabet=st.characters(codec=None)))
def test_any_text_has_a_category(text: str) -> None:
    """Also controls, unassigned characters and lone surrogates, though no JSON body can bring the last."""
    assert classify(text) in Category


@given(st.lists(st.text(max_size=8) | st.text(min_size=100, max_size=700), max_size=60))
def test_a_sample_is_the_whole_or_its_bounded_part(pieces: list[str]) -> None:
    """As many characters as there are, up to the bound, from any pieces, empty ones too."""
    text = "".join(pieces)
    taken = sample(pieces)
    assert len(taken) == min(len(text), SAMPLE_CHARS)
    assert taken == text if len(text) <= SAMPLE_CHARS else set(taken) <= set(text)


@pytest.mark.parametrize("piece_chars", [1, 7, 300, 40_000])
def test_a_sample_is_spread_evenly_whatever_the_pieces(piece_chars: int) -> None:
    """Four slices of 128 characters, from 0, 1/3, 2/3 and the end, also where a slice takes many pieces."""
    text = "".join(chr(0x4E00 + index) for index in range(12_128))
    pieces = [text[begin : begin + piece_chars] for begin in range(0, len(text), piece_chars)]
    assert sample(pieces) == text[:128] + text[4000:4128] + text[8000:8128] + text[-128:]
