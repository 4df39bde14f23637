"""One request as the service needs it, whatever the route it came by; a value, and how prompts become such values."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from extproc.mockvllm.errors import Refusal, bad_request, malformed
from extproc.mockvllm.settings import MockSettings, Version
from extproc.mockvllm.template import Call, Message, Segment
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.wire import ChatMessage, OpenAIBody, Part, problem

MOST_PROMPTS = 1024
"""vLLM's cap on a list of prompts."""
MOST_ANSWERS = 16_384
"""vLLM's cap on n."""
_FORCED_USAGE_PER_CHUNK_SINCE: Version = (0, 20)

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, counted."""

    tokens: int
    characters: int | None
    """Length of the rendered text; None where it came as token ids."""
    fingerprint: int
    """Decides what is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be generated."""

    model: str | None
    prompts: tuple[Prompt, ...]
    asked_tokens: int | None
    asked_field: str
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    request_id: str | None = None
    truncate_prompt_tokens: int | None = None

    def refusal(self) -> Refusal | None:
        """What the sampling parameters alone rule out."""
        if self.n < 1:
            return bad_request(f"n must be at least 1, got {self.n}.", "n")
        if self.n > MOST_ANSWERS:
            return bad_request(f"n must be at most {MOST_ANSWERS}, got {self.n}.", "n")
        if self.asked_tokens is not None and self.min_tokens > self.asked_tokens:
            return bad_request(
                f"min_tokens must be less than or equal to max_tokens={self.asked_tokens}, got {self.min_tokens}."
            )
        return None


def openai_work(body: OpenAIBody, prompts: Sequence[Prompt], settings: MockSettings, **more: Any) -> Work | Refusal:
    """The fields chat and plain completions have in common."""
    if body.stream_options is not None and not body.stream:
        text = problem("value_error", "Value error, Stream options can only be defined when `stream=True`.")
        return malformed([text], "stream_options")
    options = body.stream_options
    forced = settings.enable_force_include_usage
    forced_each = forced and settings.version >= _FORCED_USAGE_PER_CHUNK_SINCE
    asked_usage = options is not None and bool(options.include_usage)
    return Work(
        model=body.model,
        prompts=tuple(prompts),
        n=1 if body.n is None else body.n,
        stream=bool(body.stream),
        include_usage=asked_usage or forced,
        continuous_usage=forced_each or (asked_usage and options is not None and bool(options.continuous_usage_stats)),
        min_tokens=body.min_tokens,
        ignore_eos=body.ignore_eos,
        seed=body.seed,
        request_id=body.request_id,
        truncate_prompt_tokens=body.truncate_prompt_tokens,
        **more,
    )


def text_prompt(tokenizer: Tokenizer, segments: Sequence[Segment]) -> Prompt:
    """Count rendered text."""
    texts = [segment for segment in segments if isinstance(segment, str)]
    return Prompt(tokenizer.count(segments), sum(map(len, texts)), _fingerprint(texts))


def listed_prompts(tokenizer: Tokenizer, given: str | list[str | int | list[int]]) -> list[Prompt] | Refusal:
    """A string, a list of strings, one list of token ids, or a list of such lists; vLLM takes no mixture."""
    if isinstance(given, str):
        return [text_prompt(tokenizer, tokenizer.plain(given))]
    if given and all(isinstance(each, int) for each in given):
        return [_id_prompt(given)]
    if not given or any(isinstance(each, int) for each in given) or len({type(each) for each in given}) > 1:
        return malformed([problem("value_error", "prompt must be a string, or a list of one kind")])
    if len(given) > MOST_PROMPTS:
        return bad_request(f"Too many prompts: {len(given)}, at most {MOST_PROMPTS}.", "prompt")
    return [_either_prompt(tokenizer, each) for each in given]


def conversation(messages: Sequence[ChatMessage]) -> list[Message]:
    """Messages with their parts joined, as vLLM hands them to a template that takes strings."""
    return [Message(each.role, text_of(each.content), media_of(each.content), _calls(each)) for each in messages]


def text_of(content: str | list[Part] | None) -> str:
    """The text of a content, parts joined by line breaks."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text or "" for part in content if part.type in _TEXT_PARTS)


def media_of(content: str | list[Part] | None) -> int:
    """Pictures, sounds and films of a content."""
    if content is None or isinstance(content, str):
        return 0
    return sum(1 for part in content if part.type not in _TEXT_PARTS and not part.type.startswith("tool_"))


def _calls(message: ChatMessage) -> tuple[Call, ...]:
    calls = (call.function for call in message.tool_calls or ())
    return tuple(Call(each.name, json_text(each.arguments)) for each in calls)


def json_text(value: Any) -> str:
    """Arguments as JSON text: as they came, or dumped."""
    return value if isinstance(value, str) else json.dumps(value or {}, ensure_ascii=False)


def _either_prompt(tokenizer: Tokenizer, given: str | int | list[int]) -> Prompt:
    return text_prompt(tokenizer, tokenizer.plain(given)) if isinstance(given, str) else _id_prompt(given)


def _id_prompt(ids: Any) -> Prompt:
    return Prompt(len(ids), None, zlib.crc32(repr(ids).encode()))


def _fingerprint(texts: Sequence[str]) -> int:
    value = 0
    for text in texts:
        value = zlib.crc32(text.encode(), value)
    return value
