from random import Random

import pytest

from extproc.evaluate.lengths import TraceLengths
from extproc.evaluate.mix import parse_mix
from extproc.evaluate.stream import Arrival, Bins, StreamRules, arrivals

TOKENS = [100, 1000, 1010, 8000]
KINDS = ["a", "b", "a", "c"]


def drawn(rules: StreamRules, seed: int = 1) -> list[Arrival]:
    """A stream over four rows."""
    return list(arrivals(rules, TOKENS, KINDS, Random(seed)))


@pytest.mark.parametrize(
    ("length", "rows"),
    [(1, [0]), (104, [0]), (1005, [1, 2]), (320, [1, 2]), (300, [0]), (2600, [1, 2]), (3000, [3]), (10**6, [3])],
)
def test_a_row_of_about_the_length_is_taken(length: float, rows: list[int]) -> None:
    """The same bin, else the nearest that has a row, by the logarithm; beyond all rows the outermost."""
    assert Bins(TOKENS, range(4)).near(length) == rows


def test_between_two_bins_the_longer_is_taken() -> None:
    """At equal distance the request is not made shorter than the trace had it."""
    assert Bins([256, 1024], range(2)).near(512) == [1]


def test_rows_come_by_the_trace() -> None:
    """Three of four lengths near 1,000 make three of four requests those of 1,000 tokens, either row alike."""
    stream = drawn(StreamRules(4000, lengths=TraceLengths([900, 1000, 1100, 9000])))
    shares = [sum(arrival.row == row for arrival in stream) / 4000 for row in range(4)]
    assert shares == pytest.approx([0, 0.375, 0.375, 0.25], abs=0.03)


def test_without_a_trace_rows_are_alike() -> None:
    """Each comes as often as another."""
    stream = drawn(StreamRules(4000))
    assert [sum(arrival.row == row for arrival in stream) / 4000 for row in range(4)] == pytest.approx(
        [0.25] * 4, abs=0.03
    )


def test_output_escapes_and_draws() -> None:
    """Each request has an output of the mix, the share of escapes holds, and the draws are even."""
    stream = drawn(StreamRules(4000, output_mix=parse_mix("256:.3,512:.7"), escaped_share=0.3))
    assert sum(arrival.output_tokens == 256 for arrival in stream) / 4000 == pytest.approx(0.3, abs=0.03)
    assert {arrival.output_tokens for arrival in stream} == {256, 512}
    assert sum(arrival.escaped for arrival in stream) / 4000 == pytest.approx(0.3, abs=0.03)
    assert sum(arrival.draw for arrival in stream) / 4000 == pytest.approx(0.5, abs=0.03)


def test_what_is_not_asked_for_is_left_alone() -> None:
    """Without a mix the body's own output stands, and nothing is escaped."""
    assert {(arrival.output_tokens, arrival.escaped) for arrival in drawn(StreamRules(50))} == {(None, False)}


def test_a_category_held_back_comes_later() -> None:
    """Not before its time, and then as often as any."""
    stream = drawn(StreamRules(1000, held_back="a", held_back_until=600))
    assert {arrival.row for arrival in stream[:600]} == {1, 3}
    assert {arrival.row for arrival in stream[600:]} == {0, 1, 2, 3}


def test_a_seed_is_a_stream() -> None:
    """The same seed gives the same stream, another another."""
    rules = StreamRules(20, lengths=TraceLengths([100, 1000, 8000]), output_mix=parse_mix("1:1,2:1"), escaped_share=0.5)
    assert drawn(rules) == drawn(rules)
    assert drawn(rules) != drawn(rules, seed=2)
