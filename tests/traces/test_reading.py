import json
from pathlib import Path

import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.traces import LengthCdf, Trace, read_trace

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:05.9799600,0,10
2023-11-16 18:17:06.4799600,7,0
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 01:00:00.259930+01:00,2399,6
"""


def read(tmp_path: Path, content: str, *, seed: int = 0) -> Trace:
    """A trace with this content."""
    path = tmp_path / "trace"
    path.write_text(content)
    found = read_trace(path, seed=seed)
    assert isinstance(found, Trace)
    return found


def test_azure_of_2023(tmp_path: Path) -> None:
    """Seven digits of a second; sorted by time from 0 on; a request without a prompt is left out."""
    trace = read(tmp_path, AZURE_2023)
    assert trace.arrival_s is not None
    assert trace.output_tokens is not None
    assert trace.prompt_tokens.tolist() == [4808, 3180, 7]
    assert trace.output_tokens.tolist() == [10, 8, 0]
    assert trace.arrival_s == pytest.approx([0.0, 0.052, 2.5], abs=1e-6)
    assert trace.declared_tokens is trace.categories is trace.prefixes is None


def test_azure_of_2024(tmp_path: Path) -> None:
    """Times name their zone, and two zones are told apart."""
    assert read(tmp_path, AZURE_2024).arrival_s == pytest.approx([0.0, 0.25], abs=1e-6)


def test_lengths_alone(tmp_path: Path) -> None:
    """A CSV without times has none to give; further columns are passed over."""
    trace = read(tmp_path, "num_prefill_tokens,num_decode_tokens,num_total_tokens\n74,918,992\n")
    assert trace.arrival_s is None
    assert trace.output_tokens is not None
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([74], [918])


def mooncake(tmp_path: Path, seed: int) -> Trace:
    """Fifty requests in each of two ticks."""
    lines = [
        {"timestamp": 3000 * tick, "input_length": 600 + at, "output_length": at, "hash_ids": [0, 100 * tick + at + 1]}
        for tick in (0, 1)
        for at in range(50)
    ]
    return read(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), seed=seed)


def test_mooncake_arrivals_are_spread_inside_their_ticks(tmp_path: Path) -> None:
    """Each stays in its three seconds and in its place; the seed decides where."""
    one, same, other = (mooncake(tmp_path, seed) for seed in (1, 1, 2))
    assert one.arrival_s is not None
    assert same.arrival_s is not None
    assert other.arrival_s is not None
    assert one.prompt_tokens.tolist() == [600 + at for _ in (0, 1) for at in range(50)]
    assert (np.diff(one.arrival_s) > 0).all()
    assert one.arrival_s[49] < 3.0 < one.arrival_s[99] < 6.0
    assert one.arrival_s[49] > 2.0
    assert (one.arrival_s == same.arrival_s).all()
    assert (one.arrival_s != other.arrival_s).any()


def test_mooncake_names_prefixes(tmp_path: Path) -> None:
    """Each request's blocks are those between its two positions."""
    trace = mooncake(tmp_path, 0)
    assert trace.prefix_from is not None
    assert trace.prefixes is not None
    assert trace.prefixes[trace.prefix_from[99] : trace.prefix_from[100]].tolist() == [0, 150]


def test_prefixes_follow_their_requests_when_sorted(tmp_path: Path) -> None:
    """Lines out of order take their blocks along."""
    lines = '{"timestamp": 6000, "input_length": 1, "output_length": 1, "hash_ids": [7, 8]}\n'
    lines += '{"timestamp": 0, "input_length": 2, "output_length": 1, "hash_ids": [9]}\n'
    trace = read(tmp_path, lines)
    assert trace.prefix_from is not None
    assert trace.prefixes is not None
    assert trace.prompt_tokens.tolist() == [2, 1]
    assert (trace.prefix_from.tolist(), trace.prefixes.tolist()) == ([0, 1, 3], [9, 7, 8])


def test_our_access_log(tmp_path: Path) -> None:
    """Times as ISO 8601 or seconds, limits and kinds where they are known."""
    trace = read(
        tmp_path,
        '{"time": "1970-01-01T00:00:09.5Z", "prompt_tokens": 5, "completion_tokens": 2, "pool": "short"}\n'
        '{"arrival_s": 9.0, "prompt_tokens": 6, "completion_tokens": 3, "max_tokens": 30, "category": "code"}\n',
    )
    assert trace.arrival_s is not None
    assert trace.declared_tokens is not None
    assert trace.categories is not None
    assert trace.arrival_s.tolist() == [0.0, 0.5]
    assert trace.prompt_tokens.tolist() == [6, 5]
    assert trace.declared_tokens.tolist() == [30, -1]
    assert trace.categories.tolist() == [1, -1]


def test_columns_may_be_spelt_otherwise(tmp_path: Path) -> None:
    """In small letters, with underscores, and with counts as data frames write them."""
    trace = read(tmp_path, "timestamp,context_tokens,generated_tokens\n1,3180.0,8\n2,4808,10.0\n")
    assert trace.output_tokens is not None
    assert trace.arrival_s is not None
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([3180, 4808], [8, 10])
    assert trace.arrival_s.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "whole", [AZURE_2023, '{"input_length": 5}\n{"input_length": 6}\n', '{"prompt_tokens": 5}\n{"prompt_tokens": 6}\n']
)
def test_a_last_line_that_was_cut_is_passed_over(whole: str, tmp_path: Path) -> None:
    """And said; a whole one without a line's end counts, and nothing is said."""
    cut = read(tmp_path, whole + whole.splitlines()[-1][:9])
    assert (cut.requests, cut.cut) == (read(tmp_path, whole).requests, True)
    assert not read(tmp_path, whole.rstrip("\n")).cut


def test_a_table_stays_a_table(tmp_path: Path) -> None:
    """A distribution is not turned into requests here."""
    path = tmp_path / "cdf.json"
    path.write_text('{"cdf": [[100, 0.5], [200, 1.0]]}')
    assert read_trace(path) == LengthCdf([100.0, 200.0], [0.5, 1.0])


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "trace is no trace"),
        ("a,b\n1,2\n", "line 1"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n1,2\n", "line 3"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,2,3\n", "line 2"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nnan,2,3\n", "line 2"),
        ("ContextTokens,GeneratedTokens\n5,3.5\n", "line 2"),
        ('{"input_length": 5}\n{"input_length":\n{"input_length": 5}', "line 2"),
        ('{"tokens_in": 5}\n{"tokens_in": 5}\n', "line 1 is no trace .no key is known: .* has prompt_tokens"),
        ('{\n"tokens": 5}', "under the key cdf"),
        ("ContextTokens,GeneratedTokens\n-5,3\n", "line 2"),
        ("ContextTokens,GeneratedTokens\n5,99999999999\n", "line 2"),
        ("ContextTokens,GeneratedTokens\n0,3\n", "no request with a prompt"),
        ('{"prompt_tokens": 5}\n\n{"prompt_tokens": 5, "category": "verse"}\n', "line 3"),
        ('{"prompt_tokens": 5, "time": "soon"}\n', "line 1"),
        ('{"input_length": 5}\n{"input_length": 5.5}\n', "line 2"),
        ("[[100, 0.5], [200, 0.9]]", "the last share"),
        ('{"cdf": 3}', r"a table is a list of \[tokens, cumulative share\]"),
        ('{"lengths": [[5, 1]]}', "no key is known: .* a table of lengths has cdf"),
        ("[[5, 0.5], [Infinity, 1.0]]", "finite numbers"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_mistake_names_its_place(content: str, where: str, tmp_path: Path) -> None:
    """The line, and what would be right."""
    path = tmp_path / "trace"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=where) as raised:
        read_trace(path)
    assert "expected a CSV with a column ContextTokens" in str(raised.value)
