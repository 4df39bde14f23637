"""How many tokens a request may generate, or why it is refused, by release; arithmetic and vLLM's words, nothing else.

L is max_model_len, P the prompt's tokens, M the output tokens the client asked for. Up to 0.31 a request with P + M > L
is refused; from 0.32 on only P > L is, and M is cut to L - P without a word. M > L is refused by every release.
"""

from dataclasses import dataclass

from extproc.mockvllm.errors import Refusal, bad_request
from extproc.mockvllm.settings import Version

MAX_CHARS_PER_TOKEN = 128
"""The longest token of both vocabularies; a longer text per token cannot exist, so it is refused uncounted."""

CLAMPS_SINCE: Version = (0, 32)
NAMED_FIELD_SINCE: Version = (0, 17)
"""From here on M > L has its own message and messages end with the parameter's name and value."""
_AT_LEAST_SINCE: Version = (0, 20)
_SHORT_LIMIT_NAME_SINCE: Version = (0, 31)
_FLAT_UNTIL: Version = (0, 10)


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of one prompt and of the output asked for it."""

    prompt_tokens: int
    """P, in full."""
    characters: int | None
    """Length of the prompt's text; None where it came as token ids, whose count is exact."""
    asked_tokens: int | None
    """M; None where the client names no limit."""
    asked_field: str
    """The field that named M."""


def output_limit(version: Version, max_model_len: int, extent: Extent) -> int | Refusal:
    """The resolved max_tokens, at least 1: min(L - P, M)."""
    refusal = _asked_too_much(version, max_model_len, extent) or _overflow(version, max_model_len, extent)
    if refusal is not None:
        return refusal
    room = max_model_len - extent.prompt_tokens
    limit = room if extent.asked_tokens is None else min(room, extent.asked_tokens)
    return limit if limit >= 1 else bad_request(f"max_tokens must be at least 1, got {limit}.", "max_tokens")


def _asked_too_much(version: Version, max_model_len: int, extent: Extent) -> Refusal | None:
    asked = extent.asked_tokens
    if asked is None or asked <= max_model_len or version < NAMED_FIELD_SINCE:
        return None
    space = " " if version >= _AT_LEAST_SINCE else ""
    name = "max_model_len" if version >= _SHORT_LIMIT_NAME_SINCE else "max_model_len=max_total_tokens"
    return _named(
        f"{extent.asked_field}={asked}{space}cannot be greater than {name}={max_model_len}. "
        "Please request fewer output tokens.",
        extent.asked_field,
        asked,
    )


def _overflow(version: Version, max_model_len: int, extent: Extent) -> Refusal | None:
    if version < _FLAT_UNTIL:
        return _overflow_before_0_10(max_model_len, extent)
    if version < NAMED_FIELD_SINCE:
        return _overflow_before_0_17(max_model_len, extent)
    reserved = 0 if version >= CLAMPS_SINCE else extent.asked_tokens or 0
    most = max_model_len - reserved
    if extent.characters is not None and extent.characters > most * MAX_CHARS_PER_TOKEN:
        return _too_many_characters(version, max_model_len, reserved, extent.characters)
    if extent.prompt_tokens <= most:
        return None
    return _too_many_tokens(version, max_model_len, reserved, extent)


def _overflow_before_0_10(max_model_len: int, extent: Extent) -> Refusal | None:
    prompt, asked = extent.prompt_tokens, extent.asked_tokens
    head = f"This model's maximum context length is {max_model_len} tokens. However, you requested "
    if asked is None:
        tail = f"{prompt} tokens in the messages, Please reduce the length of the messages."
        return bad_request(head + tail) if prompt >= max_model_len else None
    tail = (
        f"{prompt + asked} tokens ({prompt} in the messages, {asked} in the completion). "
        "Please reduce the length of the messages or completion."
    )
    return bad_request(head + tail) if prompt + asked > max_model_len else None


def _overflow_before_0_17(max_model_len: int, extent: Extent) -> Refusal | None:
    prompt, asked = extent.prompt_tokens, extent.asked_tokens
    if prompt >= max_model_len:
        return bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, your request has {prompt} "
            "input tokens. Please reduce the length of the input messages."
        )
    if asked is None or prompt + asked <= max_model_len:
        return None
    return bad_request(
        f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is "
        f"{max_model_len} tokens and your request has {prompt} input tokens ({asked} > {max_model_len} - {prompt})."
    )


def _too_many_tokens(version: Version, max_model_len: int, reserved: int, extent: Extent) -> Refusal:
    """The tokenizer stops one token past the limit, so for text the number shown is only a lower bound."""
    counted = extent.prompt_tokens if extent.characters is None else max_model_len - reserved + 1
    at_least = "" if extent.characters is None else "at least "
    if version < _AT_LEAST_SINCE:
        message = (
            f"You passed {counted} input tokens and requested {reserved} output tokens. However, the model's context "
            f"length is only {max_model_len} tokens, resulting in a maximum input length of "
            f"{max_model_len - reserved} tokens. Please reduce the length of the input prompt."
        )
    elif version < CLAMPS_SINCE:
        message = (
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {reserved} output "
            f"tokens and your prompt contains {at_least}{counted} input tokens, for a total of {at_least}"
            f"{counted + reserved} tokens. Please reduce the length of the input prompt or the number of requested "
            "output tokens."
        )
    else:
        message = (
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {at_least}"
            f"{counted} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            "length of the input prompt."
        )
    return _named(message, "input_tokens", counted)


def _too_many_characters(version: Version, max_model_len: int, reserved: int, characters: int) -> Refusal:
    most = max_model_len - reserved
    bound = most * MAX_CHARS_PER_TOKEN
    if version < _AT_LEAST_SINCE:
        message = (
            f"You passed {characters} input characters and requested {reserved} output tokens. However, the model's "
            f"context length is only {max_model_len} tokens, resulting in a maximum input length of {most} tokens "
            f"(at most {bound} characters). Please reduce the length of the input prompt."
        )
    else:
        message = (
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {reserved} output "
            f"tokens and your prompt contains {characters} characters (more than {bound} characters, which is the "
            f"upper bound for {most} input tokens). Please reduce the length of the input prompt or the number of "
            "requested output tokens."
        )
    return _named(message, "input_text", characters)


def _named(message: str, param: str, value: int) -> Refusal:
    return bad_request(f"{message} (parameter={param}, value={value})", param)
