import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import quicktok
from tokenizers import Tokenizer

from extproc.tokenizer.exact import ExactCounter

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "tokenizer_json.py"
CORPUS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "extproc/demo/corpus").iterdir())]
ODDITIES = [
    "don't I'LL 12345.678",
    " \t\n\n  x \r\n\r\n",
    "e\u0301 → é",
    "🚀🔥!!!\n",
    "日本語のテスト、中文",
    "'S 'tis",
]
UNREACHABLE = " 스타일을"
"""Its first three letters are one of Llama's tokens, which no order of joining reaches inside a longer word."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("tokenizer_json", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["llama3", "qwen3"])
def name(request: pytest.FixtureRequest) -> str:
    """Each vocabulary in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def file(name: str, script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes."""
    out = tmp_path_factory.mktemp(name) / "tokenizer.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), name, str(out)])
        script.main()
    return out


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> Tokenizer:
    """The file as the library reads it."""
    return Tokenizer.from_file(str(file))


def by_rank(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """A word's tokens by tiktoken's rule, in its plainest form: the word, or join the lowest-ranked neighbours."""
    parts = [word] if word in ranks else [bytes([byte]) for byte in word]
    while True:
        joins = [(ranks.get(parts[at] + parts[at + 1], 1 << 30), at) for at in range(len(parts) - 1)]
        rank, at = min(joins, default=(1 << 30, 0))
        if rank == 1 << 30:
            return [ranks[part] for part in parts]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_words_are_joined_by_rank(name: str, script: ModuleType, tokenizer: Tokenizer) -> None:
    """Every word of the corpus, in eight languages, has the tokens that the ranks say."""
    ranks = script.read_ranks(script.VOCABULARIES / f"{name}.vocab")
    letters = {letter: byte for byte, letter in script.byte_letters().items()}
    assert tokenizer.pre_tokenizer is not None
    spelled = {word for text in [*CORPUS, UNREACHABLE] for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    assert len(spelled) > 2000
    for word in (bytes(map(letters.__getitem__, letters_of)) for letters_of in spelled):
        assert tokenizer.encode(word.decode()).ids == by_rank(word, ranks), word


def test_texts_are_cut_and_normalised_as_the_model_does(tokenizer: Tokenizer, name: str) -> None:
    """Where the ranks reach every token, an independent implementation gives the same ids for whole texts."""
    other = quicktok.get_encoding(name)
    english = (ROOT / "extproc/demo/corpus/english.txt").read_text(encoding="utf-8")
    for text in [*(CORPUS if name == "qwen3" else [english]), *ODDITIES]:
        assert tokenizer.encode(text).ids == other.encode_ordinary(text)


def test_special_tokens_are_those_of_the_model(tokenizer: Tokenizer, name: str) -> None:
    """Their ids are the model's; Qwen's thoughts and calls are added tokens but not special."""
    turn, identity = {"llama3": ("<|eot_id|>", 128_009), "qwen3": ("<|im_end|>", 151_645)}[name]
    assert tokenizer.encode(turn).ids == [identity]
    tokenizer.encode_special_tokens = True
    assert len(tokenizer.encode(turn).ids) > 3
    if name == "qwen3":
        assert tokenizer.encode("<think></tool_response>").ids == [151_667, 151_666]


def test_the_service_can_count_with_it(file: Path) -> None:
    """The file is what stage 3 takes; llama3's count of two words is known."""
    assert ExactCounter(file).count(["hello world", ""]) == 2
    assert json.loads(file.read_bytes())["post_processor"] is None
