import numpy as np
import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.samples import (
    CHAT,
    ROWS,
    DrawnOutput,
    FixedShare,
    Rows,
    normal,
    pick,
    prefixes_of,
    rows_of_cdf,
    rows_of_formula,
    rows_of_tables,
    rows_of_trace,
    spread,
    stepped,
)
from extproc.fleet.values import CATEGORIES
from extproc.routing.values import Category
from extproc.traces import LengthCdf, Trace


def test_spread_numbers_are_even_in_any_stretch() -> None:
    """Of any hundred in a row, each tenth has its share."""
    numbers = spread(1000)[450:550]
    assert np.bincount((10 * numbers).astype(int), minlength=10).tolist() == pytest.approx([10] * 10, abs=2)
    assert stepped(2, 0.75).tolist() == [0.375, 0.125]


def test_normal_quantiles() -> None:
    """The median and what one in forty exceeds."""
    assert normal(np.array([0.5, 0.975])) == pytest.approx([0.0, 1.96], abs=1e-3)


def test_a_mix_is_picked_by_its_shares() -> None:
    """A category without share never comes."""
    picked = pick({Category.CODE: 3.0, Category.JSON: 0.0, Category.LOGS: 1.0}, spread(4000))
    found = {CATEGORIES[number]: int((picked == number).sum()) for number in np.unique(picked)}
    assert found == {Category.CODE: pytest.approx(3000, abs=5), Category.LOGS: pytest.approx(1000, abs=5)}


@pytest.mark.parametrize("mix", [{}, {Category.CODE: -1.0}, {Category.CODE: 0.0}])
def test_a_mix_without_shares_is_a_mistake(mix: dict[Category, float]) -> None:
    """The message says what a mix is."""
    with pytest.raises(ConfigurationError, match="not all 0"):
        pick(mix, spread(10))


def test_a_trace_keeps_its_rows() -> None:
    """A known kind of text stays, an unknown one is drawn; an output of nothing becomes one token."""
    known = np.array([1, -1, -1], np.int8)
    trace = Trace(np.array([5, 6, 7]), np.array([2, 0, 4]), categories=known)
    rows = rows_of_trace(trace, {Category.LOGS: 1.0})
    assert rows.prompt_tokens.tolist() == [5, 6, 7]
    assert rows.output_tokens.tolist() == [2, 1, 4]
    assert [CATEGORIES[number] for number in rows.categories] == [Category.CODE, Category.LOGS, Category.LOGS]


def test_a_trace_without_outputs_is_a_mistake() -> None:
    """The closed form and the simulation both need them."""
    with pytest.raises(ConfigurationError, match="how long outputs were"):
        rows_of_trace(Trace(np.array([5])), CHAT)


def test_a_distribution_is_split_by_the_rule() -> None:
    """A fixed share of each total; totals have the shares of the table, and are log-uniform between its points."""
    rows = rows_of_cdf(LengthCdf([100.0, 10_000.0], [0.25, 1.0]), FixedShare(0.2), CHAT)
    totals = rows.prompt_tokens + rows.output_tokens
    assert (totals <= 100).mean() == pytest.approx(0.25, abs=0.002)
    assert np.median(totals[totals > 100]) == pytest.approx(1000, rel=0.01)
    assert rows.output_tokens.sum() / totals.sum() == pytest.approx(0.2, abs=0.001)


def test_drawn_outputs_do_not_follow_the_total() -> None:
    """Except that they are never most of it."""
    rule = DrawnOutput(median_tokens=100.0, deviation=0.5, most_share=0.4)
    rows = rows_of_cdf(LengthCdf([10_000.0, 20_000.0], [0.001, 1.0]), rule, CHAT)
    assert np.median(rows.output_tokens) == pytest.approx(100, rel=0.02)
    totals = rows.prompt_tokens + rows.output_tokens
    assert abs(np.corrcoef(totals, rows.output_tokens)[0, 1]) < 0.01
    short = rows_of_cdf(LengthCdf([100.0, 120.0], [0.001, 1.0]), rule, CHAT)
    assert (short.output_tokens / (short.prompt_tokens + short.output_tokens)).max() < 0.45


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.8])
def test_formula_has_its_medians_and_correlation(correlation: float) -> None:
    """Log-normal on both sides."""
    prompts, outputs = rows_of_formula(
        prompt_tokens=2000.0,
        output_tokens=300.0,
        prompt_deviation=1.0,
        output_deviation=0.5,
        correlation=correlation,
    )
    assert np.median(prompts) == pytest.approx(2000, rel=0.01)
    assert np.median(outputs) == pytest.approx(300, rel=0.01)
    assert np.log(prompts).std() == pytest.approx(1.0, abs=0.01)
    assert np.corrcoef(np.log(prompts), np.log(outputs))[0, 1] == pytest.approx(correlation, abs=0.01)


def test_a_table_keeps_atoms_shares_and_outputs() -> None:
    """A bin of one length is that length; outputs of a bin are as likely as each other; parts weigh by requests."""
    parts = [
        {"categories": {"code": 1.0}, "requests": 300, "bins": [[10, 19, 100, [1, 3]], [4000, 4000, 200, [7, 9]]]},
        {"categories": {"cjk": 1.0}, "requests": 100, "bins": [[5, 5, 100, [0, 2]]]},
    ]
    rows = rows_of_tables(parts)
    assert len(rows.prompt_tokens) == ROWS
    assert (rows.prompt_tokens == 4000).mean() == pytest.approx(0.5, abs=1e-4)
    assert (rows.prompt_tokens == 5).mean() == pytest.approx(0.25, abs=1e-4)
    assert set(rows.prompt_tokens[rows.prompt_tokens < 4000]) == {5, *range(10, 20)}
    assert (rows.output_tokens[rows.prompt_tokens == 4000] == 9).mean() == pytest.approx(0.5, abs=0.001)
    assert rows.output_tokens.min() == 1
    assert {CATEGORIES[number] for number in rows.categories[rows.prompt_tokens == 5]} == {Category.CJK}


def test_prefixes_come_again_under_other_names() -> None:
    """A second turn through the trace does not find the first one's blocks."""
    rows = Rows(
        np.array([600, 1100]), np.array([1, 1]), np.zeros(2, np.int8), None, np.array([0, 1, 3]), np.array([4, 4, 7])
    )
    prefix_from, names = prefixes_of(rows, np.array([1, 0, 1]), np.array([0, 0, 1]))
    assert prefix_from is not None
    assert names is not None
    assert prefix_from.tolist() == [0, 2, 3, 5]
    assert names.tolist() == [4, 7, 4, 12, 15]


def test_rows_without_prefixes_have_none() -> None:
    """Most traces do not say."""
    rows = Rows(np.array([600]), np.array([1]), np.zeros(1, np.int8))
    assert prefixes_of(rows, np.array([0]), np.array([0])) == (None, None)
