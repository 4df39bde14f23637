"""A plan as tables for a terminal: shows what others computed, decides nothing."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from extproc.fleet.answers import Plan
from extproc.fleet.report import details, roles, tables
from extproc.fleet.report.summary import asked, cards, commands
from extproc.fleet.report.tables import Table
from extproc.fleet.report.wording import VERDICTS

_STYLES = {"chosen": "bold", "out": "dim", "": ""}


def show(plan: Plan, console: Console, *, report: Path | None = None) -> None:
    """Everything that fits a terminal; `report` is where the page was written."""
    _say(console, VERDICTS[plan.verdict], "bold")
    _say(console, plan.sentence)
    _say(console, asked(plan), "dim")
    _show_cards(plan, console)
    print_table(console, "What each fleet costs", tables.costs(plan))
    print_table(console, "What users get, simulated", tables.services(plan))
    print_table(console, "Thresholds", details.sweep(plan))
    _show_commands(plan, console)
    for note in plan.notes:
        _say(console, f"• {note}")
    if report is not None:
        console.print(f"Report: {report}", markup=False, soft_wrap=True)


def _show_cards(plan: Plan, console: Console) -> None:
    """The recommended fleet's figures, a line each."""
    chosen = roles.recommended(plan)
    if chosen is None:
        return
    _say(console, f"\nRecommended: {chosen.name}", "bold")
    for card in cards(plan, chosen):
        _say(console, f"  {card.title}: {card.value}" + (f"; {card.detail}" if card.detail else ""))


def _show_commands(plan: Plan, console: Console) -> None:
    """Whole lines, never broken by us: they are to be copied."""
    chosen = roles.recommended(plan)
    for each in [] if chosen is None else commands(chosen):
        _say(console, each.title, "bold")
        console.print(Text(each.command), soft_wrap=True)
        console.print()


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))


def print_table(console: Console, title: str, table: Table) -> None:
    """As wide as it must be; nothing where it has no rows."""
    if not table.rows:
        return
    grid = Grid(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in table.columns:
        head = Text(column.title) if not column.hint else Text(f"{column.title}\n{column.hint}")
        grid.add_column(head, justify="right" if column.numeric else "left", no_wrap=column is table.columns[0])
    for row in table.rows:
        grid.add_row(*(Text(_folded(cell)) for cell in row.cells), style=_STYLES[row.mark])
    console.print(grid)


def _folded(cell: str) -> str:
    """Intervals and second pools on lines of their own, so that tables stay narrow."""
    return cell.replace(" (", "\n(").replace(" + ", "\n+ ")
