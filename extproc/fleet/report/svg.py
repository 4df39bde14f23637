"""A drawing as SVG that stands inside a page: its text stays text, its colours follow the page, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

INK, MUTED, GRID = "#16181d", "#6b7280", "#d9dce1"
SHORT, LONG = "#0072b2", "#d55e00"
"""Blue and vermilion of Okabe and Ito's palette (Color Universal Design, 2008), apart for all kinds of sight."""
PUBLISHED = "#a0568f"
NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", SHORT: "short", LONG: "long", PUBLISHED: "published"}
"""What the style sheet calls them; the colour itself stands where a page has none."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dualpool",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "patch.linewidth": 0,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save within this: matplotlib reads its settings at both times."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type] # its stubs list every setting by name
        yield


def inline(drawing: Figure, name: str, words: str) -> str:
    """An `<svg>` element as wide as its place; `name` keeps its ids apart from others', `words` are read aloud."""
    file = io.StringIO()
    drawing.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", rf'<svg viewBox="\1" {_spoken(words)}>', text, count=1)
    text = re.sub(r"\sid=\"", f' id="{name}-', text)
    text = re.sub(r"(url\(#|xlink:href=\"#)", rf"\1{name}-", text).replace("xlink:href", "href")
    for colour, variable in NAMES.items():
        text = text.replace(colour, f"var(--{variable}, {colour})")
    return re.sub(r"\s*\n\s*", "\n", text)


def _spoken(words: str) -> str:
    return f'role="img" aria-label="{escape(words)}"'
