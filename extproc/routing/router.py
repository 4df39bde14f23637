"""The core's front door: `route` a request, `complete` it once; knows neither Envoy nor HTTP.

Whoever drives it, a servicer or a test, brings the randomness: it comes in as a draw.
"""

from dataclasses import dataclass

from extproc.routing.budget import BudgetRules, budget_of
from extproc.routing.estimators import Estimator, LearnedRatio
from extproc.routing.policy import Policy, judge
from extproc.routing.values import (
    Budget,
    Correction,
    Decision,
    Estimate,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Usage,
)


@dataclass(frozen=True, slots=True)
class ObserveRules:
    """Which answers are read."""

    share: float = 0.02
    """Of the requests whose category is learned already."""
    max_in_flight: int = 256
    """Answers read at the same time. Each holds a gRPC stream for as long as the model writes, up to an hour."""
    streams_carry_usage: bool = False
    """vLLM sends usage in every stream (--enable-force-include-usage), asked for or not."""


class Router:
    """Owns the estimator and the policy. One per process, not thread-safe."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        policy: Policy,
        budget_rules: BudgetRules | None = None,
        observe_rules: ObserveRules | None = None,
    ) -> None:
        self._estimator = estimator
        self.policy = policy
        """What chooses the pool, and knows the threshold."""
        self._budget_rules = budget_rules or BudgetRules()
        self._observe_rules = observe_rules or ObserveRules()
        self._observing = 0

    @property
    def observing(self) -> int:
        """Decisions whose answer is being waited for."""
        return self._observing

    def ratios(self) -> list[LearnedRatio]:
        """What the estimator has learned so far."""
        return self._estimator.ratios()

    def route(self, facts: RequestFacts, *, draw: float) -> Decision:
        """Decide where a request goes.

        Args:
            facts: what the request says.
            draw: uniform in [0, 1); whether it falls below the observed share decides if the answer is read.
        """
        if facts.flaw is not None:
            pool, reason, provenance = self.policy.choose(facts, None)
            return Decision(pool, reason, provenance, facts)
        estimate = self._estimator.estimate(facts)
        budget = budget_of(facts, estimate, self._budget_rules)
        pool, reason, provenance = self.policy.choose(facts, budget)
        observe = self._wants_answer(facts, estimate, budget, provenance, draw)
        self._observing += observe
        return Decision(pool, reason, provenance, facts, budget, observe)

    def route_oversized(self) -> Decision:
        """Decide for a request whose declared size alone proves it long; its body is never asked for."""
        facts = RequestFacts(teaches=False, usage_expected=False)
        return Decision(Pool.LONG, Reason.CONTENT_LENGTH, Provenance.CERTAIN, facts)

    def complete(self, decision: Decision, usage: Usage | None) -> Correction | None:
        """End a decision, once; with the usage if it was read. The estimator learns after the comparison is made."""
        self._observing -= decision.observe
        if usage is None or decision.budget is None:
            return None
        judged = _can_be_judged(decision.facts, decision.budget)
        misroute = self._judge(decision.pool, decision.budget, usage) if judged else None
        return Correction(
            pool=decision.pool,
            category=decision.facts.category,
            provenance=decision.provenance,
            estimated_prompt_tokens=_estimate_of_all(decision.facts, decision.budget),
            usage=usage,
            learned=self._estimator.learn(decision.facts, usage),
            judged=judged,
            misroute=misroute,
        )

    def _wants_answer(
        self, facts: RequestFacts, estimate: Estimate, budget: Budget, provenance: Provenance, draw: float
    ) -> bool:
        """Whether to read it: to learn, each while learning; of the rest a share, to learn or to judge by."""
        rules = self._observe_rules
        if self._observing >= rules.max_in_flight or not (facts.usage_expected or rules.streams_carry_usage):
            return False
        if estimate.learning and facts.teaches:
            return True
        if draw >= rules.share:
            return False
        return facts.teaches or (provenance is not Provenance.CERTAIN and _can_be_judged(facts, budget))

    def _judge(self, pool: Pool, budget: Budget, usage: Usage) -> Misroute | None:
        true_total_tokens = usage.prompt_tokens + (budget.output_tokens or 0)
        return judge(pool, true_total_tokens, self.policy.threshold_tokens)


def _can_be_judged(facts: RequestFacts, budget: Budget) -> bool:
    """Whether a usage will say which pool was right: that of several prompts says nothing of the longest."""
    return budget.output_tokens is not None and facts.prompt_count == 1


def _estimate_of_all(facts: RequestFacts, budget: Budget) -> int:
    """Usage answers for all prompts of a request, so the estimate of the longest is carried over to all their bytes."""
    if facts.total_text_bytes == facts.text_bytes:
        return budget.mean_prompt_tokens
    return round(budget.mean_prompt_tokens * facts.total_text_bytes / facts.text_bytes)
