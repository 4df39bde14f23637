"""What is kept of one routed request, to make figures of; knows no way to make them."""

from typing import NamedTuple

from extproc.routing.values import Flaw, Misroute, Stage


class Record(NamedTuple):
    """One request of a run, judged by the truth."""

    category: str
    """The row's own, not what the router thinks."""
    stage: Stage
    """What settled the decision."""
    cost_ns: int
    """Time that routing took."""
    judged: bool
    """Whether it could be read and had an output limit, so that the truth says which pool was right."""
    misroute: Misroute | None
    error: float | None
    """Mean estimate ÷ truth − 1; None where nothing was estimated."""
    observed: bool
    """Whether its answer was read."""
    first_sight: bool
    """Whether its row had not come before in this run."""
    total_tokens: int
    """True prompt and output."""
    flaw: Flaw | None = None
    """What kept its budget from being told."""
    held_out: bool = False
    """Whether no answer about its row is ever read in this run."""
    answers_before: int = 0
    """Answers read by the time it was routed, of requests routed since something changed in the stream; where a
    category was held back, of its own requests alone."""
