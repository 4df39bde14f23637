"""The core's front door: `route` a request, `complete` it once; knows neither Envoy nor HTTP.

The servicer, the simulator and the tests all drive this object. Randomness comes in as a draw.
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
        budget, observe = None, False
        if facts.flaw is None:
            estimate = self._estimator.estimate(facts)
            budget = budget_of(facts, estimate, self._budget_rules)
            observe = self._wants_answer(facts, estimate, draw)
            self._observing += observe
        verdict = self.policy.choose(facts, budget)
        return Decision(verdict.pool, verdict.reason, verdict.provenance, facts, budget, observe)

    def route_oversized(self) -> Decision:
        """Decide for a request whose declared size alone proves it long; its body is never asked for."""
        facts = RequestFacts(teaches=False, usage_expected=False)
        return Decision(Pool.LONG, Reason.CONTENT_LENGTH, Provenance.CERTAIN, facts)

    def complete(self, decision: Decision, usage: Usage | None) -> Correction | None:
        """End a decision, once; with the usage if it was read. The estimator learns after the comparison is made."""
        self._observing -= decision.observe
        if usage is None or decision.budget is None:
            return None
        judged = decision.budget.output_tokens is not None and decision.facts.prompt_count == 1
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

    def _wants_answer(self, facts: RequestFacts, estimate: Estimate, draw: float) -> bool:
        if not (facts.teaches and (facts.usage_expected or self._observe_rules.streams_carry_usage)):
            return False
        if self._observing >= self._observe_rules.max_in_flight:
            return False
        return estimate.learning or draw < self._observe_rules.share

    def _judge(self, pool: Pool, budget: Budget, usage: Usage) -> Misroute | None:
        true_total_tokens = usage.prompt_tokens + (budget.output_tokens or 0)
        return judge(pool, true_total_tokens, self.policy.threshold_tokens)


def _estimate_of_all(facts: RequestFacts, budget: Budget) -> int:
    """Usage answers for all prompts of a request, so the estimate of the longest is carried over to all their bytes."""
    if facts.total_text_bytes == facts.text_bytes:
        return budget.mean_prompt_tokens
    return round(budget.mean_prompt_tokens * facts.total_text_bytes / facts.text_bytes)
