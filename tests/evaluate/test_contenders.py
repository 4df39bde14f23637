import json

import pytest

from extproc.evaluate.contenders import RouterRules, ToldRequest, build_router, make_estimator
from extproc.evaluate.options import Contender
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.estimators import EmaEstimator, EmaRules, FixedRatioEstimator
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.values import Category, Pool, Usage

THRESHOLD = 3000


def router(contender: Contender, observe_share: float | None = None) -> Router:
    """A new router of a contender."""
    return build_router(contender, RouterRules(THRESHOLD, observe_share=observe_share))


@pytest.mark.parametrize(
    ("contender", "kind"),
    [
        (Contender.FIXED, FixedRatioEstimator),
        (Contender.EMA, EmaEstimator),
        (Contender.EMA_TRUE, EmaEstimator),
        (Contender.EMA_EQUAL_UNDER, EmaEstimator),
        (Contender.ANYTIME, AnytimeEstimator),
    ],
)
def test_a_name_is_an_estimator(contender: Contender, kind: type) -> None:
    """Each contender is the core's own."""
    assert type(make_estimator(contender, RouterRules(THRESHOLD))) is kind


def test_the_threshold_is_the_one_asked_for() -> None:
    """The policy judges by it."""
    assert router(Contender.FIXED).policy.threshold_tokens == 3000


def test_answers_are_read_as_the_service_reads_them() -> None:
    """By default one in five of those in doubt, ten times the service's share; else ten times what is asked for."""
    request = read_request("/v1/completions", json.dumps({"prompt": "x" * 8000, "max_tokens": 1}).encode())
    assert [router(Contender.FIXED).route(request, draw=draw).observe for draw in (0.19, 0.21)] == [True, False]
    assert router(Contender.FIXED, observe_share=0.04).route(request, draw=0.39).observe


def test_rules_of_the_published_estimator_reach_it() -> None:
    """A margin of sixteen deviations sends long what none sends short."""
    text = "some words " * 400
    request = read_request("/v1/completions", json.dumps({"prompt": text, "max_tokens": 1}).encode())
    for gamma, pool in ((0.0, Pool.SHORT), (16.0, Pool.LONG)):
        estimator = make_estimator(Contender.EMA, RouterRules(THRESHOLD, ema=EmaRules(margin_deviations=gamma)))
        for tokens in (1000, 1500) * 10:
            estimator.learn(request.facts, estimator.lesson(request, 2999, estimated=True), Usage(tokens))
        judged = Router(estimator=estimator, policy=router(Contender.EMA).policy)
        assert judged.route(request, draw=1.0).pool is pool


def test_a_told_request_names_its_category_with_its_model() -> None:
    """The rest of it is as it was read."""
    read = read_request("/v1/completions", b'{"model": "m", "prompt": "abc", "max_tokens": 5}')
    told = ToldRequest(read, "letters")
    assert (told.facts.model, told.facts.text_bytes, told.facts.output_tokens) == ("letters/m", 3, 5)
    assert told.prompt is read.prompt
    assert (read.category(), told.category()) == (Category.PROSE, Category.TOOLS)
