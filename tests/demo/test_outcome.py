import pytest

from extproc.demo.mix import Ask
from extproc.demo.outcome import Outcome
from extproc.routing.values import Misroute


@pytest.mark.parametrize(
    ("instance", "prompt_tokens", "output_tokens", "misroute"),
    [
        ("short", 900, 100, None),
        ("short", 901, 100, Misroute.UNDER),
        ("long", 900, 100, Misroute.OVER),
        ("long", 901, 100, None),
        ("long", 1, None, None),
        ("short", 1, None, Misroute.UNDER),
        ("short", None, 100, None),
    ],
)
def test_misroute(
    instance: str, prompt_tokens: int | None, output_tokens: int | None, misroute: Misroute | None
) -> None:
    """True prompt and reserved output decide; no limit never fits, and no truth gives no judgement."""
    ask = Ask("/v1/chat/completions", b"{}", output_tokens=output_tokens)
    assert Outcome(ask, instance=instance, prompt_tokens=prompt_tokens).misroute(1000) is misroute
