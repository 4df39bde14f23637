"""What one JSON document of a response, a whole body or the data of an event, says of its usage.

Knows how vLLM's routes word usage, errors and ends; must not know how documents follow each other in a stream. Only
top-level fields are looked at: what the model wrote, which a client may choose, lies deeper.
"""

from enum import Enum, auto
from typing import Annotated

import msgspec


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
            case _:
                return answer
        return msgspec.structs.replace(nested, type=answer.type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable.CUT_SHORT if str(error) == _TRUNCATED else Unreadable.MALFORMED


_TRUNCATED = "Input data was truncated"  # msgspec has no type of its own for this


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

    def tokens(self) -> tuple[int, int]:
        """Tokens of the prompt and of the completion; a prompt of zero or less means that none was stated.

        OpenAI says `prompt_tokens`. Responses say `input_tokens`; so do Anthropic's messages, but there the three input
        fields are parts of the prompt. Rerank and score may say only `total_tokens`.
        """
        completion_tokens = self.completion_tokens or self.output_tokens or 0
        cached_tokens = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        prompt_tokens = self.prompt_tokens or (self.input_tokens or 0) + cached_tokens
        return prompt_tokens or (self.total_tokens or 0) - completion_tokens, completion_tokens


_NULL = msgspec.Raw(b"null")
_TYPES_WITH_LAST_USAGE = ("message_delta", "response.completed", "response.incomplete")


class Answer(msgspec.Struct, frozen=True):
    """The fields that matter of a body, of an event, and of the answer nested in an event."""

    type: str | None = None
    """Kind of a Responses or Anthropic event; OpenAI's chat and completion chunks have none."""
    usage: StatedUsage | None = None
    error: msgspec.Raw = _NULL
    choices: list[msgspec.Raw] | None = None
    message: msgspec.Raw = _NULL
    response: msgspec.Raw = _NULL

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


_decoder = msgspec.json.Decoder(Answer)
