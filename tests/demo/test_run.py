from collections import Counter
from itertools import islice
from pathlib import Path

from extproc.demo.corpus import Kind
from extproc.demo.fleet import LEARNING_SAMPLES
from extproc.demo.run import DEFAULT_REQUESTS, DemoOptions, paired_requests, wanted_requests


def test_stream_and_pairs_are_repeatable_and_apart() -> None:
    """One seed makes one stream; the pairs are of the same mix but other requests, all JSON."""
    options = DemoOptions(envoy_binary=Path("envoy"), requests=120)
    stream, pairs = list(wanted_requests(options)), paired_requests(options, 120)
    assert stream == list(wanted_requests(options))
    assert sum(ask.requests for ask in stream) == 120
    assert len(pairs) == 40
    assert not set(pairs) & set(stream)
    assert not any(ask.streams for ask in pairs)


def test_default_is_enough_for_every_category() -> None:
    """Nine kinds of text share what is read in full, and each comes often enough to be learned from 200 times."""
    assert LEARNING_SAMPLES < DEFAULT_REQUESTS, "the last ones are read as in production"
    kinds = Counter(ask.kind for ask in islice(wanted_requests(DemoOptions(envoy_binary=Path("envoy"))), 2500))
    assert min(kinds[kind] for kind in Kind) > 200


def test_requests_of_a_file_are_taken_whole_or_in_part(tmp_path: Path) -> None:
    """Without a number every line is sent, with one so many of the first."""
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n')
    whole = DemoOptions(envoy_binary=Path("envoy"), bodies=path)
    part = DemoOptions(envoy_binary=Path("envoy"), bodies=path, requests=2)
    assert len(list(wanted_requests(whole))) == 3
    assert [ask.text_bytes for ask in wanted_requests(part)] == [1, 1]
