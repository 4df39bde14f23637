from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from extproc.evaluate.caveats import caveats
from extproc.evaluate.evaluation import Evaluation, evaluate
from extproc.evaluate.mix import parse_mix
from extproc.evaluate.options import Contender, EvaluateOptions

Asked = Callable[..., EvaluateOptions]


def noted(options: EvaluateOptions) -> str:
    """All that is said of an evaluation."""
    return "\n".join(caveats(evaluate(options, lambda: None), options))


def test_clean_requests_need_no_word(asked: Asked) -> None:
    """Every row was of use and was judged."""
    assert noted(asked()) == ""


def test_rows_that_were_left_out_are_counted(asked: Asked, requests_file: Path) -> None:
    """By what is wrong with them."""
    requests_file.write_text(requests_file.read_text() + '\n{"llama3_tokens": 3}\n{"body": "{}"}\n{"body": "{}"}')
    assert "3 rows of" in noted(asked())
    assert "left out: 1 without a body, 2 without llama3_tokens" in noted(asked())


def test_requests_without_an_output_ask_for_a_mix(asked: Asked, requests_file: Path) -> None:
    """It is named with an example; one that is given ends it."""
    requests_file.write_text(requests_file.read_text().replace("max_tokens", "least_tokens"))
    assert "100.0% of the requests are not judged, since their bodies limit no output" in noted(asked())
    assert "--max-tokens-mix 256:.5,1024:.5" in noted(asked())
    assert noted(asked(output_mix=parse_mix("100:1"))) == ""


def test_rows_that_cannot_be_read_are_counted(asked: Asked, requests_file: Path) -> None:
    """With a mix and without one alike."""
    requests_file.write_text('{"body": "{", "llama3_tokens": 3}\n{"body": "[]", "llama3_tokens": 4}')
    for mix in (None, parse_mix("100:1")):
        text = noted(asked(output_mix=mix))
        assert "No request could be judged" in text
        assert "100.0% of the requests are not judged, since their length cannot be told" in text
        assert "Rows: 2 unreadable" in text


def test_streams_without_usage_are_explained(asked: Asked, requests_file: Path) -> None:
    """Unless the flag is given, or a share was asked for."""
    lines = requests_file.read_text().replace('\\"max_tokens\\"', '\\"stream\\": true, \\"max_tokens\\"')
    requests_file.write_text(lines)
    learning = {"estimators": (Contender.ANYTIME,)}
    assert "Only 0.0% of the answers were read" in noted(asked(**learning))
    assert "give --streams-carry-usage" in noted(asked(**learning))
    assert noted(asked(**learning, streams_carry_usage=True)) == ""
    assert noted(asked(**learning, observe_share=0.0)) == ""


def test_sessions_have_no_requests_to_speak_of(asked: Asked) -> None:
    """Nothing but what the file says is said then."""
    options = asked(estimators=())
    found: Evaluation = replace(evaluate(asked(), lambda: None), estimators={}, left_out={"without a body": 1})
    assert len(caveats(found, options)) == 1
