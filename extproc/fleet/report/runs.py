"""A fleet as its operator gave it, simulated: the page, the tables and the JSON of `dualpool simulate`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from extproc.fleet.answers import HOURS_PER_YEAR, Confirmed, Measured
from extproc.fleet.report import curves, svg, tables
from extproc.fleet.report.asjson import SCHEMA, plain, to_json
from extproc.fleet.report.console import print_table
from extproc.fleet.report.details import stage_table
from extproc.fleet.report.page import inline, render, save
from extproc.fleet.report.roles import Part
from extproc.fleet.report.shown import count, percent, plural, spread, tokens, usd
from extproc.fleet.report.summary import Card, Command, lines, times_caption, versions
from extproc.fleet.report.tables import Column, Row, Table
from extproc.fleet.report.wording import POOLS
from extproc.fleet.steered import Course
from extproc.fleet.values import PoolSpec, Slo


@dataclass(frozen=True, slots=True)
class Run:
    """What was simulated, and what it came to."""

    title: str
    slo: Slo
    specs: tuple[PoolSpec, ...]
    confirmed: Confirmed
    """Its pools in the order of `specs`."""
    facts: tuple[tuple[str, str], ...] = ()
    """How it was made, a word and its meaning each: workload, router, seeds."""
    notes: tuple[str, ...] = ()
    course: Course | None = None
    """What was steered in the first run; None where nobody steers."""

    @property
    def pools(self) -> list[tuple[PoolSpec, Measured]]:
        """Each with what it came to."""
        return list(zip(self.specs, self.confirmed.pools, strict=True))


def write_run_report(run: Run, path: Path, *, command: str = "", made_on: str = "") -> None:
    """One self-contained HTML file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    text = render(
        "run.html.j2",
        _drawings(run),
        title=run.title,
        subtitle=f"A simulation by dualpool{', ' + made_on if made_on else ''}",
        run=run,
        cards=cards(run),
        specs=specs(run),
        services=tables.pools(_parts(run)),
        stages=_stages(run),
        commands=_commands(run),
        made=[*run.facts, ("Versions", versions())],
        times_caption=times_caption(run.slo),
        command=command,
    )
    save(text, path)


def show_run(run: Run, console: Console, *, report: Path | None = None) -> None:
    """The same as tables."""
    console.print(run.title, style="bold", markup=False)
    print_table(console, "", specs(run))
    print_table(console, "What users get", tables.pools(_parts(run)))
    print_table(console, "How the router decided", _stages(run))
    for note in run.notes:
        console.print(f"• {note}", markup=False)
    if report is not None:
        console.print(f"Report: {report}", markup=False, soft_wrap=True)


def run_as_json(run: Run) -> str:
    """One object, indented; what is not a finite number is null."""
    return to_json({
        "schema": SCHEMA,
        "title": run.title,
        "slo": plain(run.slo),
        "pools": [_plain_spec(spec) for spec in run.specs],
        "confirmed": plain(run.confirmed),
        "facts": dict(run.facts),
        "notes": list(run.notes),
        "course": plain(run.course),
    })  # fmt: skip


def _plain_spec(spec: PoolSpec) -> dict[str, Any]:
    """Without the times of steps: they are thousands."""
    names = [each.name for each in fields(spec.instance) if each.name != "steps"]
    sums = {"gpus": spec.gpus, "usd_per_hour": spec.usd_per_hour}
    instance = {name: plain(getattr(spec.instance, name)) for name in names}
    return {"pool": plain(spec.pool), "instances": spec.instances, **sums, "balancing": plain(spec.balancing),
            "instance": instance}  # fmt: skip


def cards(run: Run) -> list[Card]:
    """The figures in large."""
    found = run.confirmed
    price = sum(spec.usd_per_hour for spec in run.specs)
    return [
        Card("GPUs", count(sum(spec.gpus for spec in run.specs))),
        *([Card("Cost per year", usd(HOURS_PER_YEAR * price), f"{count(price)} $ per hour")] if price else []),
        Card("Requests within the objective", *_split(spread(found.fleet.slo_share, percent))),
        *(
            [
                Card("Sent short, do not fit (under)", *_split(spread(found.under, percent))),
                Card("Sent long, would fit (over)", *_split(spread(found.over, percent))),
            ]
            if len(run.specs) > 1
            else []
        ),
    ]


def _split(text: str) -> tuple[str, str]:
    value, _, reach = text.partition(" (")
    return value, f"95 % interval {reach.removesuffix(')')}" if reach else ""


def specs(run: Run) -> Table:
    """What each pool is made of."""
    columns = (
        Column("Pool", numeric=False),
        Column("Instances"),
        Column("Of", numeric=False),
        Column("GPUs"),
        Column("Context", "max_model_len"),
        Column("Sequences", "max_num_seqs"),
        Column("Batched tokens", "max_num_batched_tokens"),
        Column("KV blocks", "of 16 tokens"),
        Column("USD/hour"),
    )
    return tables.table(columns, (Row(_spec_cells(run, spec)) for spec in run.specs))


def _spec_cells(run: Run, spec: PoolSpec) -> tuple[str, ...]:
    instance = spec.instance
    return (
        _name(run, spec), count(spec.instances), instance.name, count(spec.gpus), tokens(instance.max_model_len),
        tokens(instance.max_num_seqs), tokens(instance.max_num_batched_tokens), tokens(instance.kv_blocks),
        f"{spec.usd_per_hour:,.2f}" if spec.usd_per_hour else "",
    )  # fmt: skip


def _name(run: Run, spec: PoolSpec) -> str:
    return POOLS[spec.pool] if len(run.specs) > 1 else "one pool"


def _parts(run: Run) -> list[Part]:
    two = len(run.specs) > 1
    found = [Part(_name(run, spec), spec.pool if two else None, measured) for spec, measured in run.pools]
    return [*found, Part("fleet", None, run.confirmed.fleet)] if two else found


def _stages(run: Run) -> Table:
    return stage_table([("Share", run.confirmed.stages)] if run.confirmed.stages else [])


def _commands(run: Run) -> list[Command]:
    return [
        Command(
            f"{_name(run, spec).capitalize()}: {plural(spec.instances, 'instance')} of {spec.instance.name}",
            lines(" ".join(("vllm serve", *spec.instance.flags))),
            spec.pool.value if len(run.specs) > 1 else "",
        )
        for spec in run.specs
        if spec.instance.flags
    ]


def _drawings(run: Run) -> dict[str, Any]:
    two = len(run.specs)
    found = [
        curves.Lane(POOLS[spec.pool], curves.pool_colour(spec.pool, two), spec.instances, measured.series)
        for spec, measured in run.pools
    ]
    with svg.style():
        times = curves.times(curves.part_lines(_parts(run)), run.slo)
        return {
            "times_drawing": inline(times, "times", "Distribution of TTFT and TPOT"),
            "series_drawing": inline(curves.over_time([("", found)]), "series", "Pools over time"),
        }
