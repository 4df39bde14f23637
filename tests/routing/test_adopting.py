"""Rules change while a router runs: what was learned and what is awaited stays, and what is decided next follows."""

import math

from msgspec.structs import replace

from extproc.routing.anytime import AnytimeEstimator, AnytimeRules
from extproc.routing.budget import BudgetRules
from extproc.routing.estimators import EmaEstimator, EmaRules, Estimator, FixedRatioEstimator
from extproc.routing.histogram import NOT_YET, Histogram, bin_of
from extproc.routing.observing import ObserveRules
from extproc.routing.outputs import OutputModel, OutputRules
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.request import Request
from extproc.routing.router import Router
from extproc.routing.served import Promise, Served
from extproc.routing.steering import Steering
from extproc.routing.text import Prompt
from extproc.routing.values import Finish, Pool, Reason, RequestFacts, Stage, Usage

FACTS = RequestFacts(text_bytes=4000, total_text_bytes=4000, message_count=1, output_tokens=100, model="m")
UNDECLARED = replace(FACTS, output_tokens=None)
ONE_IN_TEN = OutputRules(0.1, math.inf)
ANSWER = Usage(1000, 200, finish=Finish.STOP)


def asked(facts: RequestFacts = FACTS) -> Request:
    """A request of these facts."""
    return Request(facts, Prompt(pieces=["plain words"]))


def router(
    estimator: Estimator | None = None,
    *,
    threshold: int = 8192,
    short_max_model_len: int | None = None,
    share: float = 1.0,
    undeclared: int | None = None,
    outputs: OutputModel | None = None,
) -> Router:
    """A router that reads every answer unless told otherwise."""
    return Router(
        estimator=estimator or FixedRatioEstimator(),
        policy=TokenBudgetPolicy(threshold),
        budget_rules=BudgetRules(undeclared_output_tokens=undeclared),
        observe_rules=ObserveRules(share=share),
        outputs=outputs,
        short_max_model_len=short_max_model_len,
    )


def answered(subject: Router, facts: RequestFacts = UNDECLARED, times: int = 1) -> None:
    """Exchanges whose answers are read."""
    for _ in range(times):
        subject.complete(subject.route(asked(facts), draw=0.0), ANSWER)


# The router


def test_the_next_request_follows_the_new_rules() -> None:
    """Threshold, reserve and share of answers read."""
    subject = router()
    assert subject.route(asked(UNDECLARED), draw=0.0).pool is Pool.LONG
    subject.adopt(router(threshold=8000, undeclared=100, share=0.0))
    decision = subject.route(asked(UNDECLARED), draw=0.0)
    assert (decision.pool, decision.observe, decision.threshold_tokens) == (Pool.SHORT, False, 8000)
    assert subject.short_max_model_len == 8000


def test_a_decision_in_flight_is_completed_by_the_rules_it_was_made_by() -> None:
    """What was awaited is awaited no more, and judged by the threshold that decided."""
    subject = router(threshold=8192)
    decision = subject.route(asked(), draw=0.0)
    subject.adopt(router(threshold=500))
    correction = subject.complete(decision, ANSWER)
    assert correction is not None
    assert (correction.misroute, subject.observing) == (None, 0)


def test_what_the_instances_said_outlives_what_the_operator_says() -> None:
    """No threshold above the context that was found out; without one, what was set counts."""
    subject = router(threshold=4096)
    subject.adopt(router(threshold=6000, short_max_model_len=16_384))
    assert (subject.policy.threshold_tokens, subject.short_max_model_len) == (6000, 16_384)
    subject.fit(5000)
    subject.adopt(router(threshold=9000))
    assert (subject.policy.threshold_tokens, subject.short_max_model_len) == (5000, 5000)


def test_spilling_goes_on() -> None:
    """The pressure is the same as before."""
    subject = router()
    subject.steer(Steering(8192, Pool.SHORT, 1.0))
    subject.adopt(router(threshold=8000))
    assert subject.route(asked(), draw=0.0).reason is Reason.SPILLED_FROM_SHORT


def test_learned_outputs_rest_while_a_rule_stands_for_them() -> None:
    """They are kept, saved, and there again; answers awaited meanwhile are ended where they were begun."""
    subject = router(outputs=OutputModel(ONE_IN_TEN))
    answered(subject, times=9)
    in_flight = subject.route(asked(UNDECLARED), draw=0.0)
    subject.adopt(router(undeclared=100))
    assert subject.outputs is None
    subject.complete(in_flight, ANSWER)
    answered(subject)
    (saved, *_) = subject.snapshot().outputs.lengths
    assert sum(saved.weights.values()) == 9, "what is answered under the rule teaches no output"
    subject.adopt(router(outputs=OutputModel(ONE_IN_TEN)))
    assert subject.outputs is not None
    reserved = subject.outputs.reserve("m", None)
    assert reserved is not None
    assert reserved >= 200
    answered(subject)


def test_outputs_are_learned_from_when_they_are_first_wanted() -> None:
    """A decision made before waits for none; one made after does."""
    subject = router()
    before = subject.route(asked(UNDECLARED), draw=0.0)
    subject.adopt(router(outputs=OutputModel(ONE_IN_TEN)))
    subject.complete(before, ANSWER)
    answered(subject, times=8)
    assert subject.outputs is not None
    assert subject.outputs.reserve("m", None) is not None


# Outputs


def test_a_smaller_promise_counts_from_now() -> None:
    """What is awaited when it is made may be longer than all that came back: until it ended nothing is promised."""
    outputs = OutputModel(OutputRules(0.5, math.inf))
    for _ in range(9):
        outputs.learn("m", None, None, ANSWER)
    waiting = outputs.begin()
    assert outputs.reserve("m", None) is not None
    outputs.adopt(OutputModel(ONE_IN_TEN))
    assert outputs.reserve("m", None) is None
    outputs.end(waiting)
    assert outputs.reserve("m", None) is not None
    outputs.adopt(OutputModel(OutputRules(0.001)))
    assert outputs.reserve("m", None) is None, "nine answers do not promise one in a thousand"


def test_a_larger_promise_has_been_kept_all_along() -> None:
    """Nothing is waited for, and the reserve is what it would have been."""
    histogram, fresh = (Histogram(miss_probability=p, half_life=math.inf) for p in (0.1, 0.5))
    for length in (10, 20, 30, 40, 50, 60, 70, 80, 90):
        for each in (histogram, fresh):
            each.observe(bin_of(length), now=3)
    histogram.adopt(miss_probability=0.5, half_life=math.inf, now=8)
    assert (histogram.upper, histogram.enough_since) == (fresh.upper, 3)


def test_another_half_life_alone_changes_no_promise() -> None:
    """Only how fast the next lengths make the old ones fade."""
    histogram = Histogram(miss_probability=0.5, half_life=math.inf)
    for _ in range(3):
        histogram.observe(bin_of(100), now=1)
    before = (histogram.upper, histogram.enough_since)
    histogram.adopt(miss_probability=0.5, half_life=1.0, now=9)
    assert (histogram.upper, histogram.enough_since) == before != (None, NOT_YET)
    histogram.observe(bin_of(100), now=9)
    assert histogram.samples == 2.0, "four, each weighing half of what it did"


# Estimators


def test_a_promise_moves_the_margins_of_every_model() -> None:
    """By all that was learned: a looser one lets come closer."""
    strict, loose = Served(Promise(0.001)), Served(Promise(0.001))
    loose.adopt(Promise(0.4))
    assert loose.margins[Stage.TEXT].short_at < strict.margins[Stage.TEXT].short_at


def test_estimators_keep_what_they_learned() -> None:
    """Promise and warm-up are the new ones, samples and ratios the old."""
    estimator = AnytimeEstimator()
    answered(router(estimator), FACTS, times=3)
    estimator.adopt(AnytimeEstimator(AnytimeRules(Promise(0.01), warm_up_samples=2)))
    assert (estimator.promised_share, estimator.standing()[0].samples) == (0.01, 3)
    assert estimator.estimate(asked(), 2000).calibrated


def test_the_published_estimator_and_its_baseline_follow_too() -> None:
    """The margin and the warm-up; the one fixed ratio."""
    ema = EmaEstimator(EmaRules(warm_up_samples=10))
    answered(router(ema), FACTS, times=3)
    assert not ema.estimate(asked(), 2000).may_decide
    ema.adopt(EmaEstimator(EmaRules(warm_up_samples=3)))
    assert ema.estimate(asked(), 2000).may_decide
    fixed = FixedRatioEstimator(4.0)
    fixed.adopt(FixedRatioEstimator(2.0))
    assert fixed.estimate(asked(), 2000).mean_tokens == 2000


def test_an_alarm_is_remembered_by_the_answers_since() -> None:
    """None before the first; then counted on with each answer."""
    estimator = AnytimeEstimator()
    subject = router(estimator)
    answered(subject, FACTS, times=300)
    assert estimator.standing()[0].answers_since_alarm is None
    for _ in range(12):
        subject.complete(subject.route(asked(), draw=0.0), Usage(2500))
    (standing,) = estimator.standing()
    assert standing.alarms == 1
    since = standing.answers_since_alarm
    assert since is not None
    answered(subject, FACTS)
    assert estimator.standing()[0].answers_since_alarm == since + 1
