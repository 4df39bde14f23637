"""POST /v1/responses: text in, one message of text out; typed, numbered events and no [DONE]."""

from http import HTTPStatus
from typing import Any

from extproc.mockvllm import sse
from extproc.mockvllm.errors import Refusal, malformed
from extproc.mockvllm.reply import Delta, Reply
from extproc.mockvllm.settings import Version
from extproc.mockvllm.template import Call, Message
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.usage import responses_usage
from extproc.mockvllm.wire import ResponsesBody, ResponsesItem, problem, read
from extproc.mockvllm.work import Work, media_of, text_of, text_prompt


class Responses:
    """The dialect of /v1/responses."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def read(self, body: bytes) -> Work | Refusal:
        """Parse and count; nothing is stored, so no earlier response is ever found."""
        given = read(body, ResponsesBody)
        if isinstance(given, Refusal):
            return given
        if given.previous_response_id is not None:
            return Refusal(HTTPStatus.NOT_FOUND, "The previous response is not found.", "previous_response_id")
        messages = _conversation(given)
        if not messages:
            return malformed([problem("too_short", "input must not be empty")])
        return Work(
            model=given.model,
            prompts=(text_prompt(self._tokenizer, self._tokenizer.render(messages, given.tools or ())),),
            asked_tokens=given.max_output_tokens,
            asked_field="max_output_tokens",
            stream=bool(given.stream),
            seed=given.seed,
            request_id=given.request_id,
            truncate_prompt_tokens=-1 if given.truncation == "auto" else None,
        )

    def refused(self, refusal: Refusal, version: Version) -> dict[str, Any]:
        """The error body of this route."""
        return refusal.body(version)

    def answer(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one JSON value."""
        cut = reply.finish_reason(0) == "length"
        return {
            **_response(reply, "incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [_item(reply, "completed", [_part(reply.text(0))])],
            "usage": responses_usage(*reply.usage),
        }

    def opening(self, reply: Reply) -> list[bytes]:
        """The response, its one message, and the message's one part, all empty."""
        response = _response(reply, "in_progress")
        place = _place(reply)
        return [
            _event(reply, "response.created", {"response": response}),
            _event(reply, "response.in_progress", {"response": response}),
            _event(reply, "response.output_item.added", {"output_index": 0, "item": _item(reply, "in_progress", [])}),
            _event(reply, "response.content_part.added", {**place, "part": _part("")}),
        ]

    def delta(self, reply: Reply, delta: Delta) -> bytes:
        """New text."""
        return _event(reply, "response.output_text.delta", {**_place(reply), "delta": delta.text, "logprobs": []})

    def closing(self, reply: Reply) -> list[bytes]:
        """The same again, complete, and the usage inside the whole."""
        text, place = reply.text(0), _place(reply)
        item = _item(reply, "completed", [_part(text)])
        return [
            _event(reply, "response.output_text.done", {**place, "text": text, "logprobs": []}),
            _event(reply, "response.content_part.done", {**place, "part": _part(text)}),
            _event(reply, "response.output_item.done", {"output_index": 0, "item": item}),
            _event(reply, "response.completed", {"response": self.answer(reply)}),
        ]


def _conversation(given: ResponsesBody) -> list[Message]:
    messages = [Message("system", given.instructions)] if given.instructions else []
    if isinstance(given.input, str):
        return [*messages, Message("user", given.input)]
    return messages + [_message(item) for item in given.input]


def _message(item: ResponsesItem) -> Message:
    if item.type == "function_call":
        return Message("assistant", "", calls=(Call(item.name, item.arguments),))
    if item.type == "function_call_output":
        return Message("tool", text_of(item.output))
    return Message(item.role, text_of(item.content), media_of(item.content))


def _event(reply: Reply, name: str, value: dict[str, Any]) -> bytes:
    number = reply.events
    reply.events += 1
    return sse.typed(name, {"type": name, "sequence_number": number, **value})


def _place(reply: Reply) -> dict[str, Any]:
    return {"item_id": f"msg_{reply.id}", "output_index": 0, "content_index": 0}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


def _item(reply: Reply, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _response(reply: Reply, status: str) -> dict[str, Any]:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "model": reply.model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "incomplete_details": None,
        "error": None,
        "max_output_tokens": reply.ticket.max_tokens,
        "previous_response_id": None,
        "truncation": "auto" if reply.work.truncate_prompt_tokens else "disabled",
        "usage": None,
    }
