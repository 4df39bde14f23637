"""One line of our own access log, as the service writes it and others read it; numbers and labels, never content."""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from extproc.routing.values import Category, Pool

COUNT_MAX: Final = 2**31 - 1
"""No context holds more; what a client declares beyond it is written as this."""
WEIGHT_MAX: Final = 1e9
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
RequestWeight = Annotated[float, msgspec.Meta(ge=0.0, le=WEIGHT_MAX)]


class AccessLine(msgspec.Struct, frozen=True, gc=False):
    """What became of one request. Every key is always written; null where there is nothing to say.

    Labels are plain text here, so that a log of another version can be read.
    """

    time: datetime | None = None
    """When the request arrived; UTC, to the microsecond."""
    pool: Pool | None = None
    """Where it was sent, or would have been; null where the stream ended without a decision."""
    reason: str | None = None
    """Why; without a decision, why there was none."""
    provenance: str | None = None
    stage: str | None = None
    threshold_tokens: Count = 0
    """That the budget was compared with; 0 where nothing was."""
    shadow: bool = False
    """The decision was not followed."""
    budget_tokens: Count | None = None
    """Prompt with its margin, and reserved output; null where either is not known."""
    max_tokens: Count | None = None
    """Output that the client declares for one sequence."""
    sequences: int = 1
    """Prompts by outputs for each; the usage sums them up."""
    model: str | None = None
    """As the client names it: at most 128 characters; `_OTHER` for names beyond those that are told apart."""
    category: Category | None = None
    """Where the answer was to be read."""
    doubt: float | None = None
    """How likely the other pool would have been right."""
    weight: RequestWeight | None = None
    """Requests like it that this one stands for; null where the answer was not to be read."""
    status: int | None = None
    """Of the response, where it was seen."""
    escalated: bool = False
    """The long pool was asked because the short one failed."""
    truncated: bool = False
    """The short pool cut the answer at the end of its context."""
    refusal: str | None = None
    """Why the short pool answered with an error."""
    judged: bool = False
    """Whether the usage says which pool was right."""
    misroute: str | None = None
    """`under` or `over`, where it was the other one."""
    estimated_prompt_tokens: Count | None = None
    """Without margin; as it stood when the request was decided."""
    prompt_tokens: Count | None = None
    """As the answer says, where it was read and did; likewise the next."""
    completion_tokens: Count | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AccessLine).decode
"""Raises msgspec.MsgspecError for what is no line."""
