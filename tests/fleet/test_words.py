import json
from random import Random

import pytest

from extproc.fleet import words
from extproc.fleet.words import Line, letters, prose, script, some

LINES = [
    prose(syllables=3, sentence=10),
    script(letters("а", "я"), longest=8),
    words.indented_code,
    words.braced_code,
    words.query_code,
    words.shell_code,
    words.flat_json,
    words.indented_json,
    words.deep_json,
    words.server_log,
    words.service_log,
    words.kernel_log,
    words.decimal_csv,
    words.count_csv,
    words.base64,
    words.hexadecimal,
]


@pytest.mark.parametrize("line", LINES)
def test_the_generator_decides_every_line(line: Line) -> None:
    """The same state gives the same line, the next one another; each ends a line."""
    rng, again = Random(1), Random(1)
    one, two = line(rng), line(rng)
    assert [one, two] == [line(again), line(again)]
    assert one != two
    assert one.endswith("\n")


def test_longer_words_where_they_are_asked_for() -> None:
    """Syllables make them."""
    short, long = ("".join(words.words(Random(1), 500, syllables=most)) for most in (1, 5))
    assert len(long) > 2 * len(short)


def test_accents_replace_few_letters() -> None:
    """So that a text stays Latin."""
    text = "".join(prose(syllables=3, sentence=10, accents="é")(Random(1)) for _ in range(50))
    assert 0.01 < text.count("é") / len(text) < 0.05


def test_json_and_tools_are_json() -> None:
    """Records parse, tools have a name and parameters."""
    assert "id" in json.loads(words.flat_json(Random(1)))
    function = words.tool(Random(1))["function"]
    assert isinstance(function, dict)
    assert set(function) == {"name", "description", "parameters"}


def test_letters() -> None:
    """From one to another, and some of them."""
    assert letters("a", "e") == "abcde"
    assert set(some(Random(1), letters("a", "e"), 5)) == set("abcde")
