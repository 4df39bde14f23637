import re
from enum import StrEnum

import pytest

from extproc.routing.values import (
    Budget,
    Category,
    Correction,
    Decision,
    Finish,
    Flaw,
    Misroute,
    Pool,
    Provenance,
    Reason,
    RequestFacts,
    Stage,
    Usage,
)


@pytest.mark.parametrize("labels", [Pool, Category, Provenance, Stage, Reason, Flaw, Misroute, Finish])
def test_every_enum_is_fit_for_a_metric_label(labels: type[StrEnum]) -> None:
    """Few members, and each a lower-case word that needs no escaping."""
    assert len(labels) <= 16
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", member.value) for member in labels)


def test_every_flaw_is_a_reason() -> None:
    """What keeps a budget from being told is what the operator reads as the decision's reason."""
    assert {flaw.value for flaw in Flaw} <= {reason.value for reason in Reason}


def test_a_budget_is_the_conservative_prompt_and_the_output() -> None:
    """The margin belongs to the total; the mean and the certain bound do not."""
    budget = Budget(certain_prompt_tokens=900, output_tokens=16, prompt_tokens=120, mean_prompt_tokens=100)
    assert budget.total_tokens == 136


def test_a_budget_without_an_output_limit_has_no_total() -> None:
    """Output that nobody limits may fill the context, so adding it would be a lie."""
    budget = Budget(certain_prompt_tokens=900, output_tokens=None, prompt_tokens=120, mean_prompt_tokens=100)
    assert budget.total_tokens is None


@pytest.mark.parametrize(("estimated", "error"), [(110, 0.1), (100, 0.0), (75, -0.25)])
def test_the_relative_error_is_negative_where_the_prompt_was_longer_than_thought(estimated: int, error: float) -> None:
    """(estimate − truth) / truth, with a truth of 100 tokens."""
    correction = Correction(
        pool=Pool.SHORT,
        category=Category.PROSE,
        provenance=Provenance.CALIBRATED,
        stage=Stage.SAMPLE,
        estimated_prompt_tokens=estimated,
        usage=Usage(prompt_tokens=100),
        learned=True,
    )
    assert correction.relative_error == pytest.approx(error)


def test_facts_cannot_be_changed_once_told() -> None:
    """A decision carries them to its completion, so they must still say what they said."""
    facts = RequestFacts()
    with pytest.raises(AttributeError):
        facts.text_bytes = 1  # type: ignore[misc]  # what the test is about


def test_a_decision_claims_nothing_that_it_was_not_told() -> None:
    """By itself it rests on no effort, says nothing of doubt, and stands for itself alone."""
    decision = Decision(Pool.LONG, Reason.MEDIA, Provenance.FALLBACK, RequestFacts(flaw=Flaw.MEDIA))
    assert (decision.stage, decision.category, decision.doubt) == (Stage.NONE, None, None)
    assert (decision.observe, decision.weight, decision.lesson) == (False, 1.0, None)
