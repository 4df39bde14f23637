from statistics import mean

import pytest

from extproc.mockvllm.generate import FILLER, Draft, Filler, draft
from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.tokens import Tokenizer


@pytest.fixture(params=list(TokenizerName))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Each vocabulary in turn."""
    return Tokenizer(request.param)


def test_drafts_repeat_by_seed_prompt_and_choice() -> None:
    """The same three give the same draft; changing any changes it."""
    assert draft(1, 2, 0, 128) == draft(1, 2, 0, 128)
    assert len({draft(1, 2, 0, 128), draft(2, 2, 0, 128), draft(1, 3, 0, 128), draft(1, 2, 1, 128)}) == 4


def test_lengths_have_the_mean_asked_for_and_a_long_tail() -> None:
    """Lognormal lengths: the mean is met, the median lies below, none is empty."""
    lengths = sorted(draft(0, index, 0, 100).tokens for index in range(4000))
    assert mean(lengths) == pytest.approx(100, rel=0.08)
    assert lengths[2000] < 80
    assert lengths[0] >= 1
    assert draft(0, 0, 0, 1).tokens >= 1


def test_an_answer_begins_with_a_sentence(tokenizer: Tokenizer) -> None:
    """Answers read as prose from their first word."""
    for sentence in range(20):
        text = Filler(tokenizer).text(Draft(10, sentence), 0, 10)
        assert text[0].isupper()
        assert text in FILLER + FILLER


def test_pieces_of_an_answer_make_the_whole(tokenizer: Tokenizer) -> None:
    """However it is cut into chunks, the text is the same, also where the prose repeats."""
    filler, one = Filler(tokenizer), Draft(2000, 5)
    whole = filler.text(one, 0, 2000)
    assert "".join(filler.text(one, start, start + 7) for start in range(0, 1995, 7)) == filler.text(one, 0, 1995)
    assert tokenizer.count([whole]) == pytest.approx(2000, rel=0.01)
