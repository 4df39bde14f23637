import pytest

from extproc.routing.found import Found, decision_of
from extproc.routing.policy import Verdict
from extproc.routing.values import Budget, Decision, Estimate, Pool, Provenance, Reason, RequestFacts, Stage

FACTS = RequestFacts(output_tokens=16)
BUDGET = Budget(certain_prompt_tokens=100, output_tokens=16, prompt_tokens=90)


@pytest.mark.parametrize(
    ("provenance", "estimate", "stage", "doubt"),
    [
        (Provenance.CERTAIN, None, Stage.BOUNDS, 0.0),
        (Provenance.CALIBRATED, None, Stage.BOUNDS, None),
        (Provenance.FALLBACK, None, Stage.NONE, None),
        (Provenance.COLD, Estimate(80, 90, calibrated=False, stage=Stage.TEXT, doubt=0.2), Stage.TEXT, 0.2),
    ],
)
def test_a_decision_says_what_it_rests_on(
    provenance: Provenance, estimate: Estimate | None, stage: Stage, doubt: float | None
) -> None:
    """Effort and doubt are the estimate's, or those of what was settled without one; the threshold stays with it."""
    found = Found(BUDGET, Verdict(Pool.SHORT, Reason.FITS, provenance), estimate, 8192)
    assert decision_of(FACTS, found) == Decision(
        Pool.SHORT, Reason.FITS, provenance, FACTS, BUDGET, stage, doubt=doubt, threshold_tokens=8192
    )
