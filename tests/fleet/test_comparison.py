import math

import pytest

from extproc.fleet.comparison import Table, compared, markdown, shown


@pytest.mark.parametrize(
    ("figure", "text"),
    [(1_048_576, "1,048,576"), (358, "358"), (41.9, "41.9"), (-1.1, "−1.1"), (math.nan, "–"), (75.0, "75")],
)
def test_figures_are_printed_as_people_write_them(figure: float, text: str) -> None:
    """Thousands have commas, small figures three digits, and what is unknown a dash."""
    assert shown(figure) == text


def test_what_prints_alike_is_reproduced() -> None:
    """Equality is that of the printed figures, or a stated tolerance; an unknown figure never counts."""
    assert compared("a", 3.0, 3.001, "", "why").reproduced
    assert not compared("a", 3.0, 3.1, "", "why").reproduced
    assert compared("a", 3.0, 3.1, "", "why", within=0.2).reproduced
    assert not compared("a", math.nan, math.nan, "", "why").reproduced


def test_markdown_has_a_line_per_row() -> None:
    """Title and source come first, then the head, then the rows with units."""
    table = Table("Fleets", "A paper.", (compared("GPUs", 358, 91, "GPUs", "because"),))
    lines = markdown(table).splitlines()
    assert lines[0] == "### Fleets"
    assert lines[-1] == "| GPUs | 358 GPUs | 91 GPUs | no | because |"
