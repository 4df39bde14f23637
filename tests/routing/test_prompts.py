import json
from typing import Any

import msgspec
import pytest

from extproc.routing.prompts import (
    NotInBody,
    Prompt,
    gather_chat,
    gather_completion,
    gather_messages,
    gather_pooling,
    gather_responses,
    utf8_bytes,
)
from extproc.routing.schemas import ChatBody, CompletionBody, MessagesBody, PoolingBody, ResponsesBody
from extproc.routing.values import Flaw

IMAGE_URL = "data:image/png;base64,iVBORw0KGgo="


def decode[Body: msgspec.Struct](schema: type[Body], **fields: Any) -> Body:
    """A body as a client sends it."""
    return msgspec.json.decode(json.dumps(fields).encode(), type=schema)
