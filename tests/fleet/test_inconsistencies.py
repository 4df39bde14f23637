import pytest

from extproc.fleet.comparison import Row
from extproc.fleet.inconsistencies import inconsistencies


def row(what: str) -> Row:
    """One row by its name."""
    return {row.what: row for row in inconsistencies().rows}[what]


@pytest.mark.parametrize(
    ("what", "published", "ours"),
    [
        ("Azure: saving, α from the preemption table", 41.9, 60.0),
        ("Azure: saving per year", 2.86, 2.904),
        ("the same, two GPUs per instance", 2.86, 5.808),
        ("ρ by the iteration law", 4.0, 1.61),
        ("ρ with 1,200 resident tokens", 4.0, 3.77),
        ("homogeneous fleet, Azure over LMSYS", 1.0, 5.59),
        ("Azure: output share of tokens", 20.0, 9.69),
        ("lowest saving, at 1 request/s", 0.0, -100.0),
    ],
)
def test_figures_are_as_computed_by_hand(what: str, published: float, ours: float) -> None:
    """Each computation gives what pencil and paper give."""
    found = row(what)
    assert found.published == pytest.approx(published)
    assert found.ours == pytest.approx(ours, rel=0.003)


def test_two_gpus_hold_no_long_request() -> None:
    """Two A100 hold about 31.8 thousand tokens of Llama-3-70B, half of one 64K request."""
    assert 31_000 < row("KV tokens of an instance of two A100").ours < 32_768


def test_nothing_here_is_reproduced() -> None:
    """The table holds only what does not follow."""
    assert not any(row.reproduced for row in inconsistencies().rows)
