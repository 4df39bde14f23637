"""Reads the bytes of one response for its usage: chunks go in, one `Usage` or the reason for none comes out.

Knows what a body is made of and when an answer is whole; must not know pools, ratios, the request, or how the bytes
arrived.

A usage is believed only from an answer that came to its own end. An event stream may state usage early, as
`message_start` does, or all along (`continuous_usage_stats`), but such a usage is not final: its completion grows, and
in a completion of several prompts it counts one of them. So a stream that stops with neither its last usage nor its end
marker seen teaches nothing, and neither does one in which what looks like usage or an error could not be read.
"""

import zlib
from enum import StrEnum

from extproc.routing.answers import Answer, StatedUsage, Unreadable, finish_named, read_answer
from extproc.routing.inflate import Inflater
from extproc.routing.sse import EventSplitter
from extproc.routing.values import Finish, Usage

BLOCK_BYTES = 16 * 1024
"""Bytes of the body that are read at once, whatever the chunks: many events share the cost of looking at them.

Cut at fixed places, the blocks also give any chunking the same result without further care, even for a corrupt gzip,
where zlib gives up what it inflated in the call that met the fault.
"""

DOCUMENT_BYTES_MAX = 1024 * 1024
"""The longest JSON body, or data of one event, that is kept to be read.

A longer one is let go: its usage could be found without keeping it only by following the nesting of every byte, and
what is that long (embeddings, log probabilities) teaches no more than a short one.
"""

INFLATED_BYTES_MAX = 64 * 1024 * 1024
"""The most that one compressed response may inflate to: a stream of some 200,000 tokens. Bounds the work that a few
bytes can ask for."""


class ReadOutcome(StrEnum):
    """What became of reading a response."""

    USAGE = "usage"
    """It was read: the only outcome with a `Usage`."""
    NO_USAGE = "no_usage"
    """The answer is whole and states none, or no prompt tokens."""
    ERROR_EVENT = "error_event"
    """The answer holds an error."""
    MALFORMED = "malformed"
    """Not the JSON, numbers or compression it should be."""
    TOO_LARGE = "too_large"
    """Longer than this reader keeps or inflates."""
    UNSUPPORTED = "unsupported"
    """A content type or encoding that is not read."""
    CUT_SHORT = "cut_short"
    """It ended before the answer did."""


def readable(content_type: str, content_encoding: str) -> bool:
    """Whether `UsageReader` can read such a response, going by its two headers; an empty encoding is identity."""
    return _token(content_type) in _MEDIA_TYPES and _token(content_encoding) in (*_IDENTITY, *_DEFLATED)


class UsageReader:
    """Reads the bytes of one response, in any chunks, for its usage; memory is bounded whatever the stream does."""

    __slots__ = ("_body", "_held", "_inflater", "_outcome")

    def __init__(self, *, content_type: str, content_encoding: str = "") -> None:
        self._body = _EventStream() if _token(content_type) == _EVENT_STREAM else _Document()
        self._inflater = Inflater() if _token(content_encoding) in _DEFLATED else None
        self._outcome = None if readable(content_type, content_encoding) else ReadOutcome.UNSUPPORTED
        self._held = bytearray()  # less than a block

    @property
    def outcome(self) -> ReadOutcome:
        """What became of it; before `finish`, what it is if nothing more comes."""
        return self._outcome or ReadOutcome.CUT_SHORT

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; never raises, and ignores what comes once the outcome is settled."""
        if self._outcome is not None:
            return
        self._held += chunk
        while len(self._held) >= BLOCK_BYTES and self._outcome is None:
            self._outcome = self._read(bytes(self._held[:BLOCK_BYTES]))
            del self._held[:BLOCK_BYTES]

    def finish(self) -> Usage | None:
        """The usage, or None with `outcome` saying why; call at the end of the body, or where it broke off."""
        if self._outcome is None:
            self._outcome = self._read(bytes(self._held)) or self._body.finish()
        return self._body.usage if self._outcome is ReadOutcome.USAGE else None

    def _read(self, block: bytes) -> ReadOutcome | None:
        if self._inflater is None:
            return self._body.feed(block)
        try:
            for piece in self._inflater.inflate(block):
                outcome = self._body.feed(piece)
                if outcome is not None:
                    return outcome
        except zlib.error:
            return ReadOutcome.MALFORMED
        return ReadOutcome.TOO_LARGE if self._inflater.inflated_bytes > INFLATED_BYTES_MAX else None


class _Document:
    """A body that is one JSON document."""

    __slots__ = ("_text", "usage")

    def __init__(self) -> None:
        self._text = bytearray()
        self.usage: Usage | None = None

    def feed(self, piece: bytes) -> ReadOutcome | None:
        """Take bytes; an outcome once nothing more is wanted."""
        self._text += piece
        return ReadOutcome.TOO_LARGE if len(self._text) > DOCUMENT_BYTES_MAX else None

    def finish(self) -> ReadOutcome:
        """Read what was kept."""
        answer = read_answer(self._text)
        if isinstance(answer, Unreadable):
            return _OUTCOMES[answer]
        if answer.is_error:
            return ReadOutcome.ERROR_EVENT
        if answer.usage is None:
            return ReadOutcome.NO_USAGE
        prompt_tokens, completion_tokens = answer.usage.tokens()
        if prompt_tokens <= 0:
            return ReadOutcome.NO_USAGE
        self.usage = Usage(prompt_tokens, completion_tokens, *answer.usage.parts(), answer.finish)
        return ReadOutcome.USAGE


class _EventStream:
    """A body of server-sent events: OpenAI chat and completions, OpenAI responses, Anthropic messages."""

    __slots__ = ("_last", "_piece", "_previous_piece", "_prompt_tokens", "_splitter", "_stated")

    def __init__(self) -> None:
        self._splitter = EventSplitter(marks=_MARKS, event_bytes_max=DOCUMENT_BYTES_MAX)
        self._piece = self._previous_piece = b""
        self._prompt_tokens = 0
        self._last = Answer()  # of those that state a usage
        self._stated = StatedUsage()  # what it states

    @property
    def usage(self) -> Usage:
        """What the events stated together; asked for where the outcome is that there is one."""
        finish = self._last.finish
        if finish is Finish.UNKNOWN:
            finish = _last_finish(self._previous_piece + self._piece)
        _, completion_tokens = self._stated.tokens()
        return Usage(self._prompt_tokens, completion_tokens, *self._stated.parts(), finish)

    def feed(self, piece: bytes) -> ReadOutcome | None:
        """Take bytes; an outcome once nothing more is wanted."""
        self._previous_piece, self._piece = self._piece, piece
        for data in self._splitter.feed(piece):
            outcome = self._take(data)
            if outcome is not None:
                return outcome
        return None

    def finish(self) -> ReadOutcome:
        """Take the last event even without its blank line, but only whole: what cannot be read of it was cut off."""
        for data in self._splitter.finish():
            outcome = self._take(data)
            if outcome not in (None, ReadOutcome.MALFORMED):
                return outcome
        return self._conclude(ended=self._last.has_last_usage)

    def _take(self, data: bytes) -> ReadOutcome | None:
        if data.startswith(b"[DONE]"):
            return self._conclude(ended=True)
        answer = read_answer(data)
        if isinstance(answer, Unreadable):
            return ReadOutcome.MALFORMED
        if answer.is_error:
            return ReadOutcome.ERROR_EVENT
        if answer.usage is not None:
            # Counts are cumulative, so the last word holds. The prompt alone may be missing from it, or zero, where
            # message_start has told it before message_delta.
            self._prompt_tokens = max(self._prompt_tokens, answer.usage.tokens()[0])
            self._last, self._stated = answer, answer.usage
        return self._conclude(ended=True) if answer.ends_stream else None

    def _conclude(self, *, ended: bool) -> ReadOutcome:
        if ended and self._prompt_tokens > 0:
            return ReadOutcome.USAGE
        if self._splitter.oversized:
            return ReadOutcome.TOO_LARGE  # the usage may have been in there
        return ReadOutcome.NO_USAGE if ended else ReadOutcome.CUT_SHORT


_MARKS = (b'"usage"', b'"error"', b"[DONE]", b'"message_stop"')
"""An event without any of these has no say, so it is not decoded. One with some may owe them to the model's text."""


def _last_finish(text: bytes) -> Finish:
    """How the choice ended that ended last, as the pieces around the last usage say.

    In chat and completions the last event with a choice tells, right before the one with the usage. To look for it all
    along the stream would make reading a third dearer; so of several choices only the last to end is heard. Text of the
    model cannot be taken for it: within JSON its quotation marks are escaped. What comes after the end has no say.
    """
    text = text.partition(b"[DONE]")[0]
    for mark in _FINISH_MARKS:
        _, found, rest = text.rpartition(mark)
        if found:
            return finish_named(b'"' + rest.partition(b'"')[0] + b'"')
    return Finish.UNKNOWN


_FINISH_MARKS = (b'"finish_reason":"', b'"finish_reason": "')
"""Where a choice ends; elsewhere the reason is null. vLLM writes the first form, Python's json the second."""

_OUTCOMES = {Unreadable.CUT_SHORT: ReadOutcome.CUT_SHORT, Unreadable.MALFORMED: ReadOutcome.MALFORMED}

_EVENT_STREAM = "text/event-stream"
_MEDIA_TYPES = ("application/json", _EVENT_STREAM)
_IDENTITY = ("", "identity")
_DEFLATED = ("gzip", "x-gzip", "deflate")


def _token(header: str) -> str:
    return header.partition(";")[0].strip().lower()
