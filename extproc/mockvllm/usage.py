"""The shapes in which routes report usage; numbers in, JSON values out."""

from typing import Any


def openai_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Of chat, completions and embeddings; details are null without vLLM's flag for them."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": None,
    }


def responses_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Of /v1/responses."""
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + completion_tokens,
    }


def messages_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Of /v1/messages."""
    return {"input_tokens": prompt_tokens, "output_tokens": completion_tokens}
