"""POST /v1/completions."""

from typing import Any

from extproc.mockvllm import sse
from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.reply import Delta, Reply
from extproc.mockvllm.settings import MockSettings, Version
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.usage import openai_usage
from extproc.mockvllm.wire import CompletionBody, read
from extproc.mockvllm.work import Work, listed_prompts, openai_work

DEFAULT_MAX_TOKENS = 16
"""OpenAI's and vLLM's default; only an explicit null fills the context here."""


class _Body(CompletionBody, kw_only=True):
    max_tokens: int | None = DEFAULT_MAX_TOKENS


class Completions:
    """The dialect of plain completions."""

    def __init__(self, settings: MockSettings, tokenizer: Tokenizer) -> None:
        self._settings = settings
        self._tokenizer = tokenizer

    def read(self, body: bytes) -> Work | Refusal:
        """Parse and count."""
        given = read(body, _Body)
        if isinstance(given, Refusal):
            return given
        prompts = listed_prompts(self._tokenizer, given.prompt)
        if isinstance(prompts, Refusal):
            return prompts
        return openai_work(given, prompts, self._settings, asked_tokens=given.max_tokens, asked_field="max_tokens")

    def refused(self, refusal: Refusal, version: Version) -> dict[str, Any]:
        """The error body of this route."""
        return refusal.body(version)

    def answer(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one JSON value; answers of one prompt stand together."""
        choices = [
            {
                "index": index,
                "text": reply.text(index),
                "logprobs": None,
                "finish_reason": reply.finish_reason(index),
                "stop_reason": None,
                "token_ids": None,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
            }
            for index in range(len(reply.drafts))
        ]
        return {
            **_head(reply),
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": None,
            "usage": openai_usage(*reply.usage),
            "kv_transfer_params": None,
        }

    def opening(self, reply: Reply) -> list[bytes]:  # noqa: ARG002  # the dialect's shape; this route sends no role
        """Nothing comes before the text."""
        return []

    def delta(self, reply: Reply, delta: Delta) -> bytes:
        """New text, with the finish reason where it is the last."""
        choice = {
            "index": delta.index,
            "text": delta.text,
            "logprobs": None,
            "finish_reason": delta.finish_reason,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        chunk = {**_head(reply), "choices": [choice]}
        if reply.work.continuous_usage:
            prompt = reply.ticket.sequences[delta.index].prompt_tokens
            chunk["usage"] = openai_usage(*reply.reported(prompt, delta.completion_tokens))
        return sse.data(chunk)

    def closing(self, reply: Reply) -> list[bytes]:
        """The usage, where it was asked for, in a chunk without choices; then the end."""
        if not reply.work.include_usage:
            return [sse.DONE]
        return [sse.data({**_head(reply), "choices": [], "usage": openai_usage(*reply.usage)}), sse.DONE]


def _head(reply: Reply) -> dict[str, Any]:
    return {"id": f"cmpl-{reply.id}", "object": "text_completion", "created": reply.created, "model": reply.model}
