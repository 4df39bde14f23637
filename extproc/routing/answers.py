"""What one JSON document of a response, a whole body or the data of an event, says of its usage.

Knows how vLLM's routes word usage, errors and ends; must not know how documents follow each other in a stream. Only
fields in the places of the API are looked at: what the model wrote, which a client may choose, lies elsewhere.
"""

from enum import Enum, auto
from typing import Annotated

import msgspec

from extproc.routing.values import Finish


class Unreadable(Enum):
    """Why a text is not an answer."""

    CUT_SHORT = auto()
    """Only its end is missing."""
    MALFORMED = auto()
    """Not JSON, not an object, or a field that matters is not what it should be."""


def read_answer(text: bytes | bytearray) -> "Answer | Unreadable":
    """The answer in a JSON text; never raises. An answer nested in an event is brought to the top."""
    try:
        answer = _decoder.decode(text)
        match answer.type:
            case "message_start":
                nested = _decoder.decode(answer.message)
            case "response.completed" | "response.incomplete":
                nested = _decoder.decode(answer.response)
            case "message_delta" if answer.delta != _NULL:
                return msgspec.structs.replace(answer, stop_reason=_decoder.decode(answer.delta).stop_reason)
            case _:
                return answer
        return msgspec.structs.replace(nested, type=answer.type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable.CUT_SHORT if str(error) == _TRUNCATED else Unreadable.MALFORMED


_TRUNCATED = "Input data was truncated"  # msgspec has no type of its own for this
_NULL = msgspec.Raw(b"null")

TokenCount = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class StatedUsage(msgspec.Struct, frozen=True):
    """A usage as some route words it; each uses some of the fields."""

    prompt_tokens: TokenCount | None = None
    completion_tokens: TokenCount | None = None
    total_tokens: TokenCount | None = None
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None
    prompt_tokens_details: msgspec.Raw = _NULL
    completion_tokens_details: msgspec.Raw = _NULL
    output_tokens_details: msgspec.Raw = _NULL

    def tokens(self) -> tuple[int, int]:
        """Tokens of the prompt and of the completion; a prompt of zero or less means that none was stated.

        OpenAI says `prompt_tokens`. Responses say `input_tokens`; so do Anthropic's messages, but there the three input
        fields are parts of the prompt. Rerank and score may say only `total_tokens`.
        """
        completion_tokens = self.completion_tokens or self.output_tokens or 0
        cached_tokens = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        prompt_tokens = self.prompt_tokens or (self.input_tokens or 0) + cached_tokens
        return prompt_tokens or (self.total_tokens or 0) - completion_tokens, completion_tokens

    def parts(self) -> tuple[int, int]:
        """Reasoning tokens of the completion and multimodal tokens of the prompt; 0 where they are not stated.

        Details are a supplement: where they are not what they should be, the usage stands without them.
        """
        prompt, completion, output = (
            self.prompt_tokens_details,
            self.completion_tokens_details,
            self.output_tokens_details,
        )
        if prompt == completion == output == _NULL:
            return 0, 0
        thought = _details(output if completion == _NULL else completion).reasoning_tokens
        media = _details(prompt).multimodal_tokens
        return thought or 0, sum(media.values()) if isinstance(media, dict) else media or 0


def _details(text: msgspec.Raw) -> "_Details":
    try:
        return _details_decoder.decode(text) or _NO_DETAILS
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NO_DETAILS


class _Details(msgspec.Struct, frozen=True):
    """The parts of a prompt's or a completion's tokens that matter here. vLLM counts media by modality."""

    reasoning_tokens: TokenCount | None = None
    multimodal_tokens: dict[str, TokenCount] | TokenCount | None = None


_NO_DETAILS = _Details()


class Choice(msgspec.Struct, frozen=True):
    """One of the completions in a chat or completions answer."""

    finish_reason: msgspec.Raw = _NULL


class _IncompleteDetails(msgspec.Struct, frozen=True):
    reason: msgspec.Raw = _NULL


_TYPES_WITH_LAST_USAGE = ("message_delta", "response.completed", "response.incomplete")


class Answer(msgspec.Struct, frozen=True):
    """The fields that matter of a body, of an event, and of the answer nested in an event."""

    type: str | None = None
    """Kind of a Responses or Anthropic event; OpenAI's chat and completion chunks have none."""
    usage: StatedUsage | None = None
    error: msgspec.Raw = _NULL
    choices: list[Choice] | None = None
    message: msgspec.Raw = _NULL
    response: msgspec.Raw = _NULL
    delta: msgspec.Raw = _NULL
    stop_reason: msgspec.Raw = _NULL
    """Of an Anthropic message; that of a choice is another, and lies deeper."""
    status: msgspec.Raw = _NULL
    incomplete_details: _IncompleteDetails | None = None

    @property
    def is_error(self) -> bool:
        """Whether the server says that it failed; `"error": null` says that it did not."""
        return self.error != _NULL or self.type in ("error", "response.failed")

    @property
    def has_last_usage(self) -> bool:
        """Whether, as an event, its usage is the whole answer's: in OpenAI's chunks the one without choices."""
        return self.choices == [] if self.type is None else self.type in _TYPES_WITH_LAST_USAGE

    @property
    def ends_stream(self) -> bool:
        """Whether, as an event, it is the end marker of its stream."""
        return self.type == "message_stop"

    @property
    def finish(self) -> Finish:
        """How generation ended: said by choices of chat and completions, by messages, by responses."""
        if self.choices:
            if len(self.choices) == 1:
                return finish_named(bytes(self.choices[0].finish_reason))
            return max((finish_named(bytes(choice.finish_reason)) for choice in self.choices), key=_WEIGHTS.__getitem__)
        reason = self.status if self.stop_reason == _NULL else self.stop_reason
        if reason == _INCOMPLETE and self.incomplete_details is not None:
            reason = self.incomplete_details.reason
        return finish_named(bytes(reason))


def finish_named(reason: bytes) -> Finish:
    """What a reason means that is given as JSON; what no route of vLLM says is no good end."""
    return _FINISHES.get(reason, Finish.OTHER)


_WEIGHTS = {finish: weight for weight, finish in enumerate(Finish)}
_INCOMPLETE = msgspec.Raw(b'"incomplete"')
_FINISHES = {
    b"null": Finish.UNKNOWN,
    b'""': Finish.UNKNOWN,
    b'"stop"': Finish.STOP,
    b'"tool_calls"': Finish.STOP,
    b'"function_call"': Finish.STOP,
    b'"repetition"': Finish.STOP,  # the server ended it, at a length that is the same in any pool
    b'"end_turn"': Finish.STOP,
    b'"stop_sequence"': Finish.STOP,
    b'"tool_use"': Finish.STOP,
    b'"completed"': Finish.STOP,
    b'"length"': Finish.LENGTH,
    b'"max_tokens"': Finish.LENGTH,
    b'"max_output_tokens"': Finish.LENGTH,
}
"""How chat and completions, messages and responses word it, as JSON."""

_decoder = msgspec.json.Decoder(Answer)
_details_decoder = msgspec.json.Decoder(_Details | None)
