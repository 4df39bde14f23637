"""The nouns of a report: all that logs tell. Values only; concluded and shown elsewhere."""

from dataclasses import dataclass
from enum import StrEnum

from extproc.accessreport.shares import Share


class Promise(StrEnum):
    """What a sample says of the promise."""

    KEPT = "kept"
    """The whole interval lies within it."""
    BROKEN = "broken"
    """The whole interval lies above it."""
    OPEN = "open"
    """Neither, or nothing was judged: more requests tell."""


@dataclass(frozen=True, slots=True)
class Part:
    """Requests with the same labels."""

    labels: tuple[str, ...]
    requests: int
    share: float
    """Of all decisions."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of how many requests the length is known."""

    asked: int
    """Answers that were to be read."""
    read: int
    """Of those, with usage."""
    stands_for: float
    """Requests that these stand for."""
    lengthless: int
    """Requests that go long at any threshold, unread: media, stored conversations, no inference."""
    untold: float
    """Share of the other requests for which none stands: streams whose clients ask for no usage, answers that broke off
    or failed, and what came while too many were read at a time."""


@dataclass(frozen=True, slots=True)
class Misroutes:
    """Decisions beside the truth."""

    judged: int
    """Requests of which it is known which pool was right."""
    stands_for: float
    under: Share | None
    """Sent short, or would have been, and do not fit; None where nothing was judged."""
    over: Share | None
    """Sent long and would fit."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Of the estimates without their margin: (estimate − truth) / truth, weighted."""

    category: str
    count: int
    p50: float
    """Of the size; likewise p95."""
    p95: float
    bias: float
    """Mean with its sign."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Requests of one model."""

    model: str
    requests: int
    short_share: float
    """Of its decisions."""
    read: int
    misroutes: Misroutes
    error_p50: float | None


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """What a threshold would make of the requests whose length is known."""

    threshold_tokens: int
    fits: Share
    """Of those requests; declared output counts in full."""
    of_all: float
    """The same of all decisions, as those without a length go long. The most that can go short: the margin sends some
    of it long."""
    tokens: float
    """Share of all tokens, read and written, that such requests take."""
    decided: bool
    """The log's own."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that logs tell."""

    files: tuple[str, ...]
    requests: int
    malformed: int
    undecided: tuple[Part, ...]
    """Streams without a decision; shares of all streams."""
    first: str | None
    """When the first request came: ISO 8601, UTC; likewise the last."""
    last: str | None
    span_s: float
    rate_per_s: float | None
    shadow_share: float
    """Of the decisions, how many were not followed."""
    thresholds_tokens: tuple[int, int] | None
    """The smallest and the largest that decided."""
    short_share: float
    reasons: tuple[Part, ...]
    stages: tuple[Part, ...]
    provenances: tuple[Part, ...]
    coverage: Coverage
    promise: float
    promised: Promise
    judged_needed: int
    """Requests to judge until a promise that is kept can be seen to be."""
    misroutes: Misroutes
    truncated: Share | None
    """Of the requests whose decision was followed and whose answer was to be read; likewise the next. None in shadow
    mode, where it cannot be seen."""
    escalated: Share | None
    refusals: tuple[Part, ...]
    errors: tuple[Errors, ...]
    models: tuple[ModelRow, ...]
    thresholds: tuple[ThresholdRow, ...]
