import math

import pytest

from extproc.mockvllm.faults import FAULT_HELP, NO_FAULTS, Faults, UnknownFaultError, parse_faults


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", NO_FAULTS),
        ("status=503", Faults(status=503)),
        ("hang", Faults(hang_s=math.inf)),
        ("hang=0.5", Faults(hang_s=0.5)),
        ("reset", Faults(reset=True)),
        ("die-mid-stream", Faults(die_after_events=3)),
        ("die-mid-stream=0", Faults(die_after_events=0)),
        ("error-mid-stream=7", Faults(error_after_events=7)),
        ("wrong-usage=1.5", Faults(usage_factor=1.5)),
        (" crlf , no-done,split-writes ", Faults(crlf=True, no_done=True, split_writes=True)),
        ("slow=0.1,gzip", Faults(slow_s=0.1, gzip=True)),
        ("only=short,reset", Faults(only="short", reset=True)),
    ],
)
def test_each_spelling_means_one_fault(text: str, faults: Faults) -> None:
    """Faults are read from a header once, to a value."""
    assert parse_faults(text) == faults


@pytest.mark.parametrize(
    "text", ["explode", "status", "status=99", "reset=1", "slow=-1", "hang=nan", "wrong-usage=x", "only="]
)
def test_anything_else_is_an_error_that_teaches(text: str) -> None:
    """A misspelt fault names the spellings there are, and repeats nothing of what was typed."""
    with pytest.raises(UnknownFaultError) as caught:
        parse_faults(text)
    assert str(caught.value) == f"Unknown fault. {FAULT_HELP}"
