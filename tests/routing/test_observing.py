from typing import Any

import pytest
from msgspec.structs import replace

from extproc.routing.estimators import EmaEstimator, EmaRules, FixedRatioEstimator
from extproc.routing.found import Found
from extproc.routing.observing import ObserveRules, share_to_observe
from extproc.routing.outputs import OutputModel
from extproc.routing.policy import Verdict
from extproc.routing.request import Request
from extproc.routing.text import Prompt
from extproc.routing.values import Budget, Estimate, Pool, Provenance, Reason, RequestFacts

FACTS = RequestFacts(text_bytes=4000, total_text_bytes=4000, message_count=1, output_tokens=100, model="m")
SILENT = replace(FACTS, usage_expected=False)
MUTE = replace(FACTS, teaches=False)
SEVERAL = replace(MUTE, prompt_count=2)
OPEN = replace(FACTS, output_tokens=None)
RULES = ObserveRules(share=0.02)


def share(
    facts: RequestFacts = FACTS,
    provenance: Provenance = Provenance.CALIBRATED,
    *,
    doubt: float | None = None,
    **more: Any,
) -> float:
    """Of requests with these facts and such a verdict, how many are observed."""
    budget = Budget(certain_prompt_tokens=4000, output_tokens=100, prompt_tokens=1000)
    estimate = Estimate(900, 1000, calibrated=True, doubt=doubt)
    found = Found(budget, Verdict(Pool.SHORT, Reason.FITS, provenance), estimate, 8192)
    rules, estimator = more.get("rules", RULES), more.get("estimator", FixedRatioEstimator())
    return share_to_observe(rules, Request(facts, Prompt(pieces=["words"])), found, estimator, more.get("outputs"))


@pytest.mark.parametrize(
    ("facts", "provenance", "doubt", "expected"),
    [
        (FACTS, Provenance.CERTAIN, 0.0, 0.02),
        (FACTS, Provenance.CALIBRATED, 0.0009, 0.02),
        (FACTS, Provenance.CALIBRATED, 0.001, 0.2),
        (FACTS, Provenance.CALIBRATED, None, 0.2),
        (SILENT, Provenance.CALIBRATED, 0.5, 0.0),
        (MUTE, Provenance.CERTAIN, 0.0, 0.0),
        (MUTE, Provenance.CALIBRATED, 0.5, 0.2),
        (SEVERAL, Provenance.CALIBRATED, 0.5, 0.0),
    ],
)
def test_a_share_is_observed_to_learn_and_to_judge_by(
    facts: RequestFacts, provenance: Provenance, doubt: float | None, expected: float
) -> None:
    """Ten times as many where the pool is in doubt; none whose answer neither teaches nor tells the pool."""
    assert share(facts, provenance, doubt=doubt) == pytest.approx(expected)


def test_no_more_than_all_are_observed() -> None:
    """Ten times a large share is everything."""
    assert share(rules=ObserveRules(share=0.5)) == 1.0


def test_all_are_observed_while_something_is_to_be_learned() -> None:
    """By the estimator, or of the length of answers that nobody limits; of several in one request that is not told."""
    assert share(estimator=EmaEstimator(EmaRules(learning_samples=1))) == 1.0
    assert share(OPEN, outputs=OutputModel()) == 1.0
    assert share(FACTS, outputs=OutputModel()) < 1.0
    assert share(replace(OPEN, n=2), outputs=OutputModel()) < 1.0


def test_streams_whose_server_sends_usage_unasked_are_observed() -> None:
    """Where the operator says so."""
    assert share(SILENT, rules=ObserveRules(streams_carry_usage=True)) > 0.0
