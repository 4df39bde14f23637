"""Request bytes → `Request`; knows the API's routes and limits, judges nothing, and never raises on any bytes.

What cannot be read becomes a flaw, and a flaw means the long pool: broken JSON, wrong types, negative counts,
compressed or incomplete bodies. vLLM would answer most of these with 400; letting it do so is right.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from extproc.routing.features import Features, sample_features, text_features
from extproc.routing.kinds import category_of
from extproc.routing.prompts import (
    NotInBody,
    gather_chat,
    gather_completion,
    gather_messages,
    gather_pooling,
    gather_responses,
)
from extproc.routing.schemas import (
    NULL,
    Body,
    ChatBody,
    CompletionBody,
    CutBody,
    MessagesBody,
    Number,
    PoolingBody,
    ResponsesBody,
)
from extproc.routing.text import Prompt, utf8_bytes
from extproc.routing.values import MAX_BYTES_PER_TOKEN, NEGLIGIBLE_SHARE, Category, Flaw, RequestFacts

_PATHS = 256
"""Bound on remembered paths; a client that invents more pays for reading them anew."""
_MODEL_CHARS = 128
"""A model's name keys what is learned for it, so its length is bounded; real names stay well below."""
_COUNT_MAX = 2**31 - 1
"""Larger counts mean the same as this one; every budget thus fits a metric, a header and a database."""
_STRUCTURE_DOMINATES = 0.5
"""Share of a prompt's bytes from which it is estimated, and learned from, as a prompt of tools."""
_RICH_TEXT = frozenset({Category.PROSE, Category.CODE, Category.JSON, Category.CYRILLIC})
"""Text with about as many bytes per token as tool schemas or more, so it may be estimated with them."""
_RIVALS = 64
"""Texts of a list whose kinds are compared, at 5 µs each; longer lists of long texts count as mixed."""
_SAMPLED = (ChatBody, CompletionBody)
"""Bodies that may ask for several sequences."""
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


class Request:
    """A request while it is decided: its facts, and its text for as long as that takes. Not thread-safe."""

    __slots__ = ("_category", "_sample", "_text", "facts", "note", "prompt")

    def __init__(self, facts: RequestFacts, prompt: Prompt | None = None) -> None:
        self.facts = facts
        self.prompt = prompt
        """What the longest prompt is made of; None where the facts have a flaw."""
        self.note: object = None
        """What an estimator found out about it, for its own use."""
        self._category: Category | None = None
        self._sample: Features | None = None
        self._text: Features | None = None

    def sample(self) -> Features:
        """Features of a small sample of the text, looked at once."""
        if self._sample is None:
            prompt = self.prompt or _EMPTY
            self._sample = sample_features(prompt.pieces, prompt.structures)
        return self._sample

    def text(self) -> Features:
        """Features of all text, looked at once."""
        if self._text is None:
            prompt = self.prompt or _EMPTY
            self._text = text_features(prompt.pieces, prompt.structures)
        return self._text

    def category(self) -> Category:
        """Tools where structure dominates, unless the text beside it is poorer than schemas, such as CSV or Chinese."""
        if self._category is None:
            self._category = self._tell_category()
        return self._category

    def _tell_category(self) -> Category:
        structure_bytes, text_bytes = self.facts.structure_bytes, self.facts.text_bytes
        if structure_bytes > (1 - NEGLIGIBLE_SHARE) * text_bytes:
            return Category.TOOLS
        category = category_of((self.prompt or _EMPTY).pieces)
        dominated = structure_bytes > _STRUCTURE_DOMINATES * text_bytes
        return Category.TOOLS if dominated and category in _RICH_TEXT else category


_EMPTY = Prompt()


class _Api(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    gather: Callable[[Any], Prompt]
    output: Callable[[Any], int | None]
    streams_usage: bool
    """Whether a streamed answer carries usage unasked."""


def is_inference(method: str, path: str) -> bool:
    """Whether a request occupies a context: only then is its body worth reading."""
    return method == "POST" and _api_for(path) is not None


def read_request(path: str, body: bytes) -> Request:
    """Read a whole, uncompressed body.

    Args:
        path: the request's path, with or without a prefix before /v1 and a query.
        body: any bytes.
    """
    api = _api_for(path)
    if api is None:
        return flawed(Flaw.NOT_INFERENCE)
    try:
        parsed = api.decoder.decode(body)
        prompt = api.gather(parsed)
        return Request(_facts(api, parsed, prompt), prompt)
    except NotInBody as turn:
        return flawed(turn.flaw)
    except _UNREADABLE:
        return flawed(Flaw.UNREADABLE)


def flawed(flaw: Flaw) -> Request:
    """A request whose budget cannot be told."""
    return Request(RequestFacts(flaw=flaw, teaches=False, usage_expected=False))


def _facts(api: _Api, parsed: Body, prompt: Prompt) -> RequestFacts:
    if parsed.kv_transfer_params != NULL:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    cap = parsed.truncate_prompt_tokens if isinstance(parsed, CutBody) else None
    mixed = _is_mixed(prompt) if prompt.texts else False
    cut = cap is not None or parsed.truncation == "auto"
    return RequestFacts(
        text_bytes=prompt.text_bytes,
        structure_bytes=prompt.structure_bytes,
        escape_bytes=prompt.escape_bytes,
        total_text_bytes=prompt.text_bytes + prompt.other_text_bytes,
        token_ids=prompt.token_ids,
        message_count=prompt.message_count,
        tool_count=prompt.tool_count,
        prompt_count=prompt.prompt_count,
        n=_sequences(parsed.n) if isinstance(parsed, _SAMPLED) else 1,
        output_tokens=api.output(parsed),
        prompt_cap_tokens=None if cap is None else _prompt_cap(cap),
        cut=cut,
        model=(parsed.model or "")[:_MODEL_CHARS],
        mixed=mixed,
        usage_expected=not parsed.stream or _stream_carries_usage(api, parsed),
        teaches=not cut and not mixed and _teaches(prompt),
    )


def _is_mixed(prompt: Prompt) -> bool:
    """Whether the longest text need not be the one of most tokens.

    Texts of an eighth of its bytes or less cannot have more tokens: no ratio is above `MAX_BYTES_PER_TOKEN`.
    """
    rivals = [text for text in prompt.texts if MAX_BYTES_PER_TOKEN * utf8_bytes(text) > prompt.text_bytes]
    if len(rivals) > _RIVALS:
        return True
    category = category_of(prompt.pieces)
    return any(category_of([text]) is not category for text in rivals)


def _teaches(prompt: Prompt) -> bool:
    """Neither token ids nor text that the server may leave out or write another way has a relation to its bytes."""
    text_bytes = prompt.text_bytes + prompt.other_text_bytes
    return not prompt.token_ids and text_bytes > 0 and prompt.doubtful_bytes <= NEGLIGIBLE_SHARE * text_bytes


def _stream_carries_usage(api: _Api, parsed: Body) -> bool:
    """A chat stream carries usage only where the client asked for it."""
    return api.streams_usage or (parsed.stream_options is not None and bool(parsed.stream_options.include_usage))


def _prompt_cap(value: Number) -> int | None:
    """`truncate_prompt_tokens`; −1 means the pool's own ceiling, which bounds nothing before a pool is chosen."""
    return None if value in (-1, "-1") else _count(value) or None


def _count(value: Number) -> int | None:
    """A count as vLLM's validation reads it: "16" and 16.0 are sixteen, 16.5 and −1 are refused."""
    if value is None:
        return None
    count = int(value)
    if count < 0 or (isinstance(value, float) and count != value):
        raise ValueError
    return min(count, _COUNT_MAX)


def _sequences(value: Number) -> int:
    return 1 if value is None else max(1, _count(value) or 1)


def _chat_output(body: ChatBody) -> int | None:
    """`max_completion_tokens` wins over `max_tokens` unless it is null, or zero: vLLM up to 0.13 passes over a zero."""
    newer = body.max_completion_tokens
    return (None if newer is None else _count(newer)) or _count(body.max_tokens)


def _completion_output(body: CompletionBody) -> int | None:
    """`max_tokens`; releases about 0.9 to 0.13 let `max_completion_tokens` speak, so the larger is reserved."""
    stated, newer = _count(body.max_tokens), _count(body.max_completion_tokens)
    return stated if stated is None or newer is None else max(stated, newer)


def _responses_output(body: ResponsesBody) -> int | None:
    return _count(body.max_output_tokens)


def _messages_output(body: MessagesBody) -> int | None:
    return _count(body.max_tokens)


def _no_output(_body: PoolingBody) -> int | None:
    return 0


@lru_cache(maxsize=_PATHS)
def _api_for(path: str) -> _Api | None:
    """Gateways put prefixes before /v1, so only the end of the path counts. Remembered: it is asked twice a request."""
    bare = path.partition("?")[0].rstrip("/")
    parent, _, name = bare.rpartition("/")
    if name == "completions" and parent.endswith("/chat"):
        return _CHAT
    return _BY_NAME.get(name)


def _decoder(schema: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(schema)


_CHAT = _Api(_decoder(ChatBody), gather_chat, _chat_output, streams_usage=False)
_POOLING = _Api(_decoder(PoolingBody), gather_pooling, _no_output, streams_usage=True)
_BY_NAME = {
    "completions": _Api(_decoder(CompletionBody), gather_completion, _completion_output, streams_usage=False),
    "responses": _Api(_decoder(ResponsesBody), gather_responses, _responses_output, streams_usage=True),
    "messages": _Api(_decoder(MessagesBody), gather_messages, _messages_output, streams_usage=True),
    "embeddings": _POOLING,
    "pooling": _POOLING,
    "classify": _POOLING,
    "score": _POOLING,
    "rerank": _POOLING,
}
