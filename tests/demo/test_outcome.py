import pytest

from extproc.demo.mix import Ask
from extproc.demo.outcome import Outcome, Verdict
from extproc.routing.values import Misroute


@pytest.mark.parametrize(
    ("instance", "prompt_tokens", "output_tokens", "misroute"),
    [
        ("short", 900, 100, None),
        ("short", 901, 100, Misroute.UNDER),
        ("long", 900, 100, Misroute.OVER),
        ("long", 901, 100, None),
        ("short", None, 100, None),
    ],
)
def test_misroute(
    instance: str, prompt_tokens: int | None, output_tokens: int | None, misroute: Misroute | None
) -> None:
    """True prompt and reserved output decide, and no truth gives no judgement."""
    ask = Ask("/v1/chat/completions", b"{}", output_tokens=output_tokens)
    assert Outcome(ask, instance=instance, prompt_tokens=prompt_tokens).misroute(1000) is misroute


FITS, UNDECLARED = Verdict("short", "fits", "calibrated"), Verdict("long", "output_undeclared", "fallback")


@pytest.mark.parametrize(
    ("instance", "verdict", "completion_tokens", "finish", "misroute"),
    [
        ("short", FITS, 100, "stop", None),
        ("short", FITS, 101, "stop", Misroute.UNDER),
        ("short", FITS, 50, "length", Misroute.UNDER),
        ("long", FITS, 100, "stop", Misroute.OVER),
        ("long", FITS, 101, "length", None),
        ("long", UNDECLARED, 1, "stop", None),
    ],
)
def test_misroute_without_a_limit(
    instance: str, verdict: Verdict, completion_tokens: int, finish: str, misroute: Misroute | None
) -> None:
    """The answer's own length decides, unless the short pool cut it, or no output could be told beforehand."""
    ask = Ask("/v1/chat/completions", b"{}", output_tokens=None)
    outcome = Outcome(
        ask,
        instance=instance,
        verdict=verdict,
        prompt_tokens=900,
        has_usage=True,
        completion_tokens=completion_tokens,
        finish=finish,
    )
    assert outcome.misroute(1000) is misroute


def test_a_length_nobody_told_is_not_judged() -> None:
    """Without usage an answer of no limit says nothing of its length."""
    ask = Ask("/v1/chat/completions", b"{}", output_tokens=None)
    assert Outcome(ask, instance="short", verdict=FITS, prompt_tokens=9000).misroute(1000) is None
