"""`dualpool report`: what routing did, or would have done in shadow mode, from the service's own access log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extproc.errors import ConfigurationError

if TYPE_CHECKING:
    from extproc.accessreport.findings import Findings
    from extproc.fleet.answers import Plan
    from extproc.fleet.asked import PlanFlags


def report(  # noqa: PLR0917 - typer passes every option by name
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="ACCESS_LOG…",
            help="What the setting `access_log` names, of one process or of several, with FILE.1; also .xz and .gz.",
        ),
    ],
    threshold: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threshold to look at, tokens; repeatable. [default: a row, and the log's own]"),
    ] = None,
    promise: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="That the service was given; the misroutes are held against it.")
    ] = 0.001,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|YAML", help="What is served: with --gpu, also plan the pools for this traffic."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|YAML", help="What it runs on; again for others that a short pool may have."),
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="GPU=USD", help="Your price of one GPU for one hour; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second to plan for. [default: the log's]")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Longest context to plan for. [default: 65536]")] = None,
    tensor_parallel_size: Annotated[
        list[int] | None, typer.Option(help="GPUs of an instance to try; repeatable. [default: 1, 2, 4, 8]")
    ] = None,
    ttft: Annotated[float | None, typer.Option(metavar="MS", help="Time to first token. [default: 2000]")] = None,
    tpot: Annotated[float | None, typer.Option(metavar="MS", help="Time per further token. [default: 80]")] = None,
    percentile: Annotated[
        float | None, typer.Option(help="Of all requests that must keep both, in percent. [default: 99]")
    ] = None,
    confirm: Annotated[  # noqa: FBT002
        bool, typer.Option("--confirm/--no-confirm", help="Confirm the plan by simulation, or calculate only.")
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: as many as there are processor cores]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON on standard output.")] = False,  # noqa: FBT002
    page: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page to hand on: one HTML file.")
    ] = None,
) -> None:
    """Say what routing did with your traffic, or would have done: of the access log of a service, shadow mode or not.

    Shows where requests go and why; how many went short and do not fit, against what was promised, by the true lengths
    of the answers that were read (each stands for a known number of requests; intervals are 95 %); what other
    thresholds would do; and what the log cannot tell. With --model and --gpu the planner says which threshold and how
    many GPUs this traffic takes, and whether two pools help at all; `dualpool plan --trace LOG` has more flags.

    Lines that cannot be read are counted and left out; the planner refuses them, and names the first. Exits with 0
    whatever the verdict, with 2 if a file or a flag cannot be used or no line is a decision, with 130 if it was
    interrupted.

    Example: dualpool report access.jsonl access.jsonl.1 --model llama-3-70b --gpu a100-80gb --report routing.html
    """
    if (model is None) != (not gpu):
        raise ConfigurationError("pools are planned for a model on a GPU: give --model and --gpu, or neither")
    question = None
    if model is not None:
        from extproc.fleet.asked import CatalogFlags, PlanFlags, TrafficFlags

        question = PlanFlags(
            traffic=TrafficFlags(rate_per_s=rate, logs=tuple(logs)),
            known=CatalogFlags(prices=tuple(price or ())),
            model=model,
            gpus=tuple(gpu or ()),
            max_model_len=max_model_len,
            tensor_parallel=tuple(tensor_parallel_size or ()),
            ttft_ms=ttft,
            tpot_ms=tpot,
            percentile=percentile,
            thresholds=tuple(threshold or ()),
            promise=promise,
            jobs=jobs,
        )
    _report(logs, tuple(threshold or ()), promise, question, page, confirm=confirm, as_json=as_json)


def _report(
    logs: list[Path],
    thresholds: tuple[int, ...],
    promise: float,
    question: "PlanFlags | None",
    page: Path | None,
    *,
    confirm: bool,
    as_json: bool,
) -> None:
    from extproc.accessreport.asjson import as_json as written
    from extproc.accessreport.conclude import conclude
    from extproc.accessreport.reading import tally_of
    from extproc.demo.signals import interruptible

    if page is not None:
        _check(page)
    with interruptible():
        found = conclude(tally_of(logs), files=list(map(str, logs)), promise=promise, thresholds=thresholds)
        plan = None if question is None else _planned(question, confirm=confirm)
        if page is not None:
            _write(found, plan, page)
        if as_json:
            typer.echo(written(found, plan))
        else:
            _show(found, plan, page)


def _planned(question: "PlanFlags", *, confirm: bool) -> "Plan":
    from extproc.cli.plan import planned

    return planned(question.options(), confirm=confirm)


def _check(page: Path) -> None:
    from extproc.fleet.terminal import check_writable

    check_writable(page)


def _write(found: "Findings", plan: "Plan | None", page: Path) -> None:
    from extproc.accessreport.page import write_report
    from extproc.fleet.terminal import command_line, today

    write_report(found, page, plan=plan, command=command_line(), made_on=today())


def _show(found: "Findings", plan: "Plan | None", page: Path | None) -> None:
    from extproc.accessreport.console import show
    from extproc.fleet.terminal import console

    show(found, console(to_stderr=False), plan=plan, report=page)
