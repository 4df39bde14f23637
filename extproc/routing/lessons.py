"""What one read answer teaches, as bytes that another worker learns from; knows no socket.

Numbers and models' names, never text; the conversation it belongs to stays with the worker that read it, whose key
alone finds it again. All workers that learn the same lessons come to the same state, but for the order in which each
learns them. Reading never trusts: what cannot have been learned is refused as a whole.

Short answers come back first, so what is promised of outputs waits for all that were under way (`outputs`). Here a
worker waits for its own alone: with requests spread evenly those of the others are of the same age.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from extproc.errors import DualpoolError
from extproc.routing.anytime import Lesson
from extproc.routing.exact import Counted
from extproc.routing.exchange import Outcome
from extproc.routing.features import COUNT
from extproc.routing.judgement import Judgement
from extproc.routing.kernels import Array
from extproc.routing.learned import Count
from extproc.routing.refusal import Refusal
from extproc.routing.router import Router
from extproc.routing.values import Category, RequestFacts, Usage

LESSONS_MAX = 32
"""In one message. A lesson takes up to 2 KB, so a message stays within what a datagram holds."""
MESSAGE_MAX_BYTES = 96 * 2**10
_NUMBER = "<f8"
_SHARE_MAX = 1e6
"""Features are shares of a prompt's bytes, or counts for each of them; well below."""
_MODEL_CHARS = 128
_LOG_MOST = 50.0
_COUNT_MAX = 2**53


class LessonError(DualpoolError):
    """A message that cannot be used: cut short, altered, or of another version."""


class Taught(NamedTuple):
    """One answer, with all that an estimator and the output model learn of it."""

    facts: RequestFacts
    category: Category
    lesson: object
    """As `Estimator.lesson` made it, without the conversation."""
    usage: Usage
    of_output: bool = True
    """Whether the usage says how long the answer is; not where the short pool refused the prompt."""


def taught_by(router: Router, outcome: Outcome) -> Taught | None:
    """What an exchange taught its router; None where it taught nothing."""
    decision, correction = outcome.decision, outcome.correction
    if decision is None or decision.category is None:
        return None
    usage = None if correction is None else correction.usage
    if usage is None and outcome.refusal is Refusal.CONTEXT_LENGTH:
        usage = router.usage_of_refusal(decision)
    if usage is None:
        return None
    return Taught(decision.facts, decision.category, _without_bookmark(decision.lesson), usage, correction is not None)


def learn_from(router: Router, taught: Taught) -> None:
    """Learn what another worker read, exactly as it did itself."""
    router.learn(taught.facts, taught.category, taught.lesson, taught.usage, of_output=taught.of_output)


def encode(lessons: Sequence[Taught]) -> bytes:
    """At most `LESSONS_MAX` of them as one message."""
    assert len(lessons) <= LESSONS_MAX
    return _ENCODER.encode([_written(taught) for taught in lessons])


def decode(message: bytes) -> list[Taught]:
    """The lessons of a message.

    Raises:
        LessonError: it is none, or one of its numbers cannot be.
    """
    if len(message) > MESSAGE_MAX_BYTES:
        raise LessonError("it is too long")
    try:
        return [_read(written) for written in _DECODER.decode(message)]
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise LessonError("it is damaged: its parts are not what they should be") from error


_Logarithm = Annotated[float, msgspec.Meta(ge=-_LOG_MOST, le=_LOG_MOST)]


class _Features(msgspec.Struct, frozen=True, array_like=True):
    """What the estimator of stages keeps of a request."""

    sample: bytes
    text: bytes
    log_room: Annotated[float, msgspec.Meta(ge=0, le=_LOG_MOST)]
    estimated: bool
    remembered: tuple[_Logarithm, Annotated[float, msgspec.Meta(gt=0, le=100)]] | None
    counted: tuple[Count, Count, Count, Count] | None
    weight: Annotated[float, msgspec.Meta(ge=0, le=_SHARE_MAX)]


class _Written(msgspec.Struct, frozen=True, array_like=True):
    facts: RequestFacts
    category: Category
    features: _Features | None
    """None of an estimator to which the category is all."""
    usage: Usage
    of_output: bool


def _without_bookmark(lesson: object) -> object:
    return lesson._replace(bookmark=None) if isinstance(lesson, Lesson) else lesson


def _written(taught: Taught) -> _Written:
    lesson = taught.lesson
    features = _features(lesson) if isinstance(lesson, Lesson) else None
    return _Written(taught.facts, taught.category, features, taught.usage, taught.of_output)


def _features(lesson: Lesson) -> _Features:
    remembered, counted = lesson.remembered, lesson.counted
    return _Features(
        lesson.sample.astype(_NUMBER).tobytes(),
        lesson.text.astype(_NUMBER).tobytes(),
        lesson.log_room,
        lesson.estimated,
        None if remembered is None else (remembered.log_tokens, remembered.spread),
        None if counted is None else (counted[0], counted[1], counted[2], counted[3]),
        lesson.weight,
    )


def _read(written: _Written) -> Taught:
    if not _possible(written.facts) or not _possible(written.usage):
        raise LessonError("it counts what cannot be counted")
    features, category = written.features, written.category
    lesson = category if features is None else _lesson(features, category)
    return Taught(written.facts, category, lesson, written.usage, written.of_output)


def _lesson(features: _Features, category: Category) -> Lesson:
    remembered, counted = features.remembered, features.counted
    return Lesson(
        _unpacked(features.sample),
        _unpacked(features.text),
        category,
        features.log_room,
        features.estimated,
        None if remembered is None else Judgement(*remembered),
        None,
        None if counted is None else Counted(*counted),
        features.weight,
    )


def _possible(counts: RequestFacts | Usage) -> bool:
    """Whether every number is a count, and every string as short as it was made."""
    for value in msgspec.structs.astuple(counts):
        if isinstance(value, int) and not 0 <= value <= _COUNT_MAX:
            return False
        if isinstance(value, str) and len(value) > _MODEL_CHARS:
            return False
    return True


def _unpacked(raw: bytes) -> Array:
    if len(raw) != COUNT * np.dtype(_NUMBER).itemsize:
        raise LessonError("its features are of another version")
    shares = np.frombuffer(raw, _NUMBER).astype(np.float64)
    if not ((shares >= 0) & (shares <= _SHARE_MAX)).all():  # nor what is no number
        raise LessonError("its features cannot be")
    return shares


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Annotated[list[_Written], msgspec.Meta(max_length=LESSONS_MAX)])
