"""Synthetic text, line by line, of many kinds; knows nothing of requests, bytes or tokens. All of it is invented here.

Each function takes a generator of random numbers and gives one line, record or paragraph.
"""

import json
from collections.abc import Callable, Sequence
from random import Random

Line = Callable[[Random], str]
_ONSETS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl", "ch", "sh", "th", "")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "ou", "e", "a", "i")
_CODAS = ("", "", "n", "r", "s", "t", "l", "nd", "st", "m")
_SHORT = ("the", "of", "to", "and", "a", "in", "is", "it", "we", "for", "on", "as", "with", "be", "at", "by", "not")
_LEVELS = ("INFO", "WARN", "ERROR", "DEBUG")
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def word(rng: Random, syllables: int) -> str:
    """A word that could be one."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))


def words(rng: Random, count: int, *, syllables: int) -> list[str]:
    """Words of up to so many syllables."""
    return [word(rng, rng.randint(1, syllables)) for _ in range(count)]


def prose(*, syllables: int, sentence: int, accents: str = "") -> Line:
    """Paragraphs of a language with short words between longer ones.

    Args:
        syllables: of the longest words.
        sentence: words in a sentence, about.
        accents: letters outside ASCII that take the place of some vowels.
    """

    def line(rng: Random) -> str:
        sentences = []
        for _ in range(rng.randint(2, 6)):
            longer = words(rng, rng.randint(sentence // 2, sentence), syllables=syllables)
            spoken = [f"{rng.choice(_SHORT)} {each}" if rng.random() < _OFTEN else each for each in longer]
            sentences.append(" ".join(spoken).capitalize() + rng.choice(".....?,"))
        text = " ".join(sentences) + "\n\n"
        return "".join(rng.choice(accents) if accents and c in "eo" and rng.random() < _SELDOM else c for c in text)

    return line


def script(alphabet: str, *, longest: int, between: str = " ", stops: str = ".") -> Line:
    """Paragraphs of another script: words of random letters, as long as `longest`."""

    def line(rng: Random) -> str:
        spoken = ("".join(rng.choices(alphabet, k=rng.randint(1, longest))) for _ in range(rng.randint(20, 60)))
        return between.join(spoken) + rng.choice(stops) + "\n"

    return line


def indented_code(rng: Random) -> str:
    """A function as languages without braces write it."""
    name, first, second, *rest = words(rng, 7, syllables=3)
    return (
        f"def {name}_{first}({first}, {second}):\n    {rest[0]} = {rest[1]}({first})\n"
        f"    if {rest[0]} > {rng.randint(0, 99)}:\n        return self.{rest[2]}[{second}]\n    return {rest[3]}\n\n\n"
    )


def braced_code(rng: Random) -> str:
    """A method in a language of braces and mixed case."""
    kind, name, first, *rest = words(rng, 6, syllables=3)
    return (
        f"public {kind.title()} get{name.title()}({rest[0].title()} {first}) {{\n"
        f"\tfor (int i = 0; i < {first}; i++) {{\n"
        f"\t\tthis.{rest[1]}{rest[2].title()} += {first}[i];\n\t}}\n\treturn {rest[1]};\n}}\n\n"
    )


def query_code(rng: Random) -> str:
    """A database query."""
    table, first, second, third = words(rng, 4, syllables=3)
    return (
        f"SELECT t.{first}, COUNT(*) AS {second}_{third}\nFROM {table}.{first}_{second} t\n"
        f"WHERE t.{third} >= {rng.randint(1, 500)} AND t.{second} <> '{first}'\nGROUP BY t.{first};\n\n"
    )


def shell_code(rng: Random) -> str:
    """Lines of a shell script."""
    first, second, third = words(rng, 3, syllables=2)
    test = f'if [ -f "$({first} --{second}={third})" ]; then'
    return f"{test}\n  {first} -{second[:1]} /{second}/{third} | {third} > ${first.upper()}\nfi\n"


def flat_json(rng: Random) -> str:
    """A record on one line."""
    return json.dumps(_record(rng), separators=(",", ":")) + "\n"


def indented_json(rng: Random) -> str:
    """A record over several lines."""
    return json.dumps(_record(rng), indent=2) + ",\n"


def deep_json(rng: Random) -> str:
    """Records in records, with longer texts."""
    spoken = " ".join(words(rng, rng.randint(5, 20), syllables=3))
    return json.dumps({word(rng, 2): _record(rng), "notes": [spoken, word(rng, 3)], "next": None}) + "\n"


def server_log(rng: Random) -> str:
    """A line of a web server."""
    address = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    path, agent = "/".join(words(rng, 4, syllables=3)), " ".join(words(rng, 6, syllables=3)).title()
    status = rng.choice((200, 200, 304, 404, 500))
    return f"{address} - - {_day(rng)}:{_hour(rng)} GET /{path} {status} {rng.randint(100, 99_999)} {agent}\n"


def service_log(rng: Random) -> str:
    """A line of a service that logs pairs of key and value."""
    pairs = " ".join(f"{key}={rng.randint(0, 999)}" for key in words(rng, 3, syllables=3))
    spoken = " ".join(words(rng, 7, syllables=3))
    return f"2025-{rng.randint(10, 12)}-{rng.randint(10, 28)}T{_hour(rng)}Z {rng.choice(_LEVELS)} {spoken} {pairs}\n"


def kernel_log(rng: Random) -> str:
    """A line of an operating system."""
    stamp = f"{rng.randint(1000, 99_999)}.{rng.randint(1000, 9999)}"
    spoken = " ".join(words(rng, 6, syllables=3))
    return f"{stamp} {word(rng, 2)}{rng.randint(0, 9)}: {spoken} 0x{rng.randrange(16**6):06x}\n"


def decimal_csv(rng: Random) -> str:
    """A row of measurements."""
    return ",".join(f"{rng.uniform(-100, 100):.{rng.randint(1, 5)}f}" for _ in range(8)) + "\n"


def count_csv(rng: Random) -> str:
    """A row of counts with a name before them."""
    return f"{word(rng, 2)}," + ",".join(str(rng.randint(0, 10 ** rng.randint(1, 6))) for _ in range(10)) + "\n"


def base64(rng: Random) -> str:
    """A line of base64."""
    return "".join(rng.choices(_BASE64, k=76)) + "\n"


def hexadecimal(rng: Random) -> str:
    """A line of a memory dump."""
    return " ".join(f"{rng.randrange(256):02x}" for _ in range(16)) + "\n"


def tool(rng: Random) -> dict[str, object]:
    """The definition of a tool, as clients declare it."""
    spoken = " ".join(words(rng, rng.randint(6, 24), syllables=3))
    fields = {
        name: {
            "type": rng.choice(("string", "integer", "boolean")),
            "description": " ".join(words(rng, 5, syllables=3)),
        }
        for name in words(rng, rng.randint(1, 5), syllables=3)
    }
    parameters = {"type": "object", "properties": fields, "required": list(fields)[:1]}
    return {"type": "function", "function": {"name": word(rng, 3), "description": spoken, "parameters": parameters}}


def letters(first: str, last: str) -> str:
    """All characters from one to another."""
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


def some(rng: Random, alphabet: Sequence[str], count: int) -> str:
    """So many different letters: of thousands, texts use few."""
    return "".join(rng.sample(alphabet, count))


def _record(rng: Random) -> dict[str, object]:
    name, first, second, third = words(rng, 4, syllables=3)
    return {
        "id": rng.randint(1000, 999_999),
        name: f"{first} {second}",
        first: round(rng.uniform(0, 1000), 2),
        f"{second}_{third}": [word(rng, 2), rng.random() < _OFTEN],
    }


def _day(rng: Random) -> str:
    return f"{rng.randint(10, 28)}/{rng.choice(('Jan', 'May', 'Oct'))}/2025"


def _hour(rng: Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"


_OFTEN, _SELDOM = 0.6, 0.3
