import pytest

from extproc.routing.values import Category
from extproc.traces.columns import Record
from extproc.traces.lines import csv_reader, log_line, mooncake_record, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01 00:00:01.2345670", 1.234567),
        ("1970-01-01 00:00:01.234567+00:00", 1.234567),
        ("1970-01-01T01:00:01+01:00", 1.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("12.5", 12.5),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """UTC where no zone is named; a number is seconds."""
    assert seconds_of(text) == pytest.approx(seconds, abs=1e-6)


def test_lines_of_json() -> None:
    """Mooncake's and our own."""
    mooncake = mooncake_record('{"timestamp": 3000, "input_length": 6, "output_length": 5, "hash_ids": [1, 2]}')
    assert mooncake == Record(6, 5, 3.0, prefixes=[1, 2])
    ours = log_line('{"arrival_s": 1.5, "prompt_tokens": 6, "completion_tokens": 5, "category": "cjk", "other": "x"}')
    assert (ours.prompt_tokens, ours.completion_tokens, ours.time_s, ours.category) == (6, 5, 1.5, Category.CJK)


def test_lines_of_csv() -> None:
    """Columns are found by their names, in any order."""
    read = csv_reader("GeneratedTokens,other,ContextTokens")
    assert read is not None
    assert read("5,x,6") == Record(6, 5)


def test_a_csv_of_something_else() -> None:
    """Names no column of prompt lengths."""
    assert csv_reader("a,b") is None


def test_a_line_of_other_width_is_refused() -> None:
    """A cell too few would shift the others."""
    read = csv_reader("ContextTokens,GeneratedTokens")
    assert read is not None
    with pytest.raises(ValueError, match="1 cells under 2 names"):
        read("5")
