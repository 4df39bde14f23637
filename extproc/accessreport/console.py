"""A report as tables for a terminal: shows what others computed, decides nothing."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from extproc.accessreport import tables, words
from extproc.accessreport.findings import Findings
from extproc.fleet.answers import Plan
from extproc.fleet.report import console as plans


def show(found: Findings, output: Console, *, plan: Plan | None = None, report: Path | None = None) -> None:
    """Everything; `report` is where the page was written."""
    output.print(Text(words.tag(found, plan), style="bold"))
    for sentence in words.sentences(found, plan):
        output.print(Text(sentence))
    plans.print_table(output, "What was seen", tables.overview(found))
    plans.print_table(output, "Where requests go, and why", tables.reasons(found))
    plans.print_table(output, "Decisions and the truth", tables.misroutes(found))
    plans.print_table(output, "What thresholds would do", tables.thresholds(found))
    plans.print_table(output, "Estimates and the truth", tables.errors(found))
    plans.print_table(output, "What settled decisions", tables.stages(found))
    for note in words.notes(found):
        output.print(Text(f"• {note}"))
    if plan is not None:
        output.print()
        plans.show(plan, output)
    if report is not None:
        output.print(f"Report: {report}", markup=False, soft_wrap=True)
