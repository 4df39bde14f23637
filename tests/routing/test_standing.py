"""What an estimator shows of itself is what it has learned."""

import pytest

from extproc.routing.anytime import AnytimeEstimator, AnytimeRules, ModelStanding
from extproc.routing.memory import ConversationMemory
from extproc.routing.request import read_request
from extproc.routing.served import Promise
from extproc.routing.values import Usage

CHAT = b'{"model":"%s","messages":[{"role":"user","content":"%s"}],"max_tokens":9}'


def taught(estimator: AnytimeEstimator, model: bytes, prompt_tokens: int, times: int = 1) -> AnytimeEstimator:
    """Answers to a prompt of 6,000 bytes."""
    for _ in range(times):
        request = read_request("/v1/chat/completions", CHAT % (model, b"some words " * 545))
        estimator.estimate(request, 8000)
        lesson = estimator.lesson(request, 8000, estimated=True)
        assert estimator.learn(request.facts, lesson, Usage(prompt_tokens))
    return estimator


def test_a_cold_estimator_stands_nowhere() -> None:
    """Models nobody has answered for are not shown, nor is the place for those that find none of their own."""
    assert AnytimeEstimator().standing() == []


def test_each_model_shows_its_answers_and_its_doubt() -> None:
    """Samples count up, doubt fades with them, and nothing has changed yet."""
    known, new = taught(taught(AnytimeEstimator(), b"known", 1100, times=9), b"new", 1100).standing()
    assert (known.model, known.samples, known.alarms) == ("known", 9, 0)
    assert (new.model, new.samples, new.alarms) == ("new", 1, 0)
    assert 0.0 < known.doubt < new.doubt


def test_a_changed_tokenizer_shows_as_an_alarm_and_as_doubt() -> None:
    """After answers that cost twice as much the alarm is counted, and the doubt is above what it had come to."""
    estimator = taught(AnytimeEstimator(), b"m", 1100, times=300)
    assert estimator.standing() == [ModelStanding("m", 300, 0.0, 0)]
    (after,) = taught(estimator, b"m", 2200, times=20).standing()
    assert after.alarms == 1
    assert after.doubt > 0.0


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_the_promise_is_the_operators(share: float) -> None:
    """What was set is what is shown."""
    assert AnytimeEstimator(AnytimeRules(Promise(share))).promised_share == share


def test_memory_shows_how_much_it_holds() -> None:
    """One prompt after one answer; nothing to show where there is no memory."""
    assert AnytimeEstimator().remembered is None
    assert taught(AnytimeEstimator(memory=ConversationMemory(bytes(16))), b"m", 1100).remembered == 1
