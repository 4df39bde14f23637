"""POST routes that answer at once, without the engine: /tokenize, /v1/embeddings and /v1/messages/count_tokens."""

import base64
import random
import struct
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from extproc.mockvllm.errors import Refusal, malformed
from extproc.mockvllm.inlet import faults_of, parse, read_body
from extproc.mockvllm.messages import Messages
from extproc.mockvllm.outlet import Outlet
from extproc.mockvllm.service import CREATED_S, Service
from extproc.mockvllm.usage import openai_usage
from extproc.mockvllm.wire import EmbeddingsBody, TokenizeBody, problem, read
from extproc.mockvllm.work import Prompt, conversation, listed_prompts

DIMENSIONS = 8
"""Numbers in an embedding: enough to tell two apart."""


class Lookup:
    """One route as an ASGI application: a body in, a JSON value out."""

    def __init__(self, service: Service, answer: Callable[[Service, bytes], dict[str, Any] | Refusal]) -> None:
        self._service = service
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await read_body(receive)
        if body is None:
            return
        answer = await parse(scope, body, lambda given: self._answer(self._service, given))
        outlet = Outlet(scope, receive, send, faults_of(scope))
        if isinstance(answer, Refusal):
            await outlet.json(answer.status, answer.body(self._service.settings.version))
        else:
            await outlet.json(200, answer)


def tokenize(service: Service, body: bytes) -> dict[str, Any] | Refusal:
    """The tokens of a prompt or a conversation, however many; vLLM checks no length here."""
    given = read(body, TokenizeBody)
    if isinstance(given, Refusal):
        return given
    tokenizer = service.tokenizer
    if given.messages is not None:
        segments = tokenizer.render(conversation(given.messages), given.tools or ())
    elif given.prompt is not None:
        segments = tokenizer.plain(given.prompt) if given.add_special_tokens else [given.prompt]
    else:
        return malformed([problem("missing", "Field required: prompt or messages")])
    tokens = tokenizer.encode(segments)
    length = service.settings.max_model_len
    refusal = service.unknown(given.model)
    return refusal or {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": None}


def count_tokens(service: Service, body: bytes) -> dict[str, Any] | Refusal:
    """How many tokens a message of Anthropic's form has."""
    found = Messages(service.tokenizer).count(body)
    if isinstance(found, Refusal):
        return found
    model, prompt = found
    tokens = service.unknown(model) or service.count_only(prompt, None)
    if isinstance(tokens, Refusal):
        return tokens
    return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}


def embeddings(service: Service, body: bytes) -> dict[str, Any] | Refusal:
    """Vectors that differ by text and mean nothing."""
    given = read(body, EmbeddingsBody)
    if isinstance(given, Refusal):
        return given
    prompts = service.unknown(given.model) or listed_prompts(service.tokenizer, given.input)
    if isinstance(prompts, Refusal):
        return prompts
    total = 0
    for prompt in prompts:
        tokens = service.count_only(prompt, given.truncate_prompt_tokens)
        if isinstance(tokens, Refusal):
            return tokens
        total += tokens
    return {
        "id": f"embd-{prompts[0].fingerprint:032x}",
        "object": "list",
        "created": CREATED_S,
        "model": given.model or service.settings.model,
        "data": [_embedding(index, prompt, given.encoding_format) for index, prompt in enumerate(prompts)],
        "usage": openai_usage(total, 0),
    }


def _embedding(index: int, prompt: Prompt, encoding: str | None) -> dict[str, Any]:
    dice = random.Random(prompt.fingerprint)  # noqa: S311  # repeatable on purpose, guards nothing
    vector = [dice.uniform(-1, 1) for _ in range(DIMENSIONS)]
    packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
    return {"index": index, "object": "embedding", "embedding": packed if encoding == "base64" else vector}
