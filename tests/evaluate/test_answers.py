from random import Random

import pytest

from extproc.evaluate.answers import AnswerRules, Poison, answer
from extproc.routing.values import Finish, Usage

TRUTH = 1000


def told(rules: AnswerRules, count: int = 2000) -> list[int]:
    """Prompt tokens that so many answers state."""
    random = Random(1)
    return [answer(TRUTH, 256, rules, random).prompt_tokens for _ in range(count)]


def test_an_answer_tells_the_truth() -> None:
    """Without poison: the true prompt, half of the output allowed, an ordinary end."""
    assert answer(TRUTH, 256, AnswerRules(), Random(1)) == Usage(TRUTH, 128, finish=Finish.STOP)
    assert answer(TRUTH, 1, AnswerRules(), Random(1)).completion_tokens == 1
    assert answer(TRUTH, None, AnswerRules(), Random(1)).completion_tokens == 128


def test_the_poisoned_share_lies() -> None:
    """One in ten states another count, the others the truth."""
    lies = [tokens for tokens in told(AnswerRules(0.1)) if tokens != TRUTH]
    assert len(lies) / 2000 == pytest.approx(0.1, abs=0.02)
    assert sum(tokens == 600 for tokens in lies) / len(lies) == pytest.approx(0.5, abs=0.1)


def test_hostile_lies_are_always_low() -> None:
    """Each states six tenths of the truth."""
    assert set(told(AnswerRules(1.0, Poison.HOSTILE))) == {600}


def test_random_lies_are_even_on_a_logarithmic_scale() -> None:
    """From 1 to 4 times the truth; half of them lie below the geometric middle, the square root of 4,000."""
    lies = told(AnswerRules(1.0, Poison.RANDOM))
    assert 1 <= min(lies) < 3
    assert 3500 < max(lies) <= 4000
    assert sum(tokens <= 63 for tokens in lies) / 2000 == pytest.approx(0.5, abs=0.03)


def test_lying_does_not_change_what_others_say() -> None:
    """Answers use up the generator alike, so a poisoned stream differs in the lies alone."""
    rules = AnswerRules(0.3)
    assert all(said in (TRUTH, 600) or said <= 4 * TRUTH for said in told(rules))
    one, other = Random(5), Random(5)
    for share in (0.0, 1.0):
        answer(TRUTH, 256, AnswerRules(share), one)
        answer(TRUTH, 256, AnswerRules(1.0 - share), other)
    assert one.random() == other.random()
