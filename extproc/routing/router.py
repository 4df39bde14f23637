"""The core's front door: `route` a request, `complete` it once; knows neither Envoy nor HTTP.

Whoever drives it, a servicer or a test, brings the randomness: it comes in as a draw.
"""

from msgspec import structs

from extproc.routing.budget import BudgetRules, bounds_of, budget_of
from extproc.routing.estimators import Estimator, LearnedRatio
from extproc.routing.found import CERTAIN, Found, decision_of
from extproc.routing.hindsight import can_be_judged, estimate_of_all, misroute_of, was_truncated
from extproc.routing.observing import ObserveRules, share_to_observe
from extproc.routing.outputs import OutputModel, OutputState
from extproc.routing.policy import Policy, Verdict
from extproc.routing.relief import Relief
from extproc.routing.request import Request
from extproc.routing.state import RouterState
from extproc.routing.steering import Steering
from extproc.routing.values import (
    Budget,
    Category,
    Correction,
    Decision,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Usage,
)


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
        short_max_model_len: int | None = None,
    ) -> None:
        """A router that has decided nothing yet.

        Args:
            estimator: what judges prompts.
            policy: what chooses the pool.
            budget_rules: how budgets are bounded.
            observe_rules: which answers are read.
            outputs: what answers are long where nobody limits them; None where the operator's rule stands for that.
            short_max_model_len: the context of the short pool's instances; None where nobody said more than that it
                holds the policy's threshold.
        """
        self.estimator = estimator
        """What judges prompts."""
        self.policy = policy
        """What chooses the pool, and knows the threshold."""
        self.outputs = outputs
        """What answers are long where nobody limits them; None where the operator's rule stands for that."""
        self._budget_rules = budget_rules or BudgetRules()
        self._observe_rules = observe_rules or ObserveRules()
        self._observing = 0
        self._resting: OutputModel | None = None  # while the operator's rule stands for it
        self._fitted: int | None = None
        self._relief = Relief(short_max_model_len or policy.threshold_tokens)

    def adopt(self, other: "Router") -> None:
        """Follow the rules of another router from now on; keep what was learned, what is awaited, what spills.

        The other's estimator must be of the same kind; it has no more to do afterwards. Decisions in flight are
        completed here, and teach as they would have. Outputs learned stay, for when they are wanted again.
        """
        assert type(self.estimator) is type(other.estimator)
        self.estimator.adopt(other.estimator)
        self._budget_rules, self._observe_rules = other._budget_rules, other._observe_rules  # noqa: SLF001 - of its kind
        self._relief.short_max_model_len = self._fitted or other.short_max_model_len
        self.policy = other.policy.at(min(other.policy.threshold_tokens, self.short_max_model_len))
        mine = self.outputs or self._resting
        if mine is not None and other.outputs is not None:
            mine.adopt(other.outputs)
        self.outputs = None if other.outputs is None else mine or other.outputs
        self._resting = mine if self.outputs is None else None

    def steer(self, steering: Steering) -> None:
        """Follow this from now on, until the next; never a threshold above what the short pool holds."""
        threshold_tokens = min(steering.threshold_tokens, self._relief.short_max_model_len)
        if threshold_tokens != self.policy.threshold_tokens:
            self.policy = self.policy.at(threshold_tokens)
        self._relief.turn(steering.spill_from, steering.spill_share)

    def fit(self, short_max_model_len: int) -> None:
        """The short pool's instances turned out to have this context: nothing larger goes there from now on."""
        self._fitted = self._relief.short_max_model_len = short_max_model_len
        if self.policy.threshold_tokens > short_max_model_len:
            self.policy = self.policy.at(short_max_model_len)

    @property
    def most_short_tokens(self) -> int:
        """The largest budget that can go short at present: more than the threshold while the long pool is relieved."""
        relief = self._relief
        return relief.short_max_model_len if relief.spill_from is Pool.LONG else self.policy.threshold_tokens

    @property
    def short_max_model_len(self) -> int:
        """The largest budget the short pool can hold, as far as is known."""
        return self._relief.short_max_model_len

    @property
    def observing(self) -> int:
        """Decisions whose answer is being waited for."""
        return self._observing

    def ratios(self) -> list[LearnedRatio]:
        """What the estimator has learned so far."""
        return self.estimator.ratios()

    def snapshot(self) -> RouterState:
        """All that was learned, as values."""
        outputs = self.outputs or self._resting
        return RouterState(self.estimator.snapshot(), OutputState() if outputs is None else outputs.snapshot())

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
        found = self._found(request, self.policy)
        if found.verdict.pool is self._relief.spill_from:
            found = self._relieved(request, found)
        share = share_to_observe(self._observe_rules, request, found, self.estimator, self.outputs)
        if draw >= share or self._observing >= self._observe_rules.max_in_flight:
            return decision_of(request.facts, found)
        return self._observe(request, found, share)

    def route_oversized(self) -> Decision:
        """Decide for a request whose declared size alone proves it long; its body is never asked for."""
        facts = RequestFacts(teaches=False, usage_expected=False)
        return Decision(Pool.LONG, Reason.CONTENT_LENGTH, Provenance.CERTAIN, facts, doubt=CERTAIN)

    def complete(
        self, decision: Decision, usage: Usage | None, *, elsewhere: bool = False, refused: bool = False
    ) -> Correction | None:
        """End a decision, once; with the usage if it was observed. The estimator learns after the comparison.

        Args:
            decision: to end.
            usage: of the answer, if one was read.
            elsewhere: the answer came from another pool than was decided.
            refused: the short pool refused the request as too long for it, and there was no other answer.
        """
        self._observing -= decision.observe
        awaiting = self.outputs or self._resting
        if awaiting is not None and decision.ticket is not None:
            awaiting.end(decision.ticket)
        facts, budget, category = decision.facts, decision.budget, decision.category
        if not decision.observe:
            return None
        if usage is None:
            if refused and (least := self.usage_of_refusal(decision)) is not None:
                self.estimator.learn(facts, decision.lesson, least)
            return None
        assert budget is not None and category is not None and budget.mean_prompt_tokens is not None  # noqa: PT018
        by_short = decision.pool is Pool.SHORT and not elsewhere
        judged = can_be_judged(decision, usage)
        return Correction(
            pool=decision.pool,
            category=category,
            provenance=decision.provenance,
            stage=decision.stage,
            estimated_prompt_tokens=estimate_of_all(facts, budget.mean_prompt_tokens),
            usage=usage,
            learned=self.learn(facts, category, decision.lesson, usage),
            judged=judged,
            misroute=misroute_of(decision, usage, by_short=by_short) if judged else None,
            weight=decision.weight,
            truncated=by_short and was_truncated(facts, usage, self._relief.short_max_model_len),
        )

    def learn(
        self, facts: RequestFacts, category: Category, lesson: object, usage: Usage, *, of_output: bool = True
    ) -> bool:
        """Take in one answer, read here or by another worker; whether the estimator did.

        Args:
            facts: of the request.
            category: of its text.
            lesson: what the estimator kept of it.
            usage: of its answer.
            of_output: whether the usage says how long the answer is.
        """
        if of_output and self.outputs is not None:
            sequences = facts.n * facts.prompt_count
            self.outputs.learn(facts.model, category, facts.output_tokens, usage, sequences=sequences)
        return self.estimator.learn(facts, lesson, usage)

    def usage_of_refusal(self, decision: Decision) -> Usage | None:
        """A prompt that the short pool refused is longer than what was left for it: all that can be known of it.

        None where the estimate was longer still: the mistake was another's.
        """
        facts, budget = decision.facts, decision.budget
        assert budget is not None and budget.mean_prompt_tokens is not None  # noqa: PT018
        least_tokens = self._relief.short_max_model_len - (budget.output_tokens or 0) + 1
        telling = facts.prompt_count == 1 and facts.output_tokens is not None
        return Usage(least_tokens) if telling and least_tokens > budget.mean_prompt_tokens else None

    def _found(self, request: Request, policy: Policy) -> Found:
        """The verdict of a policy, with an estimate where it takes one."""
        facts, estimate = request.facts, None
        budget = self._bounds(request)
        verdict = policy.settle(facts, budget)
        if verdict is not None:
            if facts.output_tokens is None:
                verdict = self._without_certainty(verdict)
        else:
            estimate = self.estimator.estimate(request, policy.threshold_tokens - (budget.output_tokens or 0))
            budget = budget_of(facts, budget, estimate)
            verdict = policy.choose(budget, estimate)
        return Found(budget, verdict, estimate, policy.threshold_tokens)

    def _relieved(self, request: Request, found: Found) -> Found:
        """The other pool, if the request is one of the share that goes there at present and that pool can hold it."""
        relief, verdict = self._relief, found.verdict
        if verdict.pool is Pool.SHORT:
            spilled = verdict._replace(pool=Pool.LONG, reason=Reason.SPILLED_FROM_SHORT)
            return structs.replace(found, verdict=spilled) if relief.takes_one() else found
        if verdict.reason not in _LONG_BY_BUDGET or relief.short_max_model_len <= found.threshold_tokens:
            return found
        other = self._found(request, self.policy.at(relief.short_max_model_len))
        if other.verdict.pool is Pool.LONG or not relief.takes_one():
            return found
        return structs.replace(other, verdict=other.verdict._replace(reason=Reason.SPILLED_FROM_LONG))

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

    def _observe(self, request: Request, found: Found, share: float) -> Decision:
        """A decision whose answer is wanted: estimated in any case, since the answer is held against the estimate."""
        budget, estimate = found.budget, found.estimate
        room_tokens = found.threshold_tokens - (budget.output_tokens or 0)
        asked = estimate or self.estimator.estimate(request, room_tokens)
        mean_tokens = budget_of(request.facts, budget, asked).mean_prompt_tokens
        weight = 1.0 / share
        decision = structs.replace(
            decision_of(request.facts, found),
            budget=structs.replace(budget, mean_prompt_tokens=mean_tokens),
            category=request.category(),
            observe=True,
            weight=weight,
            lesson=self.estimator.lesson(request, room_tokens, estimated=estimate is not None, weight=weight),
            ticket=None if self.outputs is None else self.outputs.begin(),
        )
        self._observing += 1  # nothing raises from here on, so that each one counted is completed
        return decision


_LONG_BY_BUDGET = frozenset({Reason.EXCEEDS, Reason.OUTPUT_EXCEEDS})
"""Why a request went long that a larger threshold might have sent short."""
_UNSETTLED = Verdict(Pool.LONG, Reason.UNREADABLE, Provenance.FALLBACK)
"""For a policy that leaves even a flaw unsettled: unknown means long."""
