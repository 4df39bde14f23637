"""Which answers are read: all while something is to be learned of their like, then a share.

Pure rules; the router owns what they look at, and counts what is under way.
"""

from dataclasses import dataclass

from extproc.routing.estimators import Estimator
from extproc.routing.found import Found
from extproc.routing.hindsight import tells_the_pool
from extproc.routing.outputs import OutputModel
from extproc.routing.request import Request
from extproc.routing.values import Provenance

_DOUBTFUL = 10.0
"""Requests that may well have been decided wrongly are observed so many times as often as the others: they alone tell
how often that happens."""
_DOUBT = 0.001
"""The doubt from which on that is so, or where an estimator states none. Of nearly 30,000 decisions by estimates at the
default promise three in five lay below; all 35 that under-routed lay above."""


@dataclass(frozen=True, slots=True)
class ObserveRules:
    """Which answers are read."""

    share: float = 0.02
    """Of the requests whose model is learned already and whose pool is nearly certain; of those in doubt ten times as
    many."""
    max_in_flight: int = 256
    """Answers read at the same time. Each holds a gRPC stream for as long as the model writes, up to an hour."""
    streams_carry_usage: bool = False
    """vLLM sends usage in every stream (--enable-force-include-usage), asked for or not."""


def share_to_observe(
    rules: ObserveRules, request: Request, found: Found, estimator: Estimator, outputs: OutputModel | None
) -> float:
    """Of such requests, how many are observed: all while they are needed, then a share, to learn or to judge by."""
    facts, estimate = request.facts, found.estimate
    if not (facts.usage_expected or rules.streams_carry_usage):
        return 0.0
    if facts.teaches and estimator.learning(request):
        return 1.0
    if outputs is not None and facts.output_tokens is None and _learns_output(request, outputs):
        return 1.0
    if found.verdict.provenance is Provenance.CERTAIN:
        return rules.share if facts.teaches else 0.0
    if not (facts.teaches or tells_the_pool(facts, found.budget)):
        return 0.0
    near = estimate is None or estimate.doubt is None or estimate.doubt >= _DOUBT
    return min(1.0, _DOUBTFUL * rules.share) if near else rules.share


def _learns_output(request: Request, outputs: OutputModel) -> bool:
    """Of several sequences `usage` says only the sum."""
    facts = request.facts
    return facts.n == facts.prompt_count == 1 and outputs.learning(facts.model, request.category())
