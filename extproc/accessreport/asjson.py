"""A report as JSON: names its parts for scripts, computes nothing."""

from extproc.accessreport import words
from extproc.accessreport.findings import Findings
from extproc.fleet.answers import Plan
from extproc.fleet.report.asjson import plain, to_json

SCHEMA = 1
"""Changes when a name or a meaning does; a new name alone does not change it."""


def as_json(found: Findings, plan: Plan | None = None) -> str:
    """One object, indented, in the order of `extproc.accessreport.findings`; `plan` is as `dualpool plan` has it."""
    said = {"verdict": words.sentences(found, plan), "notes": words.notes(found)}
    return to_json({"schema": SCHEMA, **said, **plain(found), "plan": None if plan is None else plain(plan)})
