"""A prompt as bytes to hash: everything that shapes it, cut where replies start. Knows encoding, no hash and no count.

Whatever the template is told beside the messages comes first, then the messages in order, so that a conversation that
goes on begins with the same bytes, cut at the same places.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

from extproc.routing.text import Prompt

MESSAGES_MAX = 1024
"""Longer conversations are passed over. Agents stay well below, and a turn costs about half a microsecond."""


class Transcript(NamedTuple):
    """The bytes of a prompt up to its last cut."""

    cuts: Sequence[int]
    """Ends, in messages."""
    runs: list[bytes]
    """What stands before each cut and after the one before it."""
    places: list[int]
    """How much stands before each cut, bytes and messages in one number: prompts that differ in it differ."""


def transcribe(model: str, prompt: Prompt, cuts: Sequence[int]) -> Transcript:
    """The transcript of a prompt. Two agree in their bytes only if the prompts agree in all that a template may show.

    MessagePack states the length of each string and list. Only the JSON that messages hold raw stands in it as it is,
    under keys where nothing else may stand, and a JSON value shows by itself where it ends.

    Args:
        model: the model's name: another model or adapter may have another template.
        prompt: of at most `MESSAGES_MAX` messages.
        cuts: ascending, at least one, none of them 0.
    """
    context = [memoryview(item) if isinstance(item, msgspec.Raw) else item for item in prompt.context]
    runs = [_encode(prompt.messages[start:end]) for start, end in pairwise((0, *cuts))]
    runs[0] = _encode((model, context)) + runs[0]
    lengths = accumulate(map(len, runs))
    places = [length * (MESSAGES_MAX + 1) + cut for length, cut in zip(lengths, cuts, strict=True)]
    return Transcript(cuts, runs, places)


_encode = msgspec.msgpack.Encoder().encode
