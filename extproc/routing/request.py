"""Request bytes → `RequestFacts`; knows the API's routes and limits, judges nothing, and never raises on any bytes.

What cannot be read becomes a flaw, and a flaw means the long pool: broken JSON, wrong types, negative counts,
compressed or incomplete bodies. vLLM would answer most of these with 400; letting it do so is right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from extproc.routing.features import classify, sample
from extproc.routing.prompts import (
    NotInBody,
    Prompt,
    gather_chat,
    gather_completion,
    gather_messages,
    gather_pooling,
    gather_responses,
)
from extproc.routing.schemas import (
    ChatBody,
    CompletionBody,
    MessagesBody,
    Number,
    PoolingBody,
    ResponsesBody,
    Sampling,
)
from extproc.routing.values import Category, Flaw, RequestFacts

COMPLETION_OUTPUT_TOKENS = 16
"""vLLM's default `max_tokens` on /v1/completions, OpenAI's legacy default."""
_LEARNABLE_BYTES = 512
"""Below this the chat template outweighs the text, and bytes per token say nothing about it."""
_MODEL_CHARS = 128
"""A model's name keys what is learned for it, so its length is bounded; real names stay well below."""
_STRUCTURE_DOMINATES = 0.5
_STRUCTURE_NEGLIGIBLE = 0.1
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


class _Api(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    gather: Callable[[Any], list[Prompt]]
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


def _facts(api: _Api, parsed: Sampling, prompts: list[Prompt]) -> RequestFacts:
    if parsed.kv_transfer_params is not None:
        raise NotInBody(Flaw.LENGTH_NOT_IN_BODY)
    longest = max(prompts, key=lambda prompt: prompt.text_bytes)
    text_bytes = longest.text_bytes
    token_ids = max(prompt.token_ids for prompt in prompts)
    total_bytes = text_bytes if len(prompts) == 1 else sum(prompt.text_bytes for prompt in prompts)
    cap = _prompt_cap(parsed.truncate_prompt_tokens)
    return RequestFacts(
        text_bytes=text_bytes,
        structure_bytes=longest.structure_bytes,
        total_text_bytes=total_bytes,
        token_ids=token_ids,
        message_count=longest.message_count,
        tool_count=longest.tool_count,
        sequences=len(prompts) * max(1, _count(parsed.n, default=1)),
        output_tokens=api.output(parsed),
        prompt_cap_tokens=cap,
        model=(parsed.model or "")[:_MODEL_CHARS],
        category=_category(longest, text_bytes),
        usage_expected=_usage_expected(api, parsed),
        teaches=cap is None and not token_ids and _teaches(longest, total_bytes),
    )


def _category(prompt: Prompt, text_bytes: int) -> Category:
    if prompt.structure_bytes > _STRUCTURE_DOMINATES * text_bytes:
        return Category.TOOLS
    return classify(sample(prompt.pieces))


def _teaches(prompt: Prompt, total_bytes: int) -> bool:
    """A mixture of prose and tool schemas would distort the ratio of either; a tiny prompt is mostly template."""
    share = prompt.structure_bytes / total_bytes if total_bytes else 0.0
    return total_bytes >= _LEARNABLE_BYTES and not _STRUCTURE_NEGLIGIBLE < share <= _STRUCTURE_DOMINATES


def _usage_expected(api: _Api, parsed: Sampling) -> bool:
    """A chat stream carries usage only where the client asked for it."""
    asked = parsed.stream_options is not None and bool(parsed.stream_options.include_usage)
    return not parsed.stream or api.streams_usage or asked


def _prompt_cap(value: Number) -> int | None:
    """`truncate_prompt_tokens`; −1 means the pool's own ceiling, which bounds nothing before a pool is chosen."""
    cap = None if value is None else int(value)
    if cap is not None and cap < -1:
        raise ValueError
    return cap if cap is not None and cap > 0 else None


def _count(value: Number, *, default: int) -> int:
    return default if value is None else _at_least_zero(value)


def _optional_count(value: Number) -> int | None:
    return None if value is None else _at_least_zero(value)


def _at_least_zero(value: float | str) -> int:
    """A count as vLLM's validation reads it: "16" and 16.0 are sixteen, 16.5 and −1 are refused."""
    count = int(value)
    if count < 0 or (isinstance(value, float) and count != value):
        raise ValueError
    return count


def _chat_output(body: ChatBody) -> int | None:
    """`max_completion_tokens` wins over `max_tokens` unless it is null."""
    newer = _optional_count(body.max_completion_tokens)
    return _optional_count(body.max_tokens) if newer is None else newer


def _completion_output(body: CompletionBody) -> int | None:
    return _count(body.max_tokens, default=COMPLETION_OUTPUT_TOKENS)


def _responses_output(body: ResponsesBody) -> int | None:
    return _optional_count(body.max_output_tokens)


def _messages_output(body: MessagesBody) -> int | None:
    return _optional_count(body.max_tokens)


def _no_output(_body: PoolingBody) -> int | None:
    return 0


def _api_for(path: str) -> _Api | None:
    """Gateways put prefixes before /v1, so only the end of the path counts."""
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
