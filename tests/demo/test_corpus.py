from random import Random

import pytest

from extproc.demo.corpus import Corpus, Kind, compose, cut, load


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The corpus as one seed makes it."""
    return load(Random(1))


def test_every_kind_has_text(corpus: Corpus) -> None:
    """No kind of text is missing or made of one passage only."""
    assert set(corpus.sources) == set(Kind)
    assert all(len(source.passages) > 3 for sources in corpus.sources.values() for source in sources)


def test_scripts_are_what_their_names_say(corpus: Corpus) -> None:
    """The files hold the languages they are listed under."""
    alphabets = {"chinese": "的", "japanese": "の", "korean": "다", "russian": "ж", "hindi": "ह", "arabic": "ع"}
    texts = {source.name: "".join(source.passages) for sources in corpus.sources.values() for source in sources}
    assert all(letter in texts[name] for name, letter in alphabets.items())
    assert all(3000 < len(texts[name].encode()) < 8000 for name in ("english", *alphabets))


def test_tools_are_definitions(corpus: Corpus) -> None:
    """Every tool is a function with a name, a description and parameters."""
    assert len(corpus.tools) >= 6
    assert all({"name", "description", "parameters"} <= tool["function"].keys() for tool in corpus.tools)


@pytest.mark.parametrize("wanted_bytes", [1, 700, 40_000])
def test_composed_text_has_the_wanted_size(corpus: Corpus, wanted_bytes: int) -> None:
    """Text of any script comes within one character of the size asked for."""
    for sources in corpus.sources.values():
        text = compose(sources[0], wanted_bytes, Random(2))
        assert wanted_bytes - 3 < len(text.encode()) <= wanted_bytes


def test_same_seed_same_text() -> None:
    """Two corpora of one seed compose the same text, and another seed another."""
    first, second, third = (compose(load(Random(seed)).sources[Kind.LOGS][0], 2000, Random(seed)) for seed in (1, 1, 2))
    assert first == second != third


def test_cut_keeps_characters_whole() -> None:
    """A limit inside a character leaves it out."""
    assert cut("añb", 2) == "a"
    assert cut("añb", 3) == "añ"
