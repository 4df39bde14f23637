"""What an answer's usage says of the decision that was made; pure arithmetic, before anybody learns from it."""

from extproc.routing.policy import judge
from extproc.routing.values import Budget, Decision, Finish, Misroute, Reason, RequestFacts, Usage


def can_be_judged(decision: Decision, usage: Usage) -> bool:
    """Whether a usage says which pool was right.

    Not of a request that left the short pool for its pressure alone; one that spilled to it must fit like any other.
    """
    if decision.budget is None or decision.reason is Reason.SPILLED_FROM_SHORT:
        return False
    return tells_the_pool(decision.facts, decision.budget) and not _is_open(decision.facts, usage)


def tells_the_pool(facts: RequestFacts, budget: Budget) -> bool:
    """Whether a usage says if the budget fits.

    That of several prompts says nothing of the longest; that of several sequences, whose output nobody limits, sums
    them up.
    """
    if budget.output_tokens is None or facts.prompt_count != 1:
        return False
    return facts.output_tokens is not None or facts.n == 1


def misroute_of(decision: Decision, usage: Usage, *, by_short: bool) -> Misroute | None:
    """How the decision was wrong, if it was.

    What was declared is reserved in full, used or not; what nobody limits is as long as it turned out. Where nobody
    limits it and the end of the short pool's context cut it, it did not fit.

    Args:
        decision: one that can be judged.
        usage: of its answer.
        by_short: the short pool gave that answer.
    """
    facts = decision.facts
    if facts.output_tokens is not None:
        total_tokens = usage.prompt_tokens + facts.output_tokens
    elif by_short and usage.finish is Finish.LENGTH:
        return Misroute.UNDER
    else:
        total_tokens = usage.prompt_tokens + usage.completion_tokens
    return judge(decision.pool, total_tokens, decision.threshold_tokens)


def was_truncated(facts: RequestFacts, usage: Usage, max_model_len: int) -> bool:
    """Whether an answer ended where its instance's context does, and not where the client's limit is.

    vLLM from 0.32 shortens outputs that do not fit without a word.
    """
    if usage.finish is not Finish.LENGTH or facts.n * facts.prompt_count != 1:
        return False
    filled = usage.prompt_tokens + usage.completion_tokens >= max_model_len
    return filled and (facts.output_tokens is None or usage.completion_tokens < facts.output_tokens)


def estimate_of_all(facts: RequestFacts, mean_tokens: int) -> int:
    """Usage answers for all prompts of a request, so the estimate of the longest is carried over to all their bytes."""
    if facts.total_text_bytes == facts.text_bytes:
        return mean_tokens
    return round(mean_tokens * facts.total_text_bytes / facts.text_bytes)


def _is_open(facts: RequestFacts, usage: Usage) -> bool:
    """Whether an answer that nobody limits was ended from outside, so that nobody knows how long it would have been."""
    return facts.output_tokens is None and usage.finish is Finish.OTHER
