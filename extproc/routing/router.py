"""The core's front door: `route` a request, `complete` it once; knows neither Envoy nor HTTP.

Whoever drives it, a servicer or a test, brings the randomness: it comes in as a draw.
"""

from dataclasses import dataclass

import msgspec

from extproc.routing.budget import BudgetRules, bounds_of, budget_of
from extproc.routing.estimators import Estimator, LearnedRatio
from extproc.routing.outputs import OutputModel, OutputState
from extproc.routing.policy import Policy, Verdict, judge
from extproc.routing.request import Request
from extproc.routing.state import RouterState
from extproc.routing.values import (
    Budget,
    Correction,
    Decision,
    Estimate,
    Finish,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)

_DOUBTFUL = 10.0
"""Requests that may well have been decided wrongly are observed so many times as often as the others: they alone tell
how often that happens."""
_DOUBT = 0.001
"""The doubt from which on that is so, or where an estimator states none. Of nearly 30,000 decisions by estimates at the
default promise three in five lay below; all 35 that under-routed lay above."""
_CERTAIN = 0.0
"""The doubt of a decision that holds whatever the tokenizer does."""


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


class Router:
    """Owns the estimator and the policy. One per process, not thread-safe."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        policy: Policy,
        budget_rules: BudgetRules | None = None,
        observe_rules: ObserveRules | None = None,
        outputs: OutputModel | None = None,
    ) -> None:
        self.estimator = estimator
        """What judges prompts."""
        self.policy = policy
        """What chooses the pool, and knows the threshold."""
        self.outputs = outputs
        """What answers are long where nobody limits them; None where the operator's rule stands for that."""
        self._budget_rules = budget_rules or BudgetRules()
        self._observe_rules = observe_rules or ObserveRules()
        self._observing = 0

    @property
    def observing(self) -> int:
        """Decisions whose answer is being waited for."""
        return self._observing

    def ratios(self) -> list[LearnedRatio]:
        """What the estimator has learned so far."""
        return self.estimator.ratios()

    def snapshot(self) -> RouterState:
        """All that was learned, as values."""
        return RouterState(
            self.estimator.snapshot(), OutputState() if self.outputs is None else self.outputs.snapshot()
        )

    def absorb(self, state: RouterState) -> None:
        """Add what another replica, or this one's predecessor, has learned. The same must not be added twice.

        Raises:
            StateError: it does not fit.
        """
        self.estimator.absorb(state.estimator)
        if self.outputs is not None:
            self.outputs.merge(state.outputs)

    def route(self, request: Request, *, draw: float) -> Decision:
        """Decide where a request goes.

        Args:
            request: what was read of it; its text is not kept.
            draw: uniform in [0, 1); whether it falls below the observed share decides if the answer is read.
        """
        facts = request.facts
        if facts.flaw is not None:
            flawed = self.policy.settle(facts, None) or _UNSETTLED
            return Decision(flawed.pool, flawed.reason, flawed.provenance, facts)
        budget = self._bounds(request)
        verdict: Verdict | None = self.policy.settle(facts, budget)
        estimate: Estimate | None = None
        if verdict is not None:
            if facts.output_tokens is None:
                verdict = self._without_certainty(verdict)
        else:
            estimate = self.estimator.estimate(request, self.policy.threshold_tokens - (budget.output_tokens or 0))
            budget = budget_of(facts, budget, estimate)
            verdict = self.policy.choose(budget, estimate)
        share = self._share(request, budget, verdict, estimate)
        if draw >= share or self._observing >= self._observe_rules.max_in_flight:
            return _decision(request, budget, verdict, estimate)
        return self._observe(request, budget, verdict, estimate, share)

    def route_oversized(self) -> Decision:
        """Decide for a request whose declared size alone proves it long; its body is never asked for."""
        facts = RequestFacts(teaches=False, usage_expected=False)
        return Decision(Pool.LONG, Reason.CONTENT_LENGTH, Provenance.CERTAIN, facts, doubt=_CERTAIN)

    def complete(self, decision: Decision, usage: Usage | None) -> Correction | None:
        """End a decision, once; with the usage if it was observed. The estimator learns after the comparison."""
        self._observing -= decision.observe
        if self.outputs is not None and decision.ticket is not None:
            self.outputs.end(decision.ticket)
        facts, budget, category = decision.facts, decision.budget, decision.category
        if not decision.observe or usage is None:
            return None
        assert budget is not None and category is not None and budget.mean_prompt_tokens is not None  # noqa: PT018
        judged = _can_be_judged(facts, budget) and not _is_open(facts, usage)
        misroute = self._judge(decision.pool, facts, usage) if judged else None
        if self.outputs is not None:
            self.outputs.learn(
                facts.model, category, facts.output_tokens, usage, sequences=facts.n * facts.prompt_count
            )
        return Correction(
            pool=decision.pool,
            category=category,
            provenance=decision.provenance,
            stage=decision.stage,
            estimated_prompt_tokens=_estimate_of_all(facts, budget.mean_prompt_tokens),
            usage=usage,
            learned=self.estimator.learn(facts, decision.lesson, usage),
            judged=judged,
            misroute=misroute,
            weight=decision.weight,
        )

    def _bounds(self, request: Request) -> Budget:
        """What is certain of the prompt, and the output: declared, by the operator's rule, or as learned."""
        bounds = bounds_of(request.facts, self._budget_rules)
        if bounds.output_tokens is not None or self.outputs is None:
            return bounds
        reserved = self.outputs.reserve(request.facts.model, request.category())
        most = bounds.certain_prompt_tokens
        return Budget(certain_prompt_tokens=most, output_tokens=reserved, prompt_tokens=most)

    def _without_certainty(self, verdict: Verdict) -> Verdict:
        """What rests on a learned output is not certain, however certain the prompt is."""
        if self.outputs is None or verdict.provenance is not Provenance.CERTAIN:
            return verdict
        return verdict._replace(provenance=Provenance.CALIBRATED)

    def _share(self, request: Request, budget: Budget, verdict: Verdict, estimate: Estimate | None) -> float:
        """Of such requests, how many are observed: all while they are needed, then a share, to learn or to judge by."""
        rules, facts = self._observe_rules, request.facts
        if not (facts.usage_expected or rules.streams_carry_usage):
            return 0.0
        if facts.teaches and self.estimator.learning(request):
            return 1.0
        if self.outputs is not None and facts.output_tokens is None and self._learns_output(request):
            return 1.0
        if verdict.provenance is Provenance.CERTAIN:
            return rules.share if facts.teaches else 0.0
        if not (facts.teaches or _can_be_judged(facts, budget)):
            return 0.0
        near = estimate is None or estimate.doubt is None or estimate.doubt >= _DOUBT
        return min(1.0, _DOUBTFUL * rules.share) if near else rules.share

    def _learns_output(self, request: Request) -> bool:
        """Of several sequences `usage` says only the sum."""
        assert self.outputs is not None
        facts = request.facts
        return facts.n == facts.prompt_count == 1 and self.outputs.learning(facts.model, request.category())

    def _observe(
        self, request: Request, budget: Budget, verdict: Verdict, estimate: Estimate | None, share: float
    ) -> Decision:
        """A decision whose answer is wanted: estimated in any case, since the answer is held against the estimate."""
        room_tokens = self.policy.threshold_tokens - (budget.output_tokens or 0)
        asked = estimate or self.estimator.estimate(request, room_tokens)
        mean_tokens = budget_of(request.facts, budget, asked).mean_prompt_tokens
        weight = 1.0 / share
        decision = msgspec.structs.replace(
            _decision(request, budget, verdict, estimate),
            budget=msgspec.structs.replace(budget, mean_prompt_tokens=mean_tokens),
            category=request.category(),
            observe=True,
            weight=weight,
            lesson=self.estimator.lesson(request, room_tokens, estimated=estimate is not None, weight=weight),
            ticket=None if self.outputs is None else self.outputs.begin(),
        )
        self._observing += 1  # nothing raises from here on, so that each one counted is completed
        return decision

    def _judge(self, pool: Pool, facts: RequestFacts, usage: Usage) -> Misroute | None:
        """What was declared is reserved in full, used or not; what nobody limits is as long as it turned out.

        Where nobody limits it and the end of the short pool's context cut it, it did not fit.
        """
        if facts.output_tokens is not None:
            total_tokens = usage.prompt_tokens + facts.output_tokens
        elif pool is Pool.SHORT and usage.finish is Finish.LENGTH:
            return Misroute.UNDER
        else:
            total_tokens = usage.prompt_tokens + usage.completion_tokens
        return judge(pool, total_tokens, self.policy.threshold_tokens)


_UNSETTLED = Verdict(Pool.LONG, Reason.UNREADABLE, Provenance.FALLBACK)
"""For a policy that leaves even a flaw unsettled: unknown means long."""


def _decision(request: Request, budget: Budget, verdict: Verdict, estimate: Estimate | None) -> Decision:
    """A decision whose answer is not wanted."""
    pool, reason, provenance = verdict
    if estimate is None:
        stage = Stage.NONE if provenance is Provenance.FALLBACK else Stage.BOUNDS
        doubt = _CERTAIN if provenance is Provenance.CERTAIN else None
        return Decision(pool, reason, provenance, request.facts, budget, stage, None, doubt)
    return Decision(pool, reason, provenance, request.facts, budget, estimate.stage, None, estimate.doubt)


def _can_be_judged(facts: RequestFacts, budget: Budget) -> bool:
    """Whether a usage will say which pool was right.

    That of several prompts says nothing of the longest; that of several sequences, whose output nobody limits, sums
    them up.
    """
    if budget.output_tokens is None or facts.prompt_count != 1:
        return False
    return facts.output_tokens is not None or facts.n == 1


def _is_open(facts: RequestFacts, usage: Usage) -> bool:
    """Whether an answer that nobody limits was ended from outside, so that nobody knows how long it would have been."""
    return facts.output_tokens is None and usage.finish is Finish.OTHER


def _estimate_of_all(facts: RequestFacts, mean_tokens: int) -> int:
    """Usage answers for all prompts of a request, so the estimate of the longest is carried over to all their bytes."""
    if facts.total_text_bytes == facts.text_bytes:
        return mean_tokens
    return round(mean_tokens * facts.total_text_bytes / facts.text_bytes)
