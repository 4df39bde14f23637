from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.options import Contender, EvaluateOptions, parse_contenders

FILE = Path("requests.jsonl")


def test_nothing_to_evaluate_says_what_to_give() -> None:
    """Without a file the mistake shows the format of one."""
    with pytest.raises(ConfigurationError, match=r"give --requests FILE \(one JSON object a line.*llama3_tokens"):
        EvaluateOptions()


@pytest.mark.parametrize("promise", [0.0, -0.1, 0.6, float("nan")])
def test_a_promise_must_be_one(promise: float) -> None:
    """Never under-routing, or more often than not, is no promise."""
    with pytest.raises(ConfigurationError, match="--promise"):
        EvaluateOptions(requests=FILE, promise=promise)


def test_a_margin_is_found_by_something() -> None:
    """A contender held against anytime needs anytime."""
    with pytest.raises(ConfigurationError, match="name both"):
        EvaluateOptions(requests=FILE, estimators=(Contender.EMA_EQUAL_UNDER,))
    EvaluateOptions(requests=FILE, estimators=(Contender.EMA_EQUAL_UNDER, Contender.ANYTIME))


def test_one_change_at_a_time() -> None:
    """Two would not be told apart in the figures."""
    with pytest.raises(ConfigurationError, match="one at a time"):
        EvaluateOptions(requests=FILE, swap_tokenizer_at=0.5, held_back="code")


def test_when_something_changes() -> None:
    """At the share given, at half for a category, else never."""
    assert EvaluateOptions(requests=FILE, count=1000, swap_tokenizer_at=0.3).change_at == 300
    assert EvaluateOptions(requests=FILE, count=1001, held_back="code").change_at == 500
    assert EvaluateOptions(requests=FILE).change_at is None


def test_names_are_read_in_order_and_once() -> None:
    """Spaces and repetitions do no harm."""
    assert parse_contenders("ema, fixed,ema") == (Contender.EMA, Contender.FIXED)


def test_an_unknown_name_is_refused() -> None:
    """The mistake lists those there are."""
    with pytest.raises(ConfigurationError, match="there is no 'best'; there are fixed, ema, ema-true"):
        parse_contenders("fixed,best")


def test_what_a_name_means() -> None:
    """Which contenders are the published estimator, are told categories, have their margin found."""
    assert [name for name in Contender if not name.is_ema] == [Contender.FIXED, Contender.ANYTIME]
    assert [name for name in Contender if name.told] == [Contender.EMA_TRUE, Contender.EMA_TRUE_EQUAL_UNDER]
    assert [name for name in Contender if name.searched] == [Contender.EMA_EQUAL_UNDER, Contender.EMA_TRUE_EQUAL_UNDER]
