"""POST /v1/chat/completions."""

from typing import Any

from extproc.mockvllm import sse
from extproc.mockvllm.errors import Refusal, malformed
from extproc.mockvllm.reply import Delta, Reply
from extproc.mockvllm.settings import MockSettings, Version
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.usage import openai_usage
from extproc.mockvllm.wire import ChatBody, problem, read
from extproc.mockvllm.work import Work, conversation, openai_work, text_prompt

_ZERO_IS_UNSET_UNTIL: Version = (0, 14)
"""Releases read up to 0.13 let max_tokens speak where max_completion_tokens is 0."""

_MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "refusal": None,
    "annotations": None,
    "audio": None,
    "function_call": None,
    "tool_calls": [],
    "reasoning": None,
}


class Chat:
    """The chat dialect."""

    def __init__(self, settings: MockSettings, tokenizer: Tokenizer) -> None:
        self._settings = settings
        self._tokenizer = tokenizer

    def read(self, body: bytes) -> Work | Refusal:
        """Parse and count."""
        given = read(body, ChatBody)
        if isinstance(given, Refusal):
            return given
        if not given.messages:
            return malformed([problem("too_short", "messages must not be empty")])
        segments = self._tokenizer.render(conversation(given.messages), given.tools or ())
        asked, named = self._asked(given)
        prompt = text_prompt(self._tokenizer, segments)
        return openai_work(given, [prompt], self._settings, asked_tokens=asked, asked_field=named)

    def refused(self, refusal: Refusal, version: Version) -> dict[str, Any]:
        """The error body of this route."""
        return refusal.body(version)

    def answer(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one JSON value."""
        choices = [
            {
                "index": index,
                "message": {**_MESSAGE, "content": reply.text(index)},
                "logprobs": None,
                "finish_reason": reply.finish_reason(index),
                "stop_reason": None,
                "token_ids": None,
            }
            for index in range(len(reply.drafts))
        ]
        return {
            **_head(reply, "chat.completion"),
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": None,
            "usage": openai_usage(*reply.usage),
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def opening(self, reply: Reply) -> list[bytes]:
        """The role, once for every choice."""
        role = {"role": "assistant", "content": ""}
        return [
            sse.data(self._chunk(reply, {"index": index, "delta": role, "logprobs": None, "finish_reason": None}, 0))
            for index in range(len(reply.drafts))
        ]

    def delta(self, reply: Reply, delta: Delta) -> bytes:
        """New text, with the finish reason where it is the last."""
        choice = {
            "index": delta.index,
            "delta": {"content": delta.text},
            "logprobs": None,
            "finish_reason": delta.finish_reason,
            **({"stop_reason": None} if delta.finish_reason else {}),
            "token_ids": None,
        }
        return sse.data(self._chunk(reply, choice, delta.completion_tokens))

    def closing(self, reply: Reply) -> list[bytes]:
        """The usage, where it was asked for, in a chunk without choices; then the end."""
        if not reply.work.include_usage:
            return [sse.DONE]
        usage = openai_usage(*reply.usage)
        return [sse.data({**_head(reply, "chat.completion.chunk"), "choices": [], "usage": usage}), sse.DONE]

    def _asked(self, given: ChatBody) -> tuple[int | None, str]:
        preferred = given.max_completion_tokens
        unset = preferred is None or (preferred == 0 and self._settings.version < _ZERO_IS_UNSET_UNTIL)
        return (given.max_tokens, "max_tokens") if unset else (preferred, "max_completion_tokens")

    def _chunk(self, reply: Reply, choice: dict[str, Any], completion_tokens: int) -> dict[str, Any]:
        chunk = {**_head(reply, "chat.completion.chunk"), "choices": [choice]}
        if reply.work.continuous_usage:
            chunk["usage"] = openai_usage(*reply.reported(reply.prompt_tokens, completion_tokens))
        return chunk


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": reply.created, "model": reply.model}
