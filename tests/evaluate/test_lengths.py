import json
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.lengths import CdfLengths, Lengths, TraceLengths, read_lengths


def read(tmp_path: Path, content: str) -> Lengths:
    """The lengths of a file that holds this."""
    path = tmp_path / "trace"
    path.write_text(content)
    return read_lengths(path)


@pytest.mark.parametrize(
    "content",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens\n1,30,7\n2,10,7\n3,20,7\n4,0,7\n",
        "num_prefill_tokens,num_decode_tokens\n30,1\n10,1\n20,1\n",
        '{"timestamp": 0, "input_length": 30}\n{"input_length": 10}\n{"input_length": 20}\n',
    ],
)
def test_every_trace_gives_its_lengths(content: str, tmp_path: Path) -> None:
    """Azure's, ShareGPT's and Mooncake's format; prompts without tokens are left out."""
    assert read(tmp_path, content) == TraceLengths([10, 20, 30])


def test_quantiles_of_a_trace_are_its_lengths() -> None:
    """Each third of the draws gives one of three."""
    lengths = TraceLengths([10, 20, 30])
    assert [lengths.quantile(share) for share in (0.0, 0.33, 0.34, 0.67, 0.999)] == [10, 10, 20, 30, 30]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_table_is_interpolated(wrapped: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    """Straight between points, and from half the first length below it; a step without share is never drawn into."""
    points = [[100, 0.5], [200, 0.5], [300, 1.0]]
    lengths = read(tmp_path, json.dumps({"cdf": points} if wrapped else points, indent=1))
    assert [lengths.quantile(share) for share in (0.0, 0.25, 0.5, 0.75)] == [50, 75, 100, 250]


def test_a_table_that_starts_at_nothing() -> None:
    """A first point without share gives its own length."""
    assert CdfLengths([64, 128], [0.0, 1.0]).quantile(0.0) == 64
    assert CdfLengths([64, 128], [0.0, 1.0]).quantile(0.5) == 96


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a,b\n1,2\n",
        "ContextTokens\nmany\n",
        "ContextTokens\n0\n",
        "[[100, 0.5], [200, 0.9]]",
        "[[100, 0.5], [200, 0.4], [300, 1.0]]",
        "[[0, 0.5], [200, 1.0]]",
        "[]",
        '{"cdf": 3}',
        '{"other": []}',
        '{"input_length": 5}\nseven\n',
        "[1, 2",
    ],
)
def test_what_is_no_trace_is_refused(content: str, tmp_path: Path) -> None:
    """The mistake names the formats."""
    with pytest.raises(ConfigurationError, match="expected a CSV with a column ContextTokens"):
        read(tmp_path, content)
