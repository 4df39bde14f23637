from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from extproc.fleet.answers import Plan
from extproc.fleet.report import curves, plots, roles, svg


def drawn(drawing: Figure | None) -> str:
    """As it stands in a page."""
    assert drawing is not None
    return svg.inline(drawing, "one", 'a "drawing"')


@pytest.fixture
def drawings(saved: Plan) -> dict[str, str]:
    """All of a plan."""
    with svg.style():
        return {
            "costs": drawn(plots.costs(saved)),
            "sweep": drawn(plots.sweep(saved)),
            "times": drawn(curves.times(curves.lines(saved), saved.ask.slo)),
            "series": drawn(curves.over_time([(fleet.name, curves.lanes(fleet)) for fleet in roles.compared(saved)])),
        }


def texts(drawing: str) -> set[str]:
    """What is written in it."""
    found: set[str] = set()

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.add(data.strip())

    Reader().feed(drawing)
    return found


def test_text_stays_text(drawings: dict[str, str]) -> None:
    """It can be searched, copied and read aloud."""
    assert {"B1 vLLM defaults", "5.2 M$  recommended".replace("  ", " "), "2.0 M$"} <= {
        " ".join(text.split()) for text in texts(drawings["costs"])
    }
    assert {"4,096", "8,192", "published formula, against B0", "−20 %"} <= texts(drawings["sweep"])
    assert {"99 %", "short pool", "long pool", "Two pools, our router", "2 s for"} <= texts(drawings["times"])
    assert {"KV cache used", "running", "waiting", "minutes"} <= texts(drawings["series"])


def test_colours_follow_the_page(drawings: dict[str, str]) -> None:
    """Short and long have the same two colours in each drawing of pools, by names that a style sheet can change."""
    for name in ("costs", "times", "series"):
        assert "var(--short, #0072b2)" in drawings[name]
        assert "var(--long, #d55e00)" in drawings[name]
    assert all(text.count("#16181d") == text.count("var(--ink, #16181d)") for text in drawings.values())


def test_a_drawing_is_as_wide_as_its_place(drawings: dict[str, str]) -> None:
    """It has a view box, no size of its own, words for who cannot see it, and ids apart from others'."""
    for text in drawings.values():
        head = text[: text.index(">")]
        assert "viewBox" in head
        assert "width" not in head
        assert 'aria-label="a &quot;drawing&quot;"' in head
        assert text.count(' id="') == text.count(' id="one-')


def test_intervals_are_drawn_where_they_are_known(saved: Plan) -> None:
    """The confirmed threshold has one against each of two baselines."""
    drawing = plots.sweep(saved)
    assert drawing is not None
    assert len(drawing.axes[0].containers) == 2


def test_the_objective_is_marked_in_both_distributions(saved: Plan) -> None:
    """A dot where the promised share meets the promised time."""
    drawing = curves.times(curves.lines(saved), saved.ask.slo)
    assert drawing is not None
    dots = [
        np.asarray(line.get_xydata()) for axes in drawing.axes for line in axes.get_lines() if line.get_marker() == "o"
    ]
    assert [tuple(dot[0]) for dot in dots] == [pytest.approx((2.0, 2.0)), pytest.approx((0.08, 2.0))]


def test_nothing_to_draw_is_no_drawing(infeasible: Plan, unsimulated: Plan) -> None:
    """Not an empty frame."""
    assert plots.costs(infeasible) is None
    assert plots.sweep(infeasible) is None
    assert curves.times(curves.lines(unsimulated), unsimulated.ask.slo) is None
    assert curves.over_time([]) is None
