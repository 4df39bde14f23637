"""What the service's own labels can say, beside the enums of the core; each member is a label's value."""

from enum import StrEnum


class Phase(StrEnum):
    """A kind of message that costs time."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"


class StatusClass(StrEnum):
    """What a response came to."""

    OK = "2xx"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    NONE = "none"
    """No response, or none of these."""


class Operation(StrEnum):
    """What a request asks of the model, in the words of OpenTelemetry's conventions."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    """Or another answer without output: scores, classes, ranks."""


class SaveOutcome(StrEnum):
    """How writing the state file went."""

    SAVED = "saved"
    FAILED = "failed"


class ReloadOutcome(StrEnum):
    """What became of settings that were read anew."""

    APPLIED = "applied"
    REFUSED = "refused"


class LineOutcome(StrEnum):
    """What became of a line of the access log."""

    WRITTEN = "written"
    DROPPED = "dropped"


class Signal(StrEnum):
    """What a collector is sent."""

    METRICS = "metrics"
    SPANS = "spans"


class LessonOutcome(StrEnum):
    """What became of a lesson between workers."""

    SENT = "sent"
    TAKEN = "taken"
    LOST = "lost"


class Setting(StrEnum):
    """A setting that alerts and graphs compare with; its value is its name in `Settings`."""

    THRESHOLD_TOKENS = "threshold_tokens"
    THRESHOLD_MIN_TOKENS = "threshold_min_tokens"
    ADAPTIVE_THRESHOLD = "adaptive_threshold"
    SPILLOVER_SHARE = "spillover_share"


class Direction(StrEnum):
    """Which way the threshold moved."""

    UP = "up"
    DOWN = "down"
