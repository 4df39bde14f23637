"""Published figures beside computed ones; knows neither where they come from nor what they mean."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    what: str
    published: float
    """NaN where nothing is published."""
    ours: float
    """NaN where nothing public allows computing it."""
    unit: str
    reproduced: bool
    why: str
    """How it was computed; where it differs, why."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that belong together."""

    title: str
    source: str
    rows: tuple[Row, ...]


def compared(what: str, published: float, ours: float, unit: str, why: str, *, within: float = 0.0) -> Row:
    """Make a row whose figure counts as reproduced if it is within so much of what is published.

    `within` is in the row's unit; figures that print alike are equal.
    """
    alike = not math.isnan(ours) and (abs(ours - published) <= within or shown(ours) == shown(published))
    return Row(what, published, ours, unit, alike, why)


def markdown(table: Table) -> str:
    """Render a table, with its title and source."""
    head = f"### {table.title}\n\n{table.source}\n\n"
    lines = ["| what | published | computed | reproduced | why |", "|---|---:|---:|---|---|"]
    for row in table.rows:
        figures = f"{_cell(row.published, row.unit)} | {_cell(row.ours, row.unit)}"
        lines.append(f"| {row.what} | {figures} | {'yes' if row.reproduced else 'no'} | {row.why} |")
    return head + "\n".join(lines) + "\n"


def shown(figure: float) -> str:
    """A figure as tables print it: three significant digits below a hundred, whole above, minus as a sign."""
    if math.isnan(figure):
        return "–"
    text = f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"  # noqa: PLR2004 - as the docstring says
    return text.replace("-", "−")


def _cell(figure: float, unit: str) -> str:
    """A figure with its unit."""
    return shown(figure) if math.isnan(figure) or not unit else f"{shown(figure)} {unit}"
