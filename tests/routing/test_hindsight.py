import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.routing.hindsight import can_be_judged, estimate_of_all, misroute_of, tells_the_pool, was_truncated
from extproc.routing.values import Budget, Decision, Finish, Misroute, Pool, Provenance, Reason, RequestFacts, Usage

DECLARED = RequestFacts(text_bytes=4000, total_text_bytes=4000, output_tokens=1000)
OPEN = replace(DECLARED, output_tokens=None)
BUDGET = Budget(certain_prompt_tokens=4000, output_tokens=1000, prompt_tokens=4000)
L = 8192


def decided(pool: Pool, facts: RequestFacts = DECLARED, *, reason: Reason = Reason.FITS) -> Decision:
    """A decision at a threshold of 8,192 tokens."""
    return Decision(pool, reason, Provenance.CALIBRATED, facts, BUDGET, threshold_tokens=L)


def cut(prompt_tokens: int, completion_tokens: int) -> Usage:
    """An answer that ended at a limit."""
    return Usage(prompt_tokens, completion_tokens, finish=Finish.LENGTH)


@pytest.mark.parametrize(
    ("facts", "budget", "tells"),
    [
        (DECLARED, BUDGET, True),
        (OPEN, BUDGET, True),
        (OPEN, replace(BUDGET, output_tokens=None), False),
        (replace(DECLARED, prompt_count=2), BUDGET, False),
        (replace(DECLARED, n=2), BUDGET, True),
        (replace(OPEN, n=2), BUDGET, False),
    ],
)
def test_usage_tells_the_pool_of_one_prompt_whose_output_is_known(
    facts: RequestFacts, budget: Budget, *, tells: bool
) -> None:
    """Of several prompts it says the sum, and so of several answers that nobody limits."""
    assert tells_the_pool(facts, budget) is tells


def test_a_decision_without_a_budget_is_not_judged() -> None:
    """Nothing was compared, so nothing can have been compared wrongly."""
    assert not can_be_judged(replace(decided(Pool.LONG), budget=None), Usage(100))


@pytest.mark.parametrize(("reason", "judged"), [(Reason.SPILLED_FROM_SHORT, False), (Reason.SPILLED_FROM_LONG, True)])
def test_what_spilled_is_judged_where_it_has_to_fit(reason: Reason, *, judged: bool) -> None:
    """One that left the short pool for its pressure was not misjudged; one that came there must fit like any other."""
    assert can_be_judged(decided(Pool.LONG, reason=reason), Usage(100)) is judged


@pytest.mark.parametrize("finish", Finish)
def test_an_open_answer_ended_from_outside_is_not_judged(finish: Finish) -> None:
    """Nobody knows how long it would have been; a declared one is reserved in full, however it ended."""
    usage = Usage(100, 50, finish=finish)
    assert can_be_judged(decided(Pool.SHORT, OPEN), usage) is (finish is not Finish.OTHER)
    assert can_be_judged(decided(Pool.SHORT), usage)


@pytest.mark.parametrize(
    ("pool", "prompt_tokens", "misroute"),
    [
        (Pool.SHORT, L - 1000, None),
        (Pool.SHORT, L - 999, Misroute.UNDER),
        (Pool.LONG, L - 1000, Misroute.OVER),
        (Pool.LONG, L - 999, None),
    ],
)
def test_declared_output_counts_in_full(pool: Pool, prompt_tokens: int, misroute: Misroute | None) -> None:
    """However little of it was used."""
    assert misroute_of(decided(pool), Usage(prompt_tokens, 1), by_short=pool is Pool.SHORT) is misroute


@pytest.mark.parametrize(
    ("usage", "by_short", "misroute"),
    [
        (Usage(5000, 3192, finish=Finish.STOP), True, None),
        (Usage(5000, 3193, finish=Finish.STOP), False, Misroute.UNDER),
        (cut(5000, 3192), True, Misroute.UNDER),
        (cut(5000, 3000), False, None),
    ],
)
def test_open_output_counts_as_long_as_it_turned_out(
    usage: Usage, misroute: Misroute | None, *, by_short: bool
) -> None:
    """Where the short pool's context cut it, it did not fit; the long pool's limits say nothing of that."""
    assert misroute_of(decided(Pool.SHORT, OPEN), usage, by_short=by_short) is misroute


def test_the_threshold_that_decided_is_the_one_that_judges() -> None:
    """It may have moved since."""
    earlier = replace(decided(Pool.SHORT), threshold_tokens=2000)
    assert misroute_of(earlier, Usage(1500), by_short=True) is Misroute.UNDER


@pytest.mark.parametrize(
    ("facts", "usage", "truncated"),
    [
        (DECLARED, cut(7500, 692), True),
        (DECLARED, cut(7192, 1000), False),
        (DECLARED, cut(7500, 600), False),
        (DECLARED, Usage(7500, 692, finish=Finish.STOP), False),
        (OPEN, cut(7500, 692), True),
        (OPEN, cut(7500, 100), False),
        (replace(DECLARED, n=2), cut(7500, 1384), False),
        (replace(DECLARED, prompt_count=2), cut(15_000, 1384), False),
    ],
)
def test_an_answer_is_truncated_where_the_context_ended_it(
    facts: RequestFacts, usage: Usage, *, truncated: bool
) -> None:
    """Full to the last token, and short of what the client asked for; sums over several sequences say nothing."""
    assert was_truncated(facts, usage, L) is truncated


@given(prompt_tokens=st.integers(1, L), output_tokens=st.integers(1, 2 * L), threshold=st.integers(1, L))
def test_what_was_truncated_did_not_fit(prompt_tokens: int, output_tokens: int, threshold: int) -> None:
    """On a short pool that holds the threshold: each truncation of vLLM from 0.32 on is an under-routed request."""
    completion = min(output_tokens, L - prompt_tokens)
    facts = replace(DECLARED, output_tokens=output_tokens)
    usage = cut(prompt_tokens, completion)
    if was_truncated(facts, usage, L):
        decision = replace(decided(Pool.SHORT, facts), threshold_tokens=threshold)
        assert misroute_of(decision, usage, by_short=True) is Misroute.UNDER
        assert prompt_tokens + output_tokens > L
    else:
        assert completion == output_tokens


def test_the_estimate_of_the_longest_prompt_is_carried_over_to_all() -> None:
    """In proportion to their bytes."""
    assert estimate_of_all(DECLARED, 900) == 900
    assert estimate_of_all(replace(DECLARED, total_text_bytes=10_000, prompt_count=3), 900) == 2250
