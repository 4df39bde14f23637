import pytest

from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.tokens import SLICE_CHARACTERS, Tokenizer


@pytest.fixture(params=list(TokenizerName))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Each vocabulary in turn."""
    return Tokenizer(request.param)


def test_known_counts() -> None:
    """Counts known of the Llama 3 vocabulary."""
    tokenizer = Tokenizer(TokenizerName.LLAMA3)
    assert tokenizer.encode(["hello world"]) == [15339, 1917]
    assert tokenizer.encode(tokenizer.plain("hello world")) == [128_000, 15339, 1917]


def test_kinds_of_text_differ_in_bytes_per_token(tokenizer: Tokenizer) -> None:
    """Prose has more bytes a token than JSON with numbers, as for a real model."""
    prose = "The quick brown fox jumps over the lazy dog and runs away. " * 20
    numbers = '{"a": 17.25, "b": [3, 14, 15, 92], "c": null}\n' * 20
    ratio = {text: len(text.encode()) / tokenizer.count([text]) for text in (prose, numbers)}
    assert ratio[prose] > 1.5 * ratio[numbers]


def test_long_text_is_counted_in_slices_exactly(tokenizer: Tokenizer) -> None:
    """Counting by slices gives the count of the whole, cut only between words."""
    text = "Some words, 3.14 numbers\n\n and (symbols) 你好 again and again. " * 12_000
    assert len(text) > 2 * SLICE_CHARACTERS
    assert tokenizer.count([text]) == len(tokenizer.encode([text]))


def test_long_text_without_words_is_counted_whole(tokenizer: Tokenizer) -> None:
    """Where no cut is possible the rest is one slice."""
    assert tokenizer.count(["7" * (SLICE_CHARACTERS + 10)]) == len(tokenizer.encode(["7" * (SLICE_CHARACTERS + 10)]))


def test_text_that_looks_special_is_text(tokenizer: Tokenizer) -> None:
    """A client cannot write a special token into a prompt."""
    assert tokenizer.count(["<|eot_id|>"]) > 1
    assert tokenizer.count([128_009]) == 1


def test_pieces_rejoin(tokenizer: Tokenizer) -> None:
    """The text of each token in turn is the text."""
    pieces = tokenizer.pieces("Plain prose, token by token.")
    assert "".join(pieces) == "Plain prose, token by token."
    assert len(pieces) == tokenizer.count(["Plain prose, token by token."])
