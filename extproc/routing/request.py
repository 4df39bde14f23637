"""Request bytes → `RequestFacts`; knows the API's routes and limits, judges nothing, and never raises on any bytes.

What cannot be read becomes a flaw, and a flaw means the long pool: broken JSON, wrong types, negative counts,
compressed or incomplete bodies. vLLM would answer most of these with 400; letting it do so is right.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from extproc.routing.estimators import MAX_BYTES_PER_TOKEN
from extproc.routing.features import classify, sample
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
from extproc.routing.values import NEGLIGIBLE_SHARE, Category, Flaw, RequestFacts

_LEARNABLE_BYTES = 512
"""Below this the chat template outweighs the text, and bytes per token say nothing about it."""
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
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


class _Api(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    gather: Callable[[Any], Prompt]
    output: Callable[[Any], int | None]
    streams_usage: bool
    """Whether a streamed answer carries usage unasked."""


def is_inference(method: str, path: str) -> bool:
    """Whether a request occupies a context: only then is its body worth reading."""
    return method == "POST" and _api_for(path) is not None


def read_request(path: str, body: bytes) -> RequestFacts:
    """The facts of a whole, uncompressed body.

    Args:
        path: the request's path, with or without a prefix before /v1 and a query.
        body: any bytes.
    """
    api = _api_for(path)
    if api is None:
        return flawed(Flaw.NOT_INFERENCE)
    try:
        parsed = api.decoder.decode(body)
        return _facts(api, parsed, api.gather(parsed))
    except NotInBody as turn:
        return flawed(turn.flaw)
    except _UNREADABLE:
        return flawed(Flaw.UNREADABLE)


def flawed(flaw: Flaw) -> RequestFacts:
    """Facts of a request whose budget cannot be told."""
    return RequestFacts(flaw=flaw, teaches=False, usage_expected=False)


def _facts(api: _Api, parsed: Body, prompt: Prompt) -> RequestFacts:
    if parsed.kv_transfer_params != NULL:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    cap = parsed.truncate_prompt_tokens if isinstance(parsed, CutBody) else None
    category = _category(prompt)
    mixed = _is_mixed(prompt, category) if prompt.texts else False
    return RequestFacts(
        text_bytes=prompt.text_bytes,
        structure_bytes=prompt.structure_bytes,
        escape_bytes=prompt.escape_bytes,
        total_text_bytes=prompt.text_bytes + prompt.other_text_bytes,
        token_ids=prompt.token_ids,
        message_count=prompt.message_count,
        tool_count=prompt.tool_count,
        prompt_count=prompt.prompt_count,
        output_tokens=api.output(parsed),
        prompt_cap_tokens=None if cap is None else _prompt_cap(cap),
        model=(parsed.model or "")[:_MODEL_CHARS],
        category=category,
        mixed=mixed,
        usage_expected=not parsed.stream or _stream_carries_usage(api, parsed),
        teaches=cap is None and parsed.truncation != "auto" and not mixed and _teaches(prompt, category),
    )


def _category(prompt: Prompt) -> Category:
    """Tools where structure dominates, unless the text beside it is poorer than schemas, such as CSV or Chinese."""
    if prompt.structure_bytes > (1 - NEGLIGIBLE_SHARE) * prompt.text_bytes:
        return Category.TOOLS
    category = classify(sample(prompt.pieces))
    if prompt.structure_bytes > _STRUCTURE_DOMINATES * prompt.text_bytes and category in _RICH_TEXT:
        return Category.TOOLS
    return category


def _is_mixed(prompt: Prompt, category: Category) -> bool:
    """Whether the longest text need not be the one of most tokens.

    Texts of an eighth of its bytes or less cannot have more tokens: no ratio is above `MAX_BYTES_PER_TOKEN`.
    """
    rivals = [text for text in prompt.texts if MAX_BYTES_PER_TOKEN * utf8_bytes(text) > prompt.text_bytes]
    return len(rivals) > _RIVALS or any(classify(sample([text])) is not category for text in rivals)


def _teaches(prompt: Prompt, category: Category) -> bool:
    """A mixture of text and tool schemas would distort the ratio of either; a tiny prompt is mostly template.

    Nor does a prompt teach that the server may cut: it counts what is left.
    """
    text_bytes = prompt.text_bytes + prompt.other_text_bytes
    if prompt.token_ids or text_bytes < _LEARNABLE_BYTES * prompt.prompt_count:
        return False
    negligible_bytes = NEGLIGIBLE_SHARE * text_bytes
    mixture = prompt.structure_bytes > negligible_bytes and category is not Category.TOOLS
    return not mixture and prompt.doubtful_bytes <= negligible_bytes


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
