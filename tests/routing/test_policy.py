import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.policy import Policy, SinglePoolPolicy, TokenBudgetPolicy, Verdict, judge
from extproc.routing.values import Budget, Flaw, Misroute, Pool, Provenance, Reason, RequestFacts

POLICY = TokenBudgetPolicy(threshold_tokens=1000)


def budget(prompt: int, output: int | None, *, certain: int = 10**6, calibrated: bool = True) -> Budget:
    """A budget whose mean nobody looks at."""
    return Budget(
        prompt_tokens=prompt,
        mean_prompt_tokens=0,
        certain_prompt_tokens=max(certain, prompt),
        output_tokens=output,
        calibrated=calibrated,
    )


def short(reason: Reason, provenance: Provenance) -> Verdict:
    """The short pool, for a reason."""
    return Verdict(Pool.SHORT, reason, provenance)


def long(reason: Reason, provenance: Provenance) -> Verdict:
    """The long pool, for a reason."""
    return Verdict(Pool.LONG, reason, provenance)


CERTAIN, CALIBRATED = Provenance.CERTAIN, Provenance.CALIBRATED
CASES = [
    # What the estimate says, up to the threshold and no further
    (budget(900, 100), short(Reason.FITS, CALIBRATED)),
    (budget(901, 100), long(Reason.EXCEEDS, CALIBRATED)),
    (budget(0, 999), short(Reason.FITS, CALIBRATED)),
    # True whatever the tokenizer does, also where nothing is learned
    (budget(300, 100, certain=900), short(Reason.FITS_WHATEVER_TOKENIZER, CERTAIN)),
    (budget(300, 100, certain=900, calibrated=False), short(Reason.FITS_WHATEVER_TOKENIZER, CERTAIN)),
    (budget(300, 100, certain=901), short(Reason.FITS, CALIBRATED)),
    # The output alone leaves no room for any prompt
    (budget(0, 1000, certain=0), long(Reason.OUTPUT_EXCEEDS, CERTAIN)),
    (budget(1, 2**31, calibrated=False), long(Reason.OUTPUT_EXCEEDS, CERTAIN)),
    # Unknown means long
    (budget(300, 100, certain=901, calibrated=False), long(Reason.ESTIMATOR_COLD, Provenance.COLD)),
    (budget(1, None, certain=1), long(Reason.OUTPUT_UNDECLARED, Provenance.FALLBACK)),
]


@pytest.mark.parametrize(("budget", "verdict"), CASES)
def test_a_request_is_short_if_its_budget_fits_the_threshold(budget: Budget, verdict: Verdict) -> None:
    """Certain cases first, then the estimate if it is calibrated."""
    assert POLICY.choose(RequestFacts(text_bytes=1), budget) == verdict


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (RequestFacts(token_ids=901), long(Reason.EXCEEDS, CERTAIN)),
        (RequestFacts(token_ids=900), short(Reason.FITS, CALIBRATED)),
        (RequestFacts(token_ids=901, prompt_cap_tokens=900), short(Reason.FITS, CALIBRATED)),
        (RequestFacts(token_ids=901, prompt_cap_tokens=901), long(Reason.EXCEEDS, CERTAIN)),
    ],
)
def test_token_ids_that_exceed_are_certain_to(facts: RequestFacts, verdict: Verdict) -> None:
    """Their count is exact, and what is cut off them does not count."""
    prompt = min(facts.token_ids, facts.prompt_cap_tokens or facts.token_ids)
    assert POLICY.choose(facts, budget(prompt, 100)) == verdict


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flaw_means_long_and_names_itself(flaw: Flaw) -> None:
    """The reason an operator reads is the flaw."""
    assert POLICY.choose(RequestFacts(flaw=flaw), None) == long(Reason(flaw.value), Provenance.FALLBACK)


def test_a_missing_budget_means_long_even_without_a_flaw() -> None:
    """Nobody should pass such facts; they must not go short."""
    assert POLICY.choose(RequestFacts(), None) == long(Reason.UNREADABLE, Provenance.FALLBACK)


COUNTS = st.integers(0, 2000)


@given(prompts=st.tuples(COUNTS, COUNTS), certains=st.tuples(COUNTS, COUNTS), outputs=st.tuples(COUNTS, COUNTS))
def test_a_larger_budget_never_moves_a_request_from_long_to_short(
    prompts: tuple[int, int], certains: tuple[int, int], outputs: tuple[int, int]
) -> None:
    """Whichever of its numbers grow, cold or calibrated."""
    (less, more), (sure, surer), (few, many) = sorted(prompts), sorted(certains), sorted(outputs)
    for calibrated in (False, True):
        smaller = POLICY.choose(RequestFacts(), budget(less, few, certain=sure, calibrated=calibrated))
        larger = POLICY.choose(RequestFacts(), budget(more, many, certain=surer, calibrated=calibrated))
        assert (smaller.pool, larger.pool) != (Pool.LONG, Pool.SHORT)


@given(prompt=COUNTS, output=COUNTS, threshold=st.integers(1, 2000))
def test_what_goes_short_fits_with_its_margin(prompt: int, output: int, threshold: int) -> None:
    """The short pool's ceiling is never exceeded by the budget itself."""
    verdict = TokenBudgetPolicy(threshold).choose(RequestFacts(), budget(prompt, output))
    assert verdict.pool is Pool.LONG or prompt + output <= threshold


@pytest.mark.parametrize("budget", [None, budget(1, 1, certain=1), budget(10**6, None)])
def test_a_single_pool_takes_everything(budget: Budget | None) -> None:
    """The baseline keeps its threshold, to say what would have fitted."""
    policy: Policy = SinglePoolPolicy(1000)
    assert policy.choose(RequestFacts(), budget) == long(Reason.SINGLE_POOL, CERTAIN)
    assert policy.threshold_tokens == 1000


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
