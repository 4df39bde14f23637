"""A status as one HTML page for people: no script, nothing from elsewhere, readable on a narrow screen.

It is built as a tree and escaped when the tree is written, so no string in it can become markup.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from extproc.telemetry import wording
from extproc.telemetry.status import Status

_REFRESH_S = 10
_WHOLE = 100.0


def as_html(status: Status) -> str:
    """The page."""
    html = Element("html", lang="en")
    _head(html, status)
    body = SubElement(html, "body")
    _banner(body, status)
    _tiles(body, status)
    main = SubElement(body, "main")
    for name, pool in status["pools"].items():
        _facts(_card(main, f"{name.capitalize()} pool"), wording.pool_rows(pool))
    _decisions(_card(main, "Decisions", wide=True), status)
    _facts(_card(main, "Answers"), wording.answer_rows(status))
    _facts(_card(main, "Operating"), wording.operating_rows(status))
    for title, key in (("Models", "models"), ("Bytes per token", "ratios"), ("Output reserved", "outputs")):
        _table(_card(main, title), status[key])
    _footer(body)
    return "<!doctype html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _head(html: Element, status: Status) -> None:
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    SubElement(head, "meta", {"http-equiv": "refresh", "content": str(_REFRESH_S)})
    _text(head, "title", f"dualpool: {status['mode']}")
    _text(head, "style", _STYLE)


def _banner(body: Element, status: Status) -> None:
    header = SubElement(body, "header")
    _text(header, "h1", "dualpool")
    _text(header, "span", status["mode"], kind=f"mode {status['mode']}")
    up = wording.duration(status["uptime_s"])
    _text(header, "p", f"version {status['version']} · worker {status['worker']} · up {up}")
    if status["settings"]["complaint"]:
        _text(body, "p", f"Settings not applied: {status['settings']['complaint']}", kind="warning")


def _tiles(body: Element, status: Status) -> None:
    """The four numbers that are looked at first."""
    tiles, short = SubElement(body, "section", {"class": "tiles"}), status["decisions"]["by_pool"]["short"]
    promise, threshold = status["promise"], status["threshold"]
    _tile(tiles, "threshold, tokens", wording.count(threshold["tokens"]), wording.threshold(status))
    _tile(tiles, "requests routed", wording.count(status["decisions"]["total"]), "since the start")
    _tile(tiles, "went short", wording.share(short["share"]), f"{wording.count(short['requests'])} requests")
    kept = promise["realised"] is None or promise["realised"] <= promise["promised"]
    said = f"promised: at most {wording.share(promise['promised'])}"
    _tile(tiles, "short that did not fit", wording.share(promise["realised"]), said, kind="" if kept else "broken")


def _tile(tiles: Element, label: str, value: str, beside: str, *, kind: str = "") -> None:
    tile = SubElement(tiles, "div", {"class": f"tile {kind}".strip()})
    _text(tile, "span", label, kind="label")
    _text(tile, "strong", value)
    _text(tile, "span", beside, kind="beside")


def _card(main: Element, title: str, *, wide: bool = False) -> Element:
    card = SubElement(main, "section", {"class": "card wide" if wide else "card"})
    _text(card, "h2", title)
    return card


def _facts(card: Element, rows: Iterable[tuple[str, str]]) -> None:
    facts = SubElement(card, "dl")
    for label, value in rows:
        _text(facts, "dt", label)
        _text(facts, "dd", value)


def _decisions(card: Element, status: Status) -> None:
    """By reason, the most frequent first, each with a bar in its pool's colour."""
    rows = status["decisions"]["by_reason"]
    if not rows:
        _text(card, "p", "No request was routed yet.", kind="nothing")
        return
    body = _grid(card, [("pool", ""), ("reason", ""), ("requests", "number"), ("share", "number"), ("", "")])
    for row in rows:
        line = SubElement(body, "tr")
        _text(line, "td", row["pool"])
        _text(line, "td", wording.heading(row["reason"]))
        _text(line, "td", wording.count(row["requests"]), kind="number")
        _text(line, "td", wording.share(row["share"]), kind="number")
        style = f"width:{_WHOLE * row['share']:.1f}%"
        SubElement(SubElement(line, "td", {"class": "track"}), "div", {"class": f"bar {row['pool']}", "style": style})


def _table(card: Element, rows: list[Status]) -> None:
    if not rows:
        _text(card, "p", "Nothing learned yet.", kind="nothing")
        return
    kinds = ["" if isinstance(value, str) else "number" for value in rows[0].values()]
    body = _grid(card, zip(map(wording.heading, rows[0]), kinds, strict=True))
    for row in rows:
        line = SubElement(body, "tr")
        for value, kind in zip(row.values(), kinds, strict=True):
            _text(line, "td", wording.cell(value), kind=kind)


def _grid(card: Element, headings: Iterable[tuple[str, str]]) -> Element:
    """A table that scrolls by itself where the screen is narrower; returns its body."""
    table = SubElement(SubElement(card, "div", {"class": "scroll"}), "table")
    line = SubElement(SubElement(table, "thead"), "tr")
    for heading, kind in headings:
        _text(line, "th", heading, kind=kind)
    return SubElement(table, "tbody")


def _footer(body: Element) -> None:
    footer = SubElement(body, "footer")
    for path, label in (("status", "the same as JSON"), ("metrics", "metrics for Prometheus")):
        link = SubElement(footer, "a", href=path)
        link.text = label
    _text(footer, "span", f"read-only; reloads every {_REFRESH_S} s")


def _text(parent: Element, tag: str, text: str, *, kind: str = "") -> None:
    SubElement(parent, tag, {"class": kind} if kind else {}).text = text


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5d6b7a; --line: #dde3ea; --ground: #f5f7fa; --card: #fff;
  --short: #2f7fd1; --long: #d98a2b; --bad: #c43c3c; --good: #2f8f5b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #96a3b1; --line: #323c48; --ground: #14191f;
  --card: #1c232b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.25rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; margin-bottom: 1rem; }
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.02em; }
header p { margin: 0; color: var(--soft); }
.mode { padding: .05rem .6rem; border-radius: 1rem; color: #fff; background: var(--good); font-size: .85rem; }
.mode.shadow { background: var(--soft); }
.warning { border-left: 4px solid var(--bad); background: var(--card); padding: .6rem .9rem; margin: 0 0 1rem;
  overflow-wrap: anywhere; }
.tiles, main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 9.5rem), 1fr)); }
main { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); margin-top: 1rem; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1.1rem;
  min-width: 0; }
.tile { display: flex; flex-direction: column; }
.tile strong { font-size: 1.7rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile.broken strong { color: var(--bad); }
.label, .beside, .nothing, dt, th { color: var(--soft); font-size: .87rem; }
.wide { grid-column: 1 / -1; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
.nothing { margin: 0; }
dl { display: grid; grid-template-columns: minmax(8rem, 2fr) 3fr; gap: .25rem .9rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; }
th.number { text-align: right; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
.track { width: 40%; min-width: 6rem; padding-right: 0; }
.bar { height: .6rem; min-width: 2px; border-radius: .3rem; }
.bar.short { background: var(--short); } .bar.long { background: var(--long); }
footer { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 1.25rem; color: var(--soft);
  font-size: .87rem; }
a { color: inherit; }
"""
