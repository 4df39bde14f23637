"""A verdict with what it rests on, on its way to a `Decision`; knows no rule."""

import msgspec

from extproc.routing.policy import Verdict
from extproc.routing.values import Budget, Decision, Estimate, Provenance, RequestFacts, Stage

CERTAIN = 0.0
"""The doubt of a decision that holds whatever the tokenizer does."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """A verdict and what it rests on."""

    budget: Budget
    verdict: Verdict
    estimate: Estimate | None
    threshold_tokens: int
    """That it was compared with."""


def decision_of(facts: RequestFacts, found: Found) -> Decision:
    """The decision, its answer not wanted."""
    estimate, (pool, reason, provenance) = found.estimate, found.verdict
    if estimate is None:
        stage = Stage.NONE if provenance is Provenance.FALLBACK else Stage.BOUNDS
        doubt = CERTAIN if provenance is Provenance.CERTAIN else None
    else:
        stage, doubt = estimate.stage, estimate.doubt
    threshold_tokens = found.threshold_tokens
    return Decision(
        pool, reason, provenance, facts, found.budget, stage, None, doubt, threshold_tokens=threshold_tokens
    )
