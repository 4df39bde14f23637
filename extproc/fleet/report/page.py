"""A plan as one HTML file that needs nothing else and can be handed on as it is. Lays out; computes no figures.

Style, drawings and text stand in the file itself. What a plan does not have leaves no trace in it.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from extproc.errors import ConfigurationError
from extproc.fleet.answers import Baseline, Plan, RouterKind
from extproc.fleet.report import curves, details, plots, roles, svg, tables
from extproc.fleet.report.shown import per_second
from extproc.fleet.report.summary import Command, asked, cards, commands, made, times_caption
from extproc.fleet.report.wording import BASELINES, ROUTER_SENTENCES, ROUTERS, VERDICTS, WORDS


def write_report(plan: Plan, path: Path, *, command: str = "", made_on: str = "") -> None:
    """One self-contained HTML file; `command` is the command line that made the plan, `made_on` a date in words.

    Raises:
        ConfigurationError: it cannot be written.
    """
    save(page(plan, command=command, made_on=made_on), path)


def save(text: str, path: Path) -> None:
    """As UTF-8.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the report cannot be written to {path}: {error.strerror}") from error


def page(plan: Plan, *, command: str = "", made_on: str = "") -> str:
    """The HTML text."""
    chosen = roles.recommended(plan)
    return render(
        "report.html.j2",
        _head(plan, made_on) | _tables(plan) | _drawings(plan) | _explained(plan),
        plan=plan,
        chosen=chosen,
        cards=[] if chosen is None else cards(plan, chosen),
        commands=[] if chosen is None else commands(chosen),
        single=_single(plan),
        made=made(plan),
        times_caption=times_caption(plan.ask.slo),
        command=command,
    )


def _single(plan: Plan) -> list[Command]:
    """One tuned pool, where two are recommended: what costs no hardware to try."""
    chosen, tuned = roles.recommended(plan), roles.baseline(plan, Baseline.B2)
    return commands(tuned) if tuned is not None and chosen is not None and len(chosen.pools) > 1 else []


def render(template: str, *parts: dict[str, Any], **more: Any) -> str:
    """A template with what it asks for; a name that is missing is an error of ours."""
    loader = PackageLoader("extproc.fleet.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = Markup(loader.get_source(environment, "style.css")[0])  # noqa: S704 - our own file
    names = {name: value for part in parts for name, value in part.items()} | more
    return environment.get_template(template).render(names, css=css, glossary=WORDS)


def _head(plan: Plan, made_on: str) -> dict[str, Any]:
    ask = plan.ask
    gpus = " or ".join(gpu.upper() for gpu in ask.gpus)
    about = f"{ask.model} on {gpus}, {per_second(ask.rate_per_s)} requests/s of {ask.workload}"
    return {
        "title": f"One pool or two? {about}",
        "subtitle": f"A plan by dualpool{', ' + made_on if made_on else ''}",
        "tag": VERDICTS[plan.verdict],
        "asked": asked(plan),
    }


def _tables(plan: Plan) -> dict[str, Any]:
    looked_at = [fleet for fleet in roles.compared(plan) if len(fleet.pools) > 1]
    return {
        "users": tables.users(plan),
        "costs": tables.costs(plan),
        "services": tables.services(plan),
        "pool_services": [(fleet.name, tables.pools(roles.parts(fleet))) for fleet in looked_at],
        "sweep": details.sweep(plan),
        "gaps": details.gaps(plan),
        "stages": details.stages(plan),
        "any_feasible": any(fleet.infeasible is None for fleet in plan.fleets),
        "any_simulated": any(roles.simulated(fleet) for fleet in plan.fleets if fleet.infeasible is None),
    }


def _drawings(plan: Plan) -> dict[str, Markup | None]:
    with svg.style():
        return {
            "cost_drawing": inline(plots.costs(plan), "costs", "Cost per year of each fleet"),
            "sweep_drawing": inline(plots.sweep(plan), "sweep", "Saving over thresholds"),
            "times_drawing": inline(
                curves.times(curves.lines(plan), plan.ask.slo), "times", "Distribution of TTFT and TPOT"
            ),
            "series_drawing": inline(
                curves.over_time([(fleet.name, curves.lanes(fleet)) for fleet in roles.compared(plan)]),
                "series", "KV cache, running and waiting requests over time",
            ),
        }  # fmt: skip


def inline(drawing: Figure | None, name: str, words: str) -> Markup | None:
    """For the page; None stays None."""
    return None if drawing is None else Markup(svg.inline(drawing, name, words))  # noqa: S704 - drawn by ourselves


def _explained(plan: Plan) -> dict[str, Any]:
    """Each kind of fleet and router that the plan has, once."""
    kinds = {fleet.baseline for fleet in plan.fleets}
    routers = {fleet.router for fleet in plan.fleets} - {RouterKind.NONE}
    return {
        "baselines": [(_kind_name(kind), text) for kind, text in BASELINES.items() if kind in kinds],
        "routers": [(ROUTERS[router], text) for router, text in ROUTER_SENTENCES.items() if router in routers],
    }


def _kind_name(kind: Baseline) -> str:
    return {Baseline.SPLIT: "Two pools", Baseline.SPLIT_HARDWARE: "Two pools, two kinds"}.get(kind, kind.value)
