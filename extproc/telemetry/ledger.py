"""Counts what exchanges came to, in process memory; knows no metrics library and never blocks a request.

A request costs a few dictionary increments here. `extproc.telemetry.instruments` reads the counts when it is asked.
"""

from collections import Counter

from extproc.routing.exchange import Outcome, Undecided
from extproc.routing.refusal import Refusal
from extproc.routing.response import ReadOutcome
from extproc.routing.values import (
    Category,
    Correction,
    Decision,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)
from extproc.telemetry import names
from extproc.telemetry.buckets import Buckets
from extproc.telemetry.labels import Operation, Phase, StatusClass
from extproc.telemetry.modelnames import OTHER, ModelNames
from extproc.telemetry.surroundings import Surroundings

REALISED_HALF_LIFE = 100_000.0
"""Requests after which a misroute counts half in the realised share. About 144,000 then count in all, of which 144 may
be under-routed at a promise of 0.1 %; one in five of those in doubt is observed, so that the share scatters by about
19 %."""
MODELS_MAX = 32
"""Models whose tokens are told apart: a model is a dozen series or more."""
_STATUS_CLASSES = {2: StatusClass.OK, 4: StatusClass.CLIENT_ERROR, 5: StatusClass.SERVER_ERROR}


class Ledger(Surroundings):
    """Cumulative counts since the process began. Written by the event loop, read by anyone.

    What can happen is counted from 0 where it is a few things, so that a rate of it is a number before it did.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decisions: Counter[tuple[Pool, Reason, Provenance, Stage]] = Counter()
        self.observed = 0
        """Decisions whose answer is to be read."""
        self.followed: Counter[Pool] = Counter(dict.fromkeys(Pool, 0))
        """Decisions that requests went by, of exchanges that have ended: all but those of shadow mode."""
        self.budgets = {pool: Buckets(names.BUDGET.bounds) for pool in Pool}
        """Of those decisions that have one, in tokens."""
        self.undecided: Counter[Undecided] = Counter()
        self.answers_read: Counter[ReadOutcome] = Counter()
        self.judged = 0
        """Decisions of which it is known whether they were right."""
        self.misroutes: Counter[Misroute] = Counter(dict.fromkeys(Misroute, 0))
        self.judged_weight = 0.0
        """Requests that those stand for, as each was observed with the share of its like."""
        self.misroute_weights = dict.fromkeys(Misroute, 0.0)
        self._recent = (0.0, 0.0)  # the same two, judged and under, with older ones fading
        self.truncations = 0
        """Answers that the end of the short pool's context cut."""
        self.truncation_weight = 0.0
        self.escalations: Counter[StatusClass] = Counter(dict.fromkeys(StatusClass, 0))
        """Requests that the short pool failed and Envoy sent to the long one, by what that answered."""
        self.escalation_weights = dict.fromkeys(StatusClass, 0.0)
        self.refusals: Counter[Refusal] = Counter(dict.fromkeys(Refusal, 0))
        """Requests that the short pool refused for good."""
        self.learned = 0
        self.compared: Counter[Category] = Counter()
        """Estimates compared with the usage, before anything was learned from it."""
        self.abs_errors: dict[Category, float] = {}
        """Sums of |estimate − truth| / truth over those."""
        self.errors: dict[Category, Buckets] = {}
        """(estimate − truth) / truth of those."""
        self.token_usage: dict[tuple[str, Operation], tuple[Buckets, Buckets]] = {}
        """Tokens in and out, by model and operation."""
        self._models = ModelNames(MODELS_MAX)
        self.phases = {phase: Buckets(names.PHASE_DURATION.bounds) for phase in Phase}
        """Seconds from having a message to having its answer."""
        self.internal_errors = 0
        """Our own bugs."""
        self.streams = 0
        """gRPC streams open now."""

    @property
    def under_realised(self) -> float | None:
        """Share of requests that went short and did not fit; None before one was judged.

        Each judged request counts for as many as it stands for (the estimator of Horvitz and Thompson), and half as
        much after every `REALISED_HALF_LIFE` requests.
        """
        judged, under = self._recent
        return under / judged if judged else None

    def record_decision(self, decision: Decision) -> None:
        """Take in a decision when it is made: its answer may stream for an hour."""
        self.decisions[decision.pool, decision.reason, decision.provenance, decision.stage] += 1
        self.observed += decision.observe
        budget_tokens = None if decision.budget is None else decision.budget.total_tokens
        if budget_tokens is not None:
            self.budgets[decision.pool].add(budget_tokens)

    def record_phase(self, phase: str, elapsed_s: float) -> None:
        """Take in how long a message took; trailers, which cost nothing, are not told apart."""
        durations = self.phases.get(phase)  # type: ignore[call-overload]  # a str finds its enum
        if durations is not None:
            durations.add(elapsed_s)

    def record(self, outcome: Outcome) -> None:
        """Take in what one exchange came to beside its decision."""
        if outcome.undecided is not None:
            self.undecided[outcome.undecided] += 1
        if outcome.read is not None:
            self.answers_read[outcome.read] += 1
        decision = outcome.decision
        if decision is None:
            return
        self.followed[decision.pool] += not outcome.shadow
        if outcome.escalated:
            self._record_escalation(outcome.status, decision.weight)
        if outcome.refusal is not None:
            self._record_refusal(outcome.refusal, decision.weight)
        if outcome.correction is not None:
            self._record_correction(outcome.correction, decision.facts)

    def record_internal_error(self) -> None:
        """Our own bug: the exchange went on without us."""
        self.internal_errors += 1

    def _record_escalation(self, status: int, weight: float) -> None:
        status_class = _STATUS_CLASSES.get(status // 100, StatusClass.NONE)
        self.escalations[status_class] += 1
        self.escalation_weights[status_class] += weight

    def _record_refusal(self, refusal: Refusal, weight: float) -> None:
        """What the short pool found too long for it was under-routed, whatever its answer would have been."""
        self.refusals[refusal] += 1
        if refusal is Refusal.CONTEXT_LENGTH:
            self._record_judgement(Misroute.UNDER, weight)

    def _record_correction(self, correction: Correction, facts: RequestFacts) -> None:
        if correction.truncated:
            self.truncations += 1
            self.truncation_weight += correction.weight
            self._record_judgement(Misroute.UNDER, correction.weight)
        elif correction.judged:
            self._record_judgement(correction.misroute, correction.weight)
        self.learned += correction.learned
        self._record_error(correction.category, correction.relative_error)
        self._record_usage(facts, correction.usage)

    def _record_judgement(self, misroute: Misroute | None, weight: float) -> None:
        judged, under = self._recent
        fading = 0.5 ** (weight / REALISED_HALF_LIFE)
        self._recent = (judged * fading + weight, under * fading + weight * (misroute is Misroute.UNDER))
        self.judged += 1
        self.judged_weight += weight
        if misroute is not None:
            self.misroutes[misroute] += 1
            self.misroute_weights[misroute] += weight

    def _record_error(self, category: Category, relative_error: float) -> None:
        errors = self.errors.get(category)
        if errors is None:
            errors = self.errors[category] = Buckets(names.ESTIMATE_ERROR.bounds)
        errors.add(relative_error)
        self.compared[category] += 1
        self.abs_errors[category] = self.abs_errors.get(category, 0.0) + abs(relative_error)

    def _record_usage(self, facts: RequestFacts, usage: Usage) -> None:
        operation = operation_of(facts)
        model = self._models.known(facts.model, answered=True) or OTHER
        prompts, outputs = self._tokens(model, operation)
        prompts.add(usage.prompt_tokens)
        if operation is not Operation.EMBEDDINGS:
            outputs.add(usage.completion_tokens)

    def _tokens(self, model: str, operation: Operation) -> tuple[Buckets, Buckets]:
        kept = self.token_usage.get((model, operation))
        if kept is None:
            kept = Buckets(names.TOKEN_USAGE.bounds), Buckets(names.TOKEN_USAGE.bounds)
            self.token_usage[model, operation] = kept
        return kept


def operation_of(facts: RequestFacts) -> Operation:
    """What a request asks of the model, as its facts tell: a template frames chats, pooling has no output."""
    if facts.message_count:
        return Operation.CHAT
    return Operation.EMBEDDINGS if facts.output_tokens == 0 else Operation.TEXT_COMPLETION
