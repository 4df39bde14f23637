"""A report as one HTML file that needs nothing else. Lays out; computes no figures."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from extproc.accessreport import tables, words
from extproc.accessreport.findings import Findings
from extproc.fleet.answers import Plan
from extproc.fleet.report import details, plots, roles, svg
from extproc.fleet.report import tables as plans
from extproc.fleet.report.page import inline, save
from extproc.fleet.report.shown import count
from extproc.fleet.report.summary import asked, cards, commands, versions
from extproc.fleet.report.wording import WORDS


def write_report(found: Findings, path: Path, *, plan: Plan | None, command: str = "", made_on: str = "") -> None:
    """One self-contained HTML file; `command` is the command line that made it, `made_on` a date in words.

    Raises:
        ConfigurationError: it cannot be written.
    """
    save(page(found, plan=plan, command=command, made_on=made_on), path)


def page(found: Findings, *, plan: Plan | None, command: str = "", made_on: str = "") -> str:
    """The HTML text."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("extproc.accessreport"), PackageLoader("extproc.fleet.report")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    loader = environment.loader
    assert loader is not None
    css = Markup(loader.get_source(environment, "style.css")[0])  # noqa: S704 - our own file
    names = _head(found, made_on) | _parts(found, plan) | _planned(plan)
    return environment.get_template("log.html.j2").render(names, css=css, glossary=WORDS, command=command)


def _head(found: Findings, made_on: str) -> dict[str, Any]:
    mode = "would have done" if found.shadow_share == 1.0 else "did"
    return {
        "title": f"What routing {mode} with {count(found.requests)} requests",
        "subtitle": f"A report by dualpool{', ' + made_on if made_on else ''}",
        "made": [("Access logs", ", ".join(found.files)), ("Versions", versions())],
    }


def _parts(found: Findings, plan: Plan | None) -> dict[str, Any]:
    return {
        "tag": words.tag(found, plan),
        "sentences": words.sentences(found, plan),
        "overview": tables.overview(found),
        "reasons": tables.reasons(found),
        "stages": tables.stages(found),
        "misroutes": tables.misroutes(found),
        "thresholds": tables.thresholds(found),
        "errors": tables.errors(found),
        "notes": [*words.notes(found), *([] if plan is None else plan.notes)],
    }


def _planned(plan: Plan | None) -> dict[str, Any]:
    """The planner's part; empty without it."""
    if plan is None:
        return {"plan": None}
    chosen = roles.recommended(plan)
    with svg.style():
        drawing = inline(plots.costs(plan), "costs", "Cost per year of each fleet")
    return {
        "plan": plan,
        "chosen": chosen,
        "asked": asked(plan),
        "cards": [] if chosen is None else cards(plan, chosen),
        "commands": [] if chosen is None else commands(chosen),
        "costs": plans.costs(plan),
        "costs_drawing": drawing,
        "sweep": details.sweep(plan),
    }
