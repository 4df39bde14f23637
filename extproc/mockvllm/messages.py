"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's shapes over the same engine."""

from typing import Any

from extproc.mockvllm import sse
from extproc.mockvllm.errors import Refusal, malformed
from extproc.mockvllm.reply import Delta, Reply
from extproc.mockvllm.settings import Version
from extproc.mockvllm.template import Call, Message
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.usage import messages_usage
from extproc.mockvllm.wire import ChatMessage, CountBody, MessagesBody, Part, problem, read
from extproc.mockvllm.work import Prompt, Work, json_text, media_of, text_of, text_prompt

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class Messages:
    """The dialect of /v1/messages."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def read(self, body: bytes) -> Work | Refusal:
        """Parse and count."""
        given = read(body, MessagesBody)
        if isinstance(given, Refusal):
            return given
        prompt = self._prompt(given)
        if isinstance(prompt, Refusal):
            return prompt
        return Work(
            model=given.model,
            prompts=(prompt,),
            asked_tokens=given.max_tokens,
            asked_field="max_tokens",
            stream=bool(given.stream),
        )

    def count(self, body: bytes) -> tuple[str | None, Prompt] | Refusal:
        """The model and the prompt of /v1/messages/count_tokens."""
        given = read(body, CountBody)
        if isinstance(given, Refusal):
            return given
        prompt = self._prompt(given)
        return prompt if isinstance(prompt, Refusal) else (given.model, prompt)

    def refused(self, refusal: Refusal, version: Version) -> dict[str, Any]:  # noqa: ARG002  # the dialect's shape; this body never changed
        """The error body of this route."""
        return refusal.anthropic_body()

    def answer(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one JSON value."""
        content = [{"type": "text", "text": reply.text(0)}]
        return _message(reply, content, _STOP_REASONS[reply.finish_reason(0)], reply.usage)

    def opening(self, reply: Reply) -> list[bytes]:
        """The message, with the prompt's tokens already, and its one block."""
        prompt_tokens, _ = reply.reported(reply.prompt_tokens, 0)
        message = _message(reply, [], None, (prompt_tokens, 0))
        block = {"type": "text", "text": ""}
        return [
            _event("message_start", {"message": message}),
            _event("content_block_start", {"index": 0, "content_block": block}),
        ]

    def delta(self, reply: Reply, delta: Delta) -> bytes:  # noqa: ARG002  # the dialect's shape
        """New text."""
        return _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": delta.text}})

    def closing(self, reply: Reply) -> list[bytes]:
        """Why it stopped, and the usage."""
        stop = {"stop_reason": _STOP_REASONS[reply.finish_reason(0)], "stop_sequence": None}
        return [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", {"delta": stop, "usage": messages_usage(*reply.usage)}),
            _event("message_stop", {}),
        ]

    def _prompt(self, given: CountBody) -> Prompt | Refusal:
        if not given.messages:
            return malformed([problem("too_short", "messages must not be empty")])
        turns = [Message("system", text_of(given.system))] if given.system else []
        for message in given.messages:
            turns += _turns(message)
        tools = [_openai_tool(tool) for tool in given.tools or ()]
        return text_prompt(self._tokenizer, self._tokenizer.render(turns, tools))


def _turns(message: ChatMessage) -> list[Message]:
    """One message; the results of tools in it become messages of their own."""
    content = message.content
    if content is None or isinstance(content, str):
        return [Message(message.role, content or "")]
    results = [Message("tool", text_of(part.content)) for part in content if part.type == "tool_result"]
    calls = tuple(_call(part) for part in content if part.type == "tool_use")
    text, media = text_of(content), media_of(content)
    return results + ([Message(message.role, text, media, calls)] if text or media or calls or not results else [])


def _call(part: Part) -> Call:
    return Call(part.name, json_text(part.input))


def _openai_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """The template sees OpenAI's form of a tool."""
    function = {
        "name": tool.get("name"),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
    }
    return {"type": "function", "function": function}


def _event(name: str, value: dict[str, Any]) -> bytes:
    return sse.typed(name, {"type": name, **value})


def _message(
    reply: Reply, content: list[dict[str, Any]], stop_reason: str | None, usage: tuple[int, int]
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": reply.model,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": messages_usage(*usage),
    }
