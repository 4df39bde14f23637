"""The requests of the demo: which sizes, shapes and limits, over the corpus's text; sends nothing.

Kinds of text come in turn, so that each is met equally often; sizes, turns and limits are drawn. Now and then a
conversation begins, whose next turns are made of what the model answered. What an `Ask` says of its text is counted
from the text itself, not by the service's parser: it is the truth the service is held against.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random
from typing import Any, NamedTuple

from extproc.demo.corpus import Corpus, Kind, Source, compose

MODEL = "demo-model"
CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
MODELS_PATH = "/v1/models"
COMPLETION_OUTPUT_TOKENS = 16
"""What vLLM generates on /v1/completions where no limit is named."""

_MODELS_EVERY = 50
"""One request in so many is GET /v1/models: no inference."""
_CONVERSATION_EVERY = 40
"""One item in so many begins a conversation; with its turns they make up one request in nine."""
_TURNS = 4
"""After the first."""
CONVERSATION = "conversation"
"""The kind of its requests: what they are made of is drawn."""
_CONVERSATION_KINDS = (Kind.PROSE, Kind.CODE, Kind.CYRILLIC)
_OUTPUTS_TOKENS = (64, 128, 256, 512, 1024, 2048)
_BYTES_PER_TOKEN = {
    Kind.PROSE: 4.8,
    Kind.CODE: 4.3,
    Kind.CJK: 3.9,
    Kind.JSON: 2.7,
    Kind.LOGS: 2.6,
    Kind.DENSE: 1.6,
    Kind.CYRILLIC: 5.8,
    Kind.OTHER_SCRIPT: 4.8,
    Kind.TOOLS: 4.5,
}
"""Rough, and only to aim sizes at the threshold; nothing is judged by it."""
_LEAST_BYTES = 768
"""A smaller prompt is mostly template, so the service would not learn from it."""
_INSTRUCTIONS = (
    "Summarise the following in three sentences.",
    "What is unusual about this? Answer briefly.",
    "Point out every mistake you can find.",
    "Continue in the same manner.",
)
_SYSTEM = "You are a careful assistant. Answer in the language of the question and say so when you do not know."


class _Size(NamedTuple):
    weight: int
    low: float
    high: float


_SMALL = _Size(weight=35, low=0.02, high=0.10)
_MEDIUM = _Size(weight=30, low=0.10, high=0.50)
_NEAR = _Size(weight=24, low=0.70, high=1.30)
_LARGE = _Size(weight=11, low=1.40, high=2.50)
_QUESTION = _Size(weight=1, low=0.02, high=0.05)
_OPENING = _Size(weight=1, low=0.60, high=0.95)
_TURN = _Size(weight=1, low=0.01, high=0.08)
"""A conversation begins below the threshold, and its turns take it there and past it."""
_SIZES = (_SMALL, _MEDIUM, _NEAR, _LARGE)
"""Wanted budgets as multiples of the threshold."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to send, and what is true of it."""

    path: str
    body: bytes = b""
    """Empty for a GET."""
    kind: str = ""
    text_bytes: int = 0
    """UTF-8 bytes of what the template renders: messages, and tool definitions as JSON without blanks."""
    output_tokens: int | None = None
    """Output the client reserves; None where it names no limit, and the answer may fill the context."""
    streams: bool = False
    turns: tuple[str, ...] = ()
    """What the user says next, turn by turn, once the answer to this is there."""

    @property
    def requests(self) -> int:
        """How many requests it comes to."""
        return 1 + len(self.turns)

    @property
    def is_inference(self) -> bool:
        """Whether it has a prompt at all."""
        return bool(self.body)


def asks(corpus: Corpus, *, requests: int, threshold_tokens: int, rng: Random) -> Iterator[Ask]:
    """Asks that come to so many requests, the same for the same generator state."""
    kinds = cycle(corpus.sources)
    sources = {kind: cycle(found) for kind, found in corpus.sources.items()}
    index, left = 0, requests
    while left > 0:
        index += 1
        if index % _MODELS_EVERY == 0:
            ask = Ask(MODELS_PATH)
        elif index % _CONVERSATION_EVERY == 0:
            kind = rng.choice(_CONVERSATION_KINDS)
            ask = _conversation(kind, next(sources[kind]), min(_TURNS, left - 1), threshold_tokens, rng)
        else:
            kind = next(kinds)
            ask = _inference(kind, next(sources[kind]), corpus.tools, threshold_tokens, rng)
        left -= ask.requests
        yield ask


def next_turn(ask: Ask, reply: str) -> Ask | None:
    """What follows an answer: the conversation so far with the reply in it, as clients send it; None where it ends."""
    if not (ask.turns and reply):
        return None
    body = json.loads(ask.body)
    said, *_ = ask.turns
    body["messages"] += [{"role": "assistant", "content": reply}, {"role": "user", "content": said}]
    raw = json.dumps(body, ensure_ascii=False).encode()
    return replace(ask, body=raw, text_bytes=text_bytes(body), turns=ask.turns[1:])


def ask_of(body: bytes) -> Ask:
    """The `Ask` of a JSON object from elsewhere: chat or completions by its own fields."""
    parsed = json.loads(body)
    is_chat = "messages" in parsed
    return Ask(
        path=CHAT_PATH if is_chat else COMPLETIONS_PATH,
        body=body,
        kind="file",
        text_bytes=text_bytes(parsed),
        output_tokens=_declared(parsed, default=None if is_chat else COMPLETION_OUTPUT_TOKENS),
        streams=parsed.get("stream") is True,
    )


def text_bytes(body: Mapping[str, Any]) -> int:
    """UTF-8 bytes of a body's messages or prompt, and of its tool definitions as JSON without blanks."""
    texts = [part for message in body.get("messages") or () for part in _texts(message.get("content"))]
    texts += _texts(body.get("prompt"))
    texts += [json.dumps(tools, ensure_ascii=False, separators=(",", ":")) for tools in [body.get("tools")] if tools]
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = [part.get("text") if isinstance(part, dict) else part for part in content or ()]
    return [part for part in parts if isinstance(part, str)]


def _declared(body: Mapping[str, Any], default: int | None) -> int | None:
    newer, older = body.get("max_completion_tokens"), body.get("max_tokens")
    named = older if newer is None else newer
    return default if named is None else int(named)


def _inference(kind: Kind, source: Source, tools: tuple[dict[str, Any], ...], threshold: int, rng: Random) -> Ask:
    """A chat mostly; a completion now and then, which has no template and no tools."""
    output_tokens = rng.choice(_OUTPUTS_TOKENS)
    wanted_tokens = threshold * _multiple(kind, rng) - output_tokens
    text = compose(source, max(_LEAST_BYTES, round(wanted_tokens * _BYTES_PER_TOKEN[kind])), rng)
    path = COMPLETIONS_PATH if kind is not Kind.TOOLS and rng.randrange(8) == 0 else CHAT_PATH
    body: dict[str, Any] = _chat(text, rng) if path == CHAT_PATH else {"prompt": text}
    if kind is Kind.TOOLS:
        body["tools"] = rng.sample(tools, rng.randrange(len(tools) * 3 // 4, len(tools) + 1))
    return _ask(path, body | _limit(path, output_tokens, rng) | _streaming(rng), kind, rng)


def _conversation(kind: Kind, source: Source, turns: int, threshold: int, rng: Random) -> Ask:
    """A long text to talk about, then questions with a little more of it."""
    opening, *further = (
        compose(source, round(threshold * rng.uniform(size.low, size.high) * _BYTES_PER_TOKEN[kind]), rng)
        for size in (_OPENING, *[_TURN] * turns)
    )
    output_tokens = rng.choice(_OUTPUTS_TOKENS[:3])
    body = {
        "model": MODEL,
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": opening}],
        "max_tokens": output_tokens,
    }
    return Ask(
        path=CHAT_PATH,
        body=json.dumps(body, ensure_ascii=False).encode(),
        kind=CONVERSATION,
        text_bytes=text_bytes(body),
        output_tokens=output_tokens,
        turns=tuple(further),
    )


def _multiple(kind: Kind, rng: Random) -> float:
    """Tool definitions ride on short questions, so that they outweigh the text as they do in an agent's first turns."""
    sizes = (_QUESTION,) if kind is Kind.TOOLS else _SIZES
    size = rng.choices(sizes, weights=[size.weight for size in sizes])[0]
    return rng.uniform(size.low, size.high)


def _chat(text: str, rng: Random) -> dict[str, Any]:
    """An instruction and the text, in one turn or spread over several; content as a string or as parts."""
    turns = _split(f"{rng.choice(_INSTRUCTIONS)}\n\n{text}", rng.choice((1, 1, 1, 3, 5)))
    roles = cycle(("user", "assistant"))
    messages = [{"role": role, "content": _content(turn, rng)} for role, turn in zip(roles, turns, strict=False)]
    if rng.randrange(3) == 0:
        messages.insert(0, {"role": "system", "content": _SYSTEM})
    return {"messages": messages}


def _split(text: str, turns: int) -> list[str]:
    """`text` in so many parts of about one length."""
    step = -(-len(text) // turns)
    return [text[start : start + step] for start in range(0, len(text), step)]


def _content(text: str, rng: Random) -> Any:
    return [{"type": "text", "text": text}] if rng.randrange(6) == 0 else text


def _limit(path: str, output_tokens: int, rng: Random) -> dict[str, int]:
    """A limit under either name; one request in sixteen names none."""
    if rng.randrange(16) == 0:
        return {}
    newer = path == CHAT_PATH and rng.randrange(2) == 0
    return {"max_completion_tokens" if newer else "max_tokens": output_tokens}


def _streaming(rng: Random) -> dict[str, Any]:
    """Two answers in five come as events."""
    return {"stream": True, "stream_options": {"include_usage": True}} if rng.randrange(5) < 2 else {}  # noqa: PLR2004 - two in five


def _ask(path: str, body: dict[str, Any], kind: Kind, rng: Random) -> Ask:
    """Serialised with every non-ASCII character escaped in one case of three, as `json.dumps` does by itself."""
    escapes = rng.randrange(3) == 0
    return Ask(
        path=path,
        body=json.dumps({"model": MODEL} | body, ensure_ascii=escapes).encode(),
        kind=kind.value,
        text_bytes=text_bytes(body),
        output_tokens=_declared(body, default=None if path == CHAT_PATH else COMPLETION_OUTPUT_TOKENS),
        streams="stream" in body,
    )
