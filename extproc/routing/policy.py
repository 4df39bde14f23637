"""Budget → pool; the only place that compares a budget with a threshold. Knows nothing of text or learning.

Unknown means long: an over-estimate costs one long slot, an under-estimate a user's answer.
"""

from typing import NamedTuple, Protocol, Self

from extproc.routing.values import Budget, Estimate, Flaw, Misroute, Pool, Provenance, Reason, RequestFacts

MAX_PLAUSIBLE_BYTES_PER_TOKEN = 24
r"""A body with more bytes than this for each token of the threshold is long without being read.

The densest real text per token is Cyrillic prose (6.5 bytes), which `json.dumps` writes as \uXXXX at three times the
size: about 19. Bodies that are mostly base64 media go long by this rule too, where media go anyway."""


class Verdict(NamedTuple):
    """A pool and why."""

    pool: Pool
    reason: Reason
    provenance: Provenance


class Policy(Protocol):
    """Chooses a pool. Stateless."""

    @property
    def threshold_tokens(self) -> int:
        """The largest budget the short pool takes."""
        ...

    def at(self, threshold_tokens: int) -> Self:
        """The same policy with another threshold."""
        ...

    def settle(self, facts: RequestFacts, bounds: Budget | None) -> Verdict | None:
        """The pool, where no estimate is needed to tell it; `bounds` is None where the facts have a flaw."""
        ...

    def choose(self, budget: Budget, estimate: Estimate) -> Verdict:
        """The pool for a request that was not settled, by a budget that rests on an estimate."""
        ...


class TokenBudgetPolicy:
    """The published rule: short if the budget is at most the threshold, else long."""

    def __init__(self, threshold_tokens: int) -> None:
        self.threshold_tokens = threshold_tokens

    def at(self, threshold_tokens: int) -> Self:
        """The same rule with another threshold."""
        return type(self)(threshold_tokens)

    def settle(self, facts: RequestFacts, bounds: Budget | None) -> Verdict | None:
        """What is certain of a request, or cannot be known of it."""
        if bounds is None:
            return _FLAWED[facts.flaw or Flaw.UNREADABLE]
        if bounds.output_tokens is None:
            return _OUTPUT_UNDECLARED
        room = self.threshold_tokens - bounds.output_tokens
        if room <= 0:
            return _OUTPUT_EXCEEDS
        if bounds.certain_prompt_tokens <= room:
            return _FITS_WHATEVER_TOKENIZER
        return _EXCEEDS_FOR_CERTAIN if _capped_ids(facts) > room else None

    def choose(self, budget: Budget, estimate: Estimate) -> Verdict:
        """By the estimate, if it may decide."""
        if not estimate.may_decide:
            return _ESTIMATOR_COLD
        fits = budget.prompt_tokens + (budget.output_tokens or 0) <= self.threshold_tokens
        provenance = Provenance.CALIBRATED if estimate.calibrated else Provenance.COLD
        return _ESTIMATED[fits, provenance]


class SinglePoolPolicy:
    """The baseline: everything goes long. It still has a threshold, to say what would have fitted."""

    def __init__(self, threshold_tokens: int) -> None:
        self.threshold_tokens = threshold_tokens

    def at(self, threshold_tokens: int) -> Self:
        """The same baseline with another threshold."""
        return type(self)(threshold_tokens)

    def settle(self, facts: RequestFacts, bounds: Budget | None) -> Verdict | None:  # noqa: ARG002 - it looks at nothing
        """Long."""
        return _SINGLE_POOL

    def choose(self, budget: Budget, estimate: Estimate) -> Verdict:  # noqa: ARG002 - it looks at nothing
        """Long."""
        return _SINGLE_POOL


def certain_long_bytes(threshold_tokens: int) -> int:
    """The content-length above which a request is long whatever it says."""
    return MAX_PLAUSIBLE_BYTES_PER_TOKEN * threshold_tokens


def judge(pool: Pool, true_total_tokens: int, threshold_tokens: int) -> Misroute | None:
    """Whether the truth contradicts the pool a request was sent to."""
    fits = true_total_tokens <= threshold_tokens
    if pool is Pool.SHORT:
        return None if fits else Misroute.UNDER
    return Misroute.OVER if fits else None


def _capped_ids(facts: RequestFacts) -> int:
    """Tokens the prompt has for certain."""
    cap = facts.prompt_cap_tokens
    return facts.token_ids if cap is None else min(facts.token_ids, cap)


_FITS_WHATEVER_TOKENIZER = Verdict(Pool.SHORT, Reason.FITS_WHATEVER_TOKENIZER, Provenance.CERTAIN)
_ESTIMATED = {
    (fits, provenance): Verdict(Pool.SHORT if fits else Pool.LONG, Reason.FITS if fits else Reason.EXCEEDS, provenance)
    for fits in (True, False)
    for provenance in (Provenance.CALIBRATED, Provenance.COLD)
}
_EXCEEDS_FOR_CERTAIN = Verdict(Pool.LONG, Reason.EXCEEDS, Provenance.CERTAIN)
_OUTPUT_EXCEEDS = Verdict(Pool.LONG, Reason.OUTPUT_EXCEEDS, Provenance.CERTAIN)
_OUTPUT_UNDECLARED = Verdict(Pool.LONG, Reason.OUTPUT_UNDECLARED, Provenance.FALLBACK)
_ESTIMATOR_COLD = Verdict(Pool.LONG, Reason.ESTIMATOR_COLD, Provenance.COLD)
_SINGLE_POOL = Verdict(Pool.LONG, Reason.SINGLE_POOL, Provenance.CERTAIN)
_FLAWED = {flaw: Verdict(Pool.LONG, Reason(flaw.value), Provenance.FALLBACK) for flaw in Flaw}
