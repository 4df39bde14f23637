import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.policy import Policy, SinglePoolPolicy, TokenBudgetPolicy, Verdict, judge
from extproc.routing.values import Budget, Estimate, Flaw, Misroute, Pool, Provenance, Reason, RequestFacts

POLICY = TokenBudgetPolicy(threshold_tokens=1000)
FACTS = RequestFacts(text_bytes=1)
LEARNED = Estimate(0, 0, calibrated=True)
GUESSED = Estimate(0, 0, calibrated=False)
"""Of an estimator that may decide before enough was learned: its margins are wide then."""
COLD = Estimate(0, 0, calibrated=False, may_decide=False)
"""What an estimate says of itself; its numbers are in the budget."""


def budget(prompt: int, output: int | None, *, certain: int = 10**6) -> Budget:
    """A budget whose mean nobody looks at."""
    return Budget(
        certain_prompt_tokens=max(certain, prompt), output_tokens=output, prompt_tokens=prompt, mean_prompt_tokens=0
    )


def verdict_on(
    budget: Budget, estimate: Estimate = LEARNED, *, policy: Policy = POLICY, facts: RequestFacts = FACTS
) -> Verdict:
    """What is settled without an estimate, or else chosen by it."""
    return policy.settle(facts, budget) or policy.choose(budget, estimate)


def short(reason: Reason, provenance: Provenance) -> Verdict:
    """The short pool, for a reason."""
    return Verdict(Pool.SHORT, reason, provenance)


def long(reason: Reason, provenance: Provenance) -> Verdict:
    """The long pool, for a reason."""
    return Verdict(Pool.LONG, reason, provenance)


CERTAIN, CALIBRATED = Provenance.CERTAIN, Provenance.CALIBRATED
SETTLED = [
    # True whatever the tokenizer does, up to the threshold and no further
    (budget(300, 100, certain=900), short(Reason.FITS_WHATEVER_TOKENIZER, CERTAIN)),
    (budget(300, 100, certain=901), None),
    (budget(0, 999, certain=1), short(Reason.FITS_WHATEVER_TOKENIZER, CERTAIN)),
    (budget(0, 999, certain=2), None),
    # The output alone leaves no room for any prompt
    (budget(0, 1000, certain=0), long(Reason.OUTPUT_EXCEEDS, CERTAIN)),
    (budget(1, 2**31), long(Reason.OUTPUT_EXCEEDS, CERTAIN)),
    # Unknown means long
    (budget(1, None, certain=1), long(Reason.OUTPUT_UNDECLARED, Provenance.FALLBACK)),
]


@pytest.mark.parametrize(("bounds", "verdict"), SETTLED)
def test_what_is_certain_needs_no_estimate(bounds: Budget, verdict: Verdict | None) -> None:
    """Nor does an output that nobody limits: the pool is told, or left to an estimate, before there is one."""
    assert POLICY.settle(FACTS, bounds) == verdict


@pytest.mark.parametrize("estimate", [LEARNED, GUESSED, COLD])
@pytest.mark.parametrize(("bounds", "verdict"), [case for case in SETTLED if case[1]])
def test_what_is_certain_stays_so_whatever_is_learned(bounds: Budget, verdict: Verdict, estimate: Estimate) -> None:
    """Also where nothing is."""
    assert verdict_on(bounds, estimate) == verdict


@pytest.mark.parametrize(
    ("budget", "estimate", "verdict"),
    [
        (budget(900, 100), LEARNED, short(Reason.FITS, CALIBRATED)),
        (budget(901, 100), LEARNED, long(Reason.EXCEEDS, CALIBRATED)),
        (budget(0, 999), LEARNED, short(Reason.FITS, CALIBRATED)),
        (budget(900, 100), GUESSED, short(Reason.FITS, Provenance.COLD)),
        (budget(901, 100), GUESSED, long(Reason.EXCEEDS, Provenance.COLD)),
        (budget(0, 0), COLD, long(Reason.ESTIMATOR_COLD, Provenance.COLD)),
        (budget(901, 100), COLD, long(Reason.ESTIMATOR_COLD, Provenance.COLD)),
        # Learned, yet of no use here: a list of several kinds of text
        (budget(0, 0), Estimate(0, 0, calibrated=True, may_decide=False), long(Reason.ESTIMATOR_COLD, Provenance.COLD)),
    ],
)
def test_what_is_not_certain_is_short_if_its_estimate_fits_the_threshold(
    budget: Budget, estimate: Estimate, verdict: Verdict
) -> None:
    """With its margin, up to the threshold and no further, and only where the estimate may decide."""
    assert verdict_on(budget, estimate) == verdict


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (RequestFacts(token_ids=901), long(Reason.EXCEEDS, CERTAIN)),
        (RequestFacts(token_ids=900), None),
        (RequestFacts(token_ids=901, prompt_cap_tokens=900), None),
        (RequestFacts(token_ids=901, prompt_cap_tokens=901), long(Reason.EXCEEDS, CERTAIN)),
    ],
)
def test_token_ids_that_exceed_are_certain_to(facts: RequestFacts, verdict: Verdict | None) -> None:
    """Their count is exact, and what is cut off them does not count; others may be text beside them."""
    prompt = min(facts.token_ids, facts.prompt_cap_tokens or facts.token_ids)
    assert POLICY.settle(facts, budget(prompt, 100)) == verdict


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flaw_means_long_and_names_itself(flaw: Flaw) -> None:
    """The reason an operator reads is the flaw."""
    assert POLICY.settle(RequestFacts(flaw=flaw), None) == long(Reason(flaw.value), Provenance.FALLBACK)


def test_a_missing_budget_means_long_even_without_a_flaw() -> None:
    """Nobody should pass such facts; they must not go short."""
    assert POLICY.settle(RequestFacts(), None) == long(Reason.UNREADABLE, Provenance.FALLBACK)


COUNTS = st.integers(0, 2000)


@given(prompts=st.tuples(COUNTS, COUNTS), certains=st.tuples(COUNTS, COUNTS), outputs=st.tuples(COUNTS, COUNTS))
def test_a_larger_budget_never_moves_a_request_from_long_to_short(
    prompts: tuple[int, int], certains: tuple[int, int], outputs: tuple[int, int]
) -> None:
    """Whichever of its numbers grow, however little is learned."""
    (less, more), (sure, surer), (few, many) = sorted(prompts), sorted(certains), sorted(outputs)
    for estimate in (LEARNED, GUESSED, COLD):
        smaller = verdict_on(budget(less, few, certain=sure), estimate)
        larger = verdict_on(budget(more, many, certain=surer), estimate)
        assert (smaller.pool, larger.pool) != (Pool.LONG, Pool.SHORT)


@given(prompt=COUNTS, certain=COUNTS, output=COUNTS, threshold=st.integers(1, 2000))
def test_what_goes_short_fits_with_its_margin(prompt: int, certain: int, output: int, threshold: int) -> None:
    """The short pool's ceiling is never exceeded by the budget itself, nor while cold by what is certain."""
    policy, asked = TokenBudgetPolicy(threshold), budget(prompt, output, certain=certain)
    assert verdict_on(asked, policy=policy).pool is Pool.LONG or prompt + output <= threshold
    cold = verdict_on(asked, COLD, policy=policy)
    assert cold.pool is Pool.LONG or asked.certain_prompt_tokens + output <= threshold


@pytest.mark.parametrize("bounds", [None, budget(1, 1, certain=1), budget(10**6, None)])
def test_a_single_pool_takes_everything(bounds: Budget | None) -> None:
    """The baseline keeps its threshold, to say what would have fitted."""
    policy: Policy = SinglePoolPolicy(1000)
    assert policy.settle(RequestFacts(), bounds) == long(Reason.SINGLE_POOL, CERTAIN)
    assert policy.choose(budget(1, 1), LEARNED) == long(Reason.SINGLE_POOL, CERTAIN)
    assert policy.threshold_tokens == 1000


@pytest.mark.parametrize("policy", [SinglePoolPolicy(1000), TokenBudgetPolicy(1000)])
def test_a_threshold_is_moved_by_another_policy_of_the_same_kind(policy: Policy) -> None:
    """What decided before goes on as it was."""
    moved = policy.at(2000)
    assert type(moved) is type(policy)
    assert (policy.threshold_tokens, moved.threshold_tokens) == (1000, 2000)


@pytest.mark.parametrize(
    ("pool", "true_total", "misroute"),
    [
        (Pool.SHORT, 999, None),
        (Pool.SHORT, 1000, None),
        (Pool.SHORT, 1001, Misroute.UNDER),
        (Pool.LONG, 999, Misroute.OVER),
        (Pool.LONG, 1000, Misroute.OVER),
        (Pool.LONG, 1001, None),
    ],
)
def test_the_truth_judges_both_ways(pool: Pool, true_total: int, misroute: Misroute | None) -> None:
    """Short that does not fit is under, long that would have fitted is over; the threshold itself fits."""
    assert judge(pool, true_total, threshold_tokens=1000) is misroute
