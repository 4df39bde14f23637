"""What an instance says of itself in `/v1/models`: the model it serves and the context it has; judges neither."""

from typing import Any

import msgspec

from extproc.pools.ask import AskError, PollOutcome

ACCEPT = "application/json"
PATH = "/v1/models"
CARD_MAX_BYTES = 1024 * 1024
"""A thousand adapters' worth."""
_MAX_TOKENS = 2**31
"""No context is longer."""
_SHOWN_CHARS = 200


class Card(msgspec.Struct, frozen=True, gc=False):
    """One instance's model."""

    model: str
    """Its name, as far as it is fit to be shown."""
    max_model_len: int
    """Tokens of prompt and output together."""


class _Model(msgspec.Struct, frozen=True):
    id: str = ""
    max_model_len: Any = None


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model] = []


_models = msgspec.json.Decoder(_Models)


class CardSink:
    """Takes the whole answer, which is small."""

    def __init__(self) -> None:
        self.body = bytearray()
        """What came so far."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            AskError: it is too large to be what was asked for.
        """
        self.body += piece
        if len(self.body) > CARD_MAX_BYTES:
            raise AskError(PollOutcome.TOO_LARGE)


def card_of(body: bytes | bytearray) -> Card | None:
    """The card in an answer; None where it names no context.

    Of several models, which are the base model and its adapters, the one with the least context counts. Adapters name
    none of their own.

    Raises:
        AskError: it is no such answer.
    """
    try:
        models = _models.decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AskError(PollOutcome.MALFORMED) from error
    contexts = [(model.max_model_len, model.id) for model in models if _is_context(model.max_model_len)]
    if not contexts:
        return None
    tokens, name = min(contexts)
    return Card(model="".join(char for char in name if char.isprintable())[:_SHOWN_CHARS], max_model_len=tokens)


def _is_context(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_TOKENS
