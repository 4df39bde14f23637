"""What several tests of the core share."""

import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from extproc.demo.corpus import Corpus, Kind, Source, compose, load
from extproc.mockvllm.chat import Chat
from extproc.mockvllm.messages import Messages
from extproc.mockvllm.responses import Responses
from extproc.mockvllm.settings import MockSettings, TokenizerName
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.work import Work
from extproc.routing.request import Request, read_request

MEASURED = Path(__file__).parents[3] / "shared/data/requests/requests-dev.jsonl.xz"
"""Chat bodies with their true prompt tokens, chat template included. They lie beside the repository, not in it."""
CHAT = "/v1/chat/completions"
BODIES_OF_A_KIND = 24

Measured = tuple[Request, int, int]
"""A body as the core reads it, its tokens under Llama-3.1's tokenizer and template, and under Qwen3's."""
Measure = Callable[[str, dict[str, Any]], Measured]
"""Makes a body of fields, reads it as the core does and counts it as the mock does."""


@pytest.fixture(scope="session")
def measured_requests() -> list[Measured]:
    """Recorded bodies in 18 kinds of text, with counts of the original tokenizers."""
    if not MEASURED.is_file():
        pytest.skip("the measured requests (../shared/data/requests) are not on this machine")
    with lzma.open(MEASURED) as lines:
        rows = [json.loads(line) for line in lines]
    return [(read_request(CHAT, row["body"].encode()), row["llama3_tokens"], row["qwen3_tokens"]) for row in rows]


@pytest.fixture(scope="session")
def measure() -> Measure:
    """Both vocabularies and their templates, loaded once."""
    tokenizers = {name: Tokenizer(name) for name in TokenizerName}

    def tokens(path: str, body: bytes, name: TokenizerName) -> int:
        if path == CHAT:
            work = Chat(MockSettings(tokenizer=name), tokenizers[name]).read(body)
        else:
            work = (Messages if path == "/v1/messages" else Responses)(tokenizers[name]).read(body)
        assert isinstance(work, Work)
        return work.prompts[0].tokens

    def measured(path: str, fields: dict[str, Any]) -> Measured:
        body = json.dumps(fields).encode()
        llama3, qwen3 = (tokens(path, body, name) for name in (TokenizerName.LLAMA3, TokenizerName.QWEN3))
        return read_request(path, body), llama3, qwen3

    return measured


@pytest.fixture(scope="session")
def made_requests(measure: Measure) -> list[Measured]:
    """Chats of 600 bytes to 60 KB in every kind of text the demo has, with tools, and of many short turns."""
    rng = Random(7)
    corpus = load(rng)
    bodies = [*_plain(corpus, rng), *_with_tools(corpus, rng), *_short_turns(corpus, rng)]
    return [measure(CHAT, {"max_tokens": 256, **body}) for body in bodies]


def _plain(corpus: Corpus, rng: Random) -> Iterator[dict[str, Any]]:
    for kind, sources in corpus.sources.items():
        for _ in range(BODIES_OF_A_KIND if kind is not Kind.TOOLS else 0):
            texts = [_text(rng.choice(sources), rng, 60_000) for _ in range(rng.randint(1, 3))]
            yield {"messages": [{"role": "user", "content": text} for text in texts]}


def _with_tools(corpus: Corpus, rng: Random) -> Iterator[dict[str, Any]]:
    """Tools by themselves, beside prose, beside Chinese, Japanese or Korean, beside CSV."""
    for kind in (Kind.TOOLS, Kind.PROSE, Kind.CJK, Kind.DENSE):
        for _ in range(BODIES_OF_A_KIND):
            tools = rng.choices(corpus.tools, k=rng.randint(8, 60))
            text = _text(rng.choice(corpus.sources[kind]), rng, 1000 if kind is Kind.TOOLS else 40_000)
            yield {"messages": [{"role": "user", "content": text}], "tools": tools}


def _short_turns(corpus: Corpus, rng: Random) -> Iterator[dict[str, Any]]:
    for kind in (Kind.PROSE, Kind.CJK, Kind.CYRILLIC):
        for _ in range(BODIES_OF_A_KIND // 2):
            source = rng.choice(corpus.sources[kind])
            turns = [compose(source, rng.randint(10, 60), rng) for _ in range(rng.randint(20, 800))]
            yield {
                "messages": [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
            }


def _text(source: Source, rng: Random, most_bytes: int) -> str:
    """As many short texts as long ones."""
    return compose(source, int(600 * (most_bytes / 600) ** rng.random()), rng)
