import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors, trainers

from extproc.errors import ConfigurationError, MissingPartError
from extproc.tokenizer.exact import ExactCounter

TEXT = "The short pool takes what fits, and the long pool takes what does not. " * 3
SPECIAL = "<|eot_id|>"
THOUGHT = "<think>"


def trained() -> Tokenizer:
    """A small byte-level vocabulary with a special token and one that is added but not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=[SPECIAL])
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_tokens([AddedToken(THOUGHT, special=False)])
    return tokenizer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file lies."""
    return tmp_path / "tokenizer.json"


def counter(path: Path, tokenizer: Tokenizer, **options: Any) -> ExactCounter:
    """The tokenizer's file, loaded."""
    tokenizer.save(str(path))
    return ExactCounter(path, **options)


def test_texts_are_counted_each_by_itself(path: Path) -> None:
    """The count of several texts is the sum of the counts the library gives for each, in any script."""
    tokenizer = trained()
    texts = [TEXT, "pool", "二つの池 🚀", "", "\r\n\t x"]
    assert counter(path, tokenizer).count(texts) == sum(len(tokenizer.encode(text).ids) for text in texts)
    assert ExactCounter(path).count([]) == 0


def test_nothing_is_added_cut_or_padded(path: Path) -> None:
    """A file that says to cut, to pad and to begin with a special token changes no count."""
    tokenizer = trained()
    true_count = len(tokenizer.encode(TEXT).ids)
    tokenizer.post_processor = processors.TemplateProcessing(f"{SPECIAL} $0", None, [(SPECIAL, 0)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=200)
    assert len(tokenizer.encode(TEXT).ids) == 200
    assert counter(path, tokenizer).count([TEXT]) == true_count > 8


def test_text_that_looks_special_is_text(path: Path) -> None:
    """A special token's name counts as its letters, more than the one token a server makes of it."""
    tokenizer = trained()
    assert len(tokenizer.encode(SPECIAL * 5).ids) == 5
    assert counter(path, tokenizer).count([SPECIAL * 5]) == 5 * len(SPECIAL)


def test_added_tokens_that_are_not_special_are_one_token(path: Path) -> None:
    """What the file calls an ordinary token is counted as every server counts it."""
    assert counter(path, trained()).count([THOUGHT * 5]) == 5


def test_long_texts_are_not_counted(path: Path) -> None:
    """The bound is on the UTF-8 bytes of all texts, not on their characters."""
    bounded = counter(path, trained(), max_bytes=100)
    assert bounded.count(["a" * 50, "b" * 50]) is not None
    assert bounded.count(["a" * 50, "b" * 51]) is None
    assert bounded.count(["池" * 33]) is not None
    assert bounded.count(["池" * 34]) is None


def test_text_the_tokenizer_fails_on_is_not_counted(path: Path) -> None:
    """A word without a token and half a character cost the count and nothing else."""
    words = Tokenizer(models.WordLevel({"One": 0, "plain": 1, "sentence": 2, ".": 3}, unk_token="[none]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    of_words = counter(path, words)
    assert of_words.count(["plain One"]) == 2
    assert of_words.count(["unheard"]) is None
    assert of_words.count(["\ud800"]) is None
    assert of_words.count(["plain One"]) == 2


def test_a_panic_inside_the_library_is_not_counted(path: Path) -> None:
    """A pattern that tries too long makes the library panic; the counter answers and goes on."""
    tokenizer = trained()
    slow = pre_tokenizers.Split(Regex("(?:a|a)+b"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([slow, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    panicking = counter(path, tokenizer)
    assert panicking.count(["a" * 40]) is None
    assert panicking.count(["pool"]) == len(tokenizer.encode("pool").ids)


def test_words_are_not_kept(path: Path) -> None:
    """The library's cache of words is off: it would keep what users typed."""
    tokenizer = Tokenizer(models.BPE(vocab={"[none]": 0, "O": 1}, merges=[], unk_token="[none]"))
    exact = counter(path, tokenizer)
    assert (exact.count(["xyz"]), len(tokenizer.encode("xyz"))) == (3, 3)
    for each in (exact._tokenizer, tokenizer):
        assert isinstance(each.model, models.BPE)
        each.model.fuse_unk = True
    assert (exact.count(["xyz"]), len(tokenizer.encode("xyz"))) == (1, 3), "a cache gives the count of before"


def test_a_count_starts_no_thread(path: Path) -> None:
    """A batch of texts is counted by the thread that asks, whatever the library would do by itself."""
    trained().save(str(path))
    code = (
        "import sys; from pathlib import Path; import psutil; from extproc.tokenizer.exact import ExactCounter\n"
        "exact = ExactCounter(Path(sys.argv[1])); exact.count(['several texts'] * 100)\n"
        "print(psutil.Process().num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    run = subprocess.run([sys.executable, "-c", code, path], env=environment, check=True, capture_output=True)
    assert int(run.stdout) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a folder say which and why."""
    with pytest.raises(ConfigurationError, match=r"absent\.json cannot be read: No such file"):
        ExactCounter(tmp_path / "absent.json")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        ExactCounter(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\x0a\xff\x00model", b'{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_named(path: Path, content: bytes) -> None:
    """Empty, other JSON, another format, half a tokenizer."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json is no tokenizer\.json: .+"):
        ExactCounter(path)


def test_a_tokenizer_without_words_is_refused(path: Path) -> None:
    """A well-formed file whose vocabulary is empty would count every text as nothing."""
    path.write_text(json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}))
    with pytest.raises(ConfigurationError, match="finds no token in plain text"):
        ExactCounter(path)


def test_a_missing_extra_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingPartError, match=r"pip install 'dualpool\[exact\]'"):
        ExactCounter(path)
